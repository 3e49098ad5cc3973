"""A page about all objects: what the operator holds in memory, as JSON and as something to look at."""
