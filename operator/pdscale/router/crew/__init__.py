"""Several processes on one port that answer as one."""
