"""Forecasts and back-tests of a service's load, from its own Prometheus or a file; nothing is installed."""
