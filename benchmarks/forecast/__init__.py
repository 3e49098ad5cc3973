"""How good forecasts are on real traces: ``python -m benchmarks.forecast --traces DIR``."""
