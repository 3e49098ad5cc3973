"""What a client's connection is waiting for."""

from enum import Enum, auto
from typing import Final


class Phase(Enum):
    """What a connection is waiting for; each but ``BUSY`` has a limit in time."""

    IDLE = auto()  # a request's first byte
    HEAD = auto()
    BODY = auto()
    BUSY = auto()  # our answer
    LINGER = auto()  # the client to read a refusal
    CLOSING = auto()  # the client to take the rest of an answer


# To look a member up in its class costs as much as a call.
IDLE: Final = Phase.IDLE
HEAD: Final = Phase.HEAD
BODY: Final = Phase.BODY
BUSY: Final = Phase.BUSY
LINGER: Final = Phase.LINGER
CLOSING: Final = Phase.CLOSING
