"""Pictures of the documentation, drawn from a running product and from nothing else."""
