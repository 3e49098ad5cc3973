"""Live policies in virtual time, on engines timed by performance models."""
