"""From a request to an endpoint."""
