"""Quantile forecasts of load series. Knows time series, not serving."""
