"""What can go wrong with an engine, in this project's words."""


class UnsupportedEngine(ValueError):
    """The configuration asks for an engine that nothing here speaks to; a retry cannot help."""


class UnreadableBody(ValueError):
    """A client's body is no JSON that we read: its fault. It must not reach an engine, which may read it."""
