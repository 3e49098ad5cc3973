"""SGLang 0.5.23 in P/D mode, as far as a router can do wrong by it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from fakes.contract import RANKS, STEERING_HEADERS, Request, Rule, World, breaches, without

FIELDS: Final = ("bootstrap_host", "bootstrap_port", "bootstrap_room")
OVERRIDES: Final = ("x-override-bootstrap-host", "x-override-bootstrap-port", "x-override-bootstrap-room")
BOOTSTRAP_PORT: Final = 8998


@dataclass
class Meeting:
    """One room: who came, and what of it is known to the other side."""

    legs: dict[str, "Leg"] = field(default_factory=dict)
    came: dict[str, asyncio.Event] = field(
        default_factory=lambda: {role: asyncio.Event() for role in ("prefill", "decode")}
    )
    sent: asyncio.Event = field(default_factory=asyncio.Event)
    decode_left: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class RoomWorld(World):
    """``patience`` is how long a leg waits for its other one."""

    patience: float = 30.0
    rooms: dict[int, Meeting] = field(default_factory=dict)

    def judge(self, engine: str, role: str, request: Request, *, port: int = BOOTSTRAP_PORT) -> "Leg":
        number = request.body.get("bootstrap_room")
        meeting = None
        if isinstance(number, int) and not isinstance(number, bool):
            meeting = self.rooms.setdefault(number, Meeting())
        leg = Leg(engine, role, request, meeting, port)
        self.note(breaches(RULES, leg))
        if meeting is not None:
            meeting.legs.setdefault(role, leg)
            meeting.came[role].set()
        return leg

    @property
    def lonely(self) -> int:
        """Rooms in which one leg waited for another that never came."""
        return sum(len(meeting.legs) == 1 for meeting in self.rooms.values())


@dataclass(frozen=True)
class Leg:
    """One request as an instance of a role sees it. ``port`` is that of every bootstrap server."""

    engine: str
    role: str
    request: Request
    meeting: Meeting | None
    port: int

    @property
    def body(self) -> dict[str, Any]:
        return self.request.body

    @property
    def other(self) -> "Leg | None":
        """The leg of the other role, if it is in the room already."""
        if self.meeting is None:
            return None
        return next((leg for role, leg in self.meeting.legs.items() if role != self.role), None)


def _in_room(leg: Leg) -> bool:
    return leg.meeting is not None


def _both_here(leg: Leg) -> bool:
    return leg.other is not None


RULES: Final[tuple[Rule[Leg], ...]] = (
    # Every request.
    Rule("a field is there twice", lambda leg: not leg.request.twice),
    *without(("kv_transfer_params", "ec_transfer_params", *RANKS), of=lambda leg: leg.body, what=""),
    *without((*STEERING_HEADERS, *OVERRIDES), of=lambda leg: leg.request.headers, what="header "),
    # Its room.
    Rule("a leg without a room is refused", lambda leg: _in_room(leg)),
    Rule(
        "a room is a positive 63-bit number",
        lambda leg: 0 < int(leg.body["bootstrap_room"]) < 2**63,
        _in_room,
    ),
    Rule(
        "a room is used once on each side, or KV is mixed up",
        lambda leg: leg.meeting is None or leg.role not in leg.meeting.legs,
    ),
    Rule(
        "the host is the prefill instance's",
        lambda leg: leg.body.get("bootstrap_host") == "127.0.0.1",
        _in_room,
    ),
    Rule(
        "the port is the bootstrap server's",
        lambda leg: leg.body.get("bootstrap_port") == leg.port,
        _in_room,
    ),
    # The two legs.
    Rule(
        "both legs are the same body",
        lambda leg: leg.other is None or leg.other.body == leg.body,
        _both_here,
    ),
    Rule(
        "a prefill leg is marked, and a decode leg is not",
        lambda leg: (leg.request.headers.get("x-pdscale-leg") == "prefill") is (leg.role == "prefill"),
    ),
    Rule(
        "several answers would share a room",
        lambda leg: leg.body.get("n") in (None, 1),
    ),
)  # fmt: skip
