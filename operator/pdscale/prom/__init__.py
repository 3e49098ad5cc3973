"""Hides Prometheus: what its samples say, in the words of ``scaling.history``."""
