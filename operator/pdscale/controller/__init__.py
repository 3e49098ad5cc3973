"""The operator: performs what the core asked for."""
