"""Benchmarks: ``make bench-NAME`` runs ``benchmarks/NAME`` and writes ``build/bench/NAME.json``."""
