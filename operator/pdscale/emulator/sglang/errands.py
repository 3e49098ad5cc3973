"""What an SGLang engine asks its shell to tell the engine at the other end of a room."""

from dataclasses import dataclass

from pdscale.emulator.blocks import Content
from pdscale.emulator.sequence import Room
from pdscale.model.units import Seconds


@dataclass(frozen=True, slots=True)
class Meet:
    """Go to the room, say how many tokens are there already, and bring back its KV."""

    request: str
    room: Room
    have: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Go away from the room in which this request waits."""

    request: str


@dataclass(frozen=True, slots=True)
class Send:
    """Hand this to the decode leg in the room. The peer's card may take longer than ``ready_in``."""

    number: int
    contents: tuple[Content, ...]
    ready_in: Seconds
    cached: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell the decode leg in the room that there will be no KV."""

    number: int
    reason: str


Errand = Meet | Leave | Send | Refuse
