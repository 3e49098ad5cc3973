"""Real engines as processes, routers around them, and the clients and comparisons of the tier `engines`."""
