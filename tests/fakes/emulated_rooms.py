"""Emulated engines that speak SGLang's protocol: the pure core in virtual time, and settings for servers."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from fakes.emulated import FAST, LIMITS, Cluster
from fakes.emulated import settings as vllm_settings
from pdscale.emulator.blocks import BlockCache
from pdscale.emulator.engine import Engine
from pdscale.emulator.limits import Limits
from pdscale.emulator.modes import Mode, Patience
from pdscale.emulator.sequence import Request, Room
from pdscale.emulator.settings import Protocol, Settings, SglangSettings
from pdscale.emulator.sglang.errands import Leave, Meet, Refuse, Send
from pdscale.emulator.sglang.rooms import Rooms
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.tokens import Token


def rooms(engine: Engine) -> Rooms:
    assert isinstance(engine.transfers, Rooms)
    return engine.transfers


@dataclass
class RoomCluster(Cluster):
    """A prefill engine is addressed by its name; ``guests`` are decode legs by room."""

    guests: dict[int, tuple[Engine, str]] = field(default_factory=dict)

    def add_instance(
        self,
        name: str,
        mode: Mode,
        *,
        limits: Limits = LIMITS,
        patience: Patience | None = None,
        decode_cache: bool = True,
    ) -> Engine:
        def connect(cache: BlockCache, stats: EngineStats) -> Rooms:
            return Rooms(
                mode,
                patience or Patience(),
                decode_cache=decode_cache,
                profile=FAST,
                speed=limits.speed,
                cache=cache,
                stats=stats,
            )

        self.engines[name] = engine = Engine(FAST, limits, transfers=connect)
        return engine

    def prefill(self, number: int, prompt: Iterable[Token], *, name: str = "") -> str:
        """Submit a prefill leg to ``p``."""
        leg = name or f"prefill-{number}"
        room = Room("p", 1, number, fetches=False)
        self.submit("p", Request(leg, tuple(prompt), max_tokens=1, room=room))
        return leg

    def decode(self, number: int, prompt: Iterable[Token], *, max_tokens: int = 4, host: str = "p") -> str:
        """Submit a decode leg to ``d``."""
        leg = f"decode-{number}"
        room = Room(host, 1, number, fetches=True)
        self.submit("d", Request(leg, tuple(prompt), max_tokens=max_tokens, room=room))
        return leg

    def said(self, leg: str) -> list[Token]:
        return [o.token for o in self.outputs[leg] if o.token is not None]

    def run_errands(self, engine: Engine) -> None:
        if engine.transfers is None:
            return
        own = rooms(engine)
        errands, own.errands = own.errands, []
        for errand in errands:
            match errand:
                case Meet(request, room, have) if room.host in self.unreachable:
                    own.visiting.refused(request)
                case Meet(request, room, have):
                    self.guests[room.number] = (engine, request)
                    rooms(self.engines[room.host]).hosting.meet(room.number, have, self.now)
                case Leave(request):
                    for number in [n for n, (_, r) in self.guests.items() if r == request]:
                        del self.guests[number]
                        rooms(self.engines["p"]).hosting.left(number)
                case Send(number, contents, ready_in, cached):
                    guest, request = self.guests.pop(number)
                    rooms(guest).visiting.deliver(
                        request, contents, ready_in=ready_in, cached=cached, now=self.now
                    )
                case Refuse(number) if number in self.guests:
                    guest, request = self.guests.pop(number)
                    rooms(guest).visiting.refused(request)


def settings(mode: Mode | None, **changes: Any) -> Settings:
    """A fast SGLang server on loopback and free ports, whose decode instances keep prefixes."""
    own = SglangSettings(mode=mode, decode_cache=True, bootstrap_port=0, may_switch=True)
    base = replace(vllm_settings(), protocol=Protocol.SGLANG, transfer=None)
    for name in [name for name in changes if hasattr(own, name)]:
        own = replace(own, **{name: changes.pop(name)})
    return replace(base, sglang=own, **changes)
