"""Hides Prometheus."""
