"""Our planner in Dynamo's simulator, beside its own: ``python -m benchmarks.dynamo --peers PYTHON``."""
