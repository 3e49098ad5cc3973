"""The router: front, sidecar and gate, one program in three places."""
