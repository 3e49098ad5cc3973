"""The questions that the simulator has to answer, one module each; ``python -m benchmarks.questions``."""
