"""Answers other than 200. How they are spelled is each engine's own."""


class Refused(Exception):
    """A request that becomes none: the client's fault unless ``status`` says otherwise."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param

    @property
    def details(self) -> dict[str, str | int | None]:
        return {"message": str(self), "type": self.kind, "param": self.param, "code": self.status}


def bad(param: str | None, message: str) -> Refused:
    return Refused(400, "BadRequestError", message, param)


def malformed(field: str, message: str) -> Refused:
    """A body that does not even have the right types; vLLM says so in other words than of bad values."""
    return Refused(400, "Bad Request", message, f"body.{field}" if field else "body")


LOST = Refused(500, "InternalServerError", "Internal server error")
NOT_READY = Refused(503, "ServiceUnavailable", "The engine is not ready")
