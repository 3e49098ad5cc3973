"""What all dialogues of a process share: the front's own objects, so that a session is one session, whether
its rounds come through a gateway or to the front's own port."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pdscale.model.units import Seconds
from pdscale.placement.identity import PrefixSessions
from pdscale.router.fleet.loads import LOAD_HEADER, hear
from pdscale.router.flows.judge import Judge
from pdscale.router.hop.inbound import REFUSED_HEADER, Inbound
from pdscale.router.meters import Meters, Place
from pdscale.router.picker.choice import Choice, Picked
from pdscale.router.traffic import Traffic
from pdscale.router.wire.request import Head

CLIENT_LEFT: Final = 499
_UNREACHED: Final = (502, 503, 504)
_LOAD, _REFUSED = LOAD_HEADER.decode(), REFUSED_HEADER.lower()


@dataclass(frozen=True, slots=True)
class Desk:
    """``guard`` raises ``BadRequest``; ``largest_body`` is in bytes."""

    choice: Choice
    chats: PrefixSessions
    judge: Judge
    meters: Meters
    traffic: Traffic
    guard: Callable[[Head], None]
    largest_body: int
    clock: Callable[[], Seconds]

    def began(self) -> None:
        self.meters.received(Place.FRONT)
        self.traffic.begin()

    def ended(self, status: int, inbound: Inbound | None, picked: Picked | None) -> None:
        """However it ended: 499 where no whole answer was seen."""
        if picked is not None:
            self.choice.bindings.ended(picked.endpoint)
        if inbound is not None and inbound.once:
            self.choice.bindings.forget(inbound.session)
        self.traffic.end()
        self.meters.ended(Place.FRONT, status)

    def heard(self, picked: Picked, session: str, headers: dict[str, bytes], *, served: str | None) -> None:
        """The head of an answer: who gave it, and how busy that one is.

        A sidecar says its load in every answer, so a failure without it is the gateway's word that nobody was
        reached. A picker cannot ask another replica itself, as the front does; the client's next try has to
        find one, so whoever was not reached or refused is passed over for a moment.
        """
        roster, now = self.choice.roster, self.clock()
        moved = served and served != picked.address and self.choice.name_of(served)
        name = moved or picked.endpoint
        if moved:
            self.choice.bindings.learn(name, {session: 0.0}, now=now)
        load, status = headers.get(_LOAD), int(headers.get(":status", b"0"))
        if load is not None:
            hear(roster, name, load, now=now)
        if _REFUSED in headers or (load is None and status in _UNREACHED):
            roster.suspect(name, now=now)
