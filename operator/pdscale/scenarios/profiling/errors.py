"""Why an engine cannot be measured, in one line each, with what to do about it."""

from pdscale.scenarios.fields import InvalidScenario


class EngineRefused(InvalidScenario):
    """The engine answered, but not with what was asked for. ``status`` is that of its answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class EngineGone(InvalidScenario):
    """No engine answers there, or no longer."""
