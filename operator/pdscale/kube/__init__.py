"""Hides the Kubernetes API server."""
