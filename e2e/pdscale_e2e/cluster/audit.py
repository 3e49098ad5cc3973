"""What the API server of a local cluster writes down: the writes of one user, to be counted."""


def policy(user: str) -> dict[str, object]:
    """Each finished write of ``user`` once, without its content."""
    writes = ["create", "update", "patch", "delete", "deletecollection"]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": [user], "verbs": writes}, {"level": "None"}],
    }
