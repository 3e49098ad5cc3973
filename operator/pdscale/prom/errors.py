"""The one kind of failure that leaves this package."""


class MetricsUnavailable(Exception):
    """The metrics server gave no usable answer. ``retry_helps`` is false when somebody must act."""

    def __init__(self, reason: str, *, retry_helps: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_helps = retry_helps
