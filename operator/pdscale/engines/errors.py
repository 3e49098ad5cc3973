"""What can go wrong with an engine, in this project's words."""


class UnreadableBody(ValueError):
    """A client's body is no JSON that we read: its fault. It must not reach an engine, which may read it."""
