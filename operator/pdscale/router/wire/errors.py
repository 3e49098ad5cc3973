"""What can become of a connection to a peer. None of the transport's own exceptions leave this package."""


class PeerFailed(Exception):
    """A peer gave no whole answer. ``began`` tells whether the head of one had arrived."""

    def __init__(self, detail: str, *, began: bool = False) -> None:
        super().__init__(detail)
        self.began = began


class NotReached(PeerFailed):
    """No connection: refused, no route, or nobody there in time."""


class Closed(PeerFailed):
    """The peer closed or reset a connection while an answer was due."""


class Expired(PeerFailed):
    """The peer was silent for too long, or the time for the whole answer was over."""


class Nonsense(PeerFailed):
    """What the peer sent is not HTTP/1.1, or not such as can be passed on safely."""


class BadRequest(Exception):
    """A client's request that is not handed on; the connection ends with the answer to it."""

    def __init__(self, status: int, message: str, *, headers: bytes = b"") -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers
