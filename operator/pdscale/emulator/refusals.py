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


LOST = Refused(500, "InternalServerError", "Internal server error")
NOT_READY = Refused(503, "ServiceUnavailable", "The engine is not ready")
