"""What can go wrong with an engine, in this project's words."""


class UnreadableBody(ValueError):
    """A client's body is no JSON that we read: its fault. It must not reach an engine, which may read it."""


class RoleRefused(Exception):
    """An engine does not take another role, and says why. It is as it was, or restarts."""


class EngineSilent(Exception):
    """An engine gave no answer in time; it may have done what it was asked, so asking again helps."""
