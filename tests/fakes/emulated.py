"""Emulated engines in tests: a fast profile, the pure core in virtual time, and a client for servers."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from pdscale.emulator.blocks import BlockCache
from pdscale.emulator.connector import Connector
from pdscale.emulator.engine import Engine, Output
from pdscale.emulator.errands import Heartbeat, Notify, Pull
from pdscale.emulator.limits import Limits
from pdscale.emulator.openai import Served
from pdscale.emulator.sequence import Request
from pdscale.emulator.settings import Settings
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.tokens import Token
from pdscale.emulator.transfer import Origin, TransferConfig, parse_params
from pdscale.perf.profile import Profile, Segment

BLOCK = 4

FAST = Profile(
    name="fast",
    source="made up: 1 ms and 10 us a token for prefill, 1 ms and 10 us a sequence for a step",
    prefill=(Segment(float("inf"), 0.001, 10e-6, 0.0),),
    decode=(Segment(float("inf"), 0.001, 10e-6, 0.0),),
    kv_capacity=4096,
    kv_bytes_per_token=1000,
    transfer_bandwidth=1e9,
    transfer_fixed=0.001,
    max_batched_tokens=256,
    max_sequences=16,
)

LIMITS = Limits(
    kv_blocks=256,
    block_size=BLOCK,
    max_batched_tokens=64,
    max_sequences=8,
    max_model_len=512,
    answer_length=0,
)

BIDIRECTIONAL = TransferConfig(bidirectional=True, recompute_threshold=8)

LOCAL = {"do_remote_decode": True, "do_remote_prefill": False}
"""The parameters of a local round whose blocks the next round may fetch."""


def prefill_leg(history: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The parameters of a prefill leg, given what the session's last decode handed out."""
    return {**(history or {}), "do_remote_decode": True, "do_remote_prefill": False}


def request(
    name: str,
    prompt: Iterable[Token],
    *,
    max_tokens: int = 4,
    params: object = None,
    priority: int = 0,
) -> Request:
    return Request(
        id=name,
        prompt=tuple(prompt),
        max_tokens=max_tokens,
        params=parse_params(params),
        priority=priority,
    )


def connector(engine: Engine) -> Connector:
    assert isinstance(engine.transfers, Connector)
    return engine.transfers


@dataclass
class Cluster:
    """Engines in virtual time whose errands are run at once. ``outputs`` are by request id."""

    engines: dict[str, Engine] = field(default_factory=dict)
    outputs: dict[str, list[Output]] = field(default_factory=dict)
    now: float = 0.0
    beats: int = 0
    unreachable: set[str] = field(default_factory=set)

    def add(
        self, name: str, *, limits: Limits = LIMITS, transfer: TransferConfig | None = BIDIRECTIONAL
    ) -> Engine:
        def connect(cache: BlockCache, stats: EngineStats) -> Connector:
            assert transfer is not None
            origin = Origin(name, "host", 1)
            return Connector(transfer, origin, profile=FAST, speed=limits.speed, cache=cache, stats=stats)

        engine = Engine(FAST, limits, transfers=connect if transfer is not None else None)
        self.engines[name] = engine
        return engine

    def submit(self, engine: str, asked: Request) -> None:
        self.outputs[asked.id] = []
        self.engines[engine].submit(asked, self.now)

    def ask(self, engine: str, asked: Request) -> tuple[list[Token], Output]:
        """Run one request to its end: its tokens, and its last output."""
        self.submit(engine, asked)
        self.settle()
        outputs = self.outputs[asked.id]
        return [o.token for o in outputs if o.token is not None], outputs[-1]

    def settle(self) -> None:
        """Until no engine has anything to compute or to load."""
        for _ in range(100_000):
            busy = [engine for engine in self.engines.values() if self.turn(engine)]
            if busy or any(engine.loaded for engine in self.engines.values()):
                continue
            if not any(engine.loading or engine.unsent for engine in self.engines.values()):
                return
            events = (e.next_event for e in self.engines.values())
            self.now = max(self.now, min(event for event in events if event is not None))
        raise AssertionError("the engines never come to rest")

    def turn(self, engine: Engine) -> bool:
        """One iteration of one engine; False if it had nothing to do."""
        self.record(engine.advance(self.now))
        iteration = engine.begin(self.now)
        self.run_errands(engine)
        if iteration is None:
            return False
        self.now += iteration.seconds
        self.record(engine.end(iteration, self.now))
        self.run_errands(engine)
        return True

    def record(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            self.outputs[output.sequence.request.id].append(output)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for engine in self.engines.values():
            self.record(engine.advance(self.now))
            self.run_errands(engine)

    def run_errands(self, engine: Engine) -> None:
        if engine.transfers is None:
            return
        own = connector(engine)
        errands, own.errands = own.errands, []
        for errand in errands:
            peer = connector(self.engines[errand.remote.engine])
            match errand:
                case Pull() if errand.remote.engine in self.unreachable:
                    output = engine.fail(errand.request, self.now)
                    if output is not None:
                        self.outputs[errand.request].append(output)
                case Pull():
                    contents, ready_in = peer.serve(errand.blocks, tokens=errand.tokens, now=self.now)
                    own.deliver(errand, contents, ready_in=ready_in, now=self.now)
                case Notify(remote):
                    peer.done(remote.request)
                case Heartbeat(_, requests):
                    self.beats += 1
                    peer.alive(requests, self.now)


def settings(**changes: Any) -> Settings:
    """A fast server on loopback and free ports, with bidirectional transfers."""
    defaults = Settings(
        profile=FAST,
        limits=LIMITS,
        served=Served(("tiny",), LIMITS.max_model_len, prompt_tokens_details=True),
        transfer=BIDIRECTIONAL,
        host="127.0.0.1",
        port=0,
        side_channel_host="127.0.0.1",
        side_channel_port=0,
    )
    return replace(defaults, **changes)


@dataclass(frozen=True)
class Answer:
    """What a client got: status, all JSON bodies or events in order, raw text."""

    status: int
    events: tuple[dict[str, Any], ...]
    text: str

    @property
    def body(self) -> dict[str, Any]:
        return self.events[0]

    @property
    def choices(self) -> list[dict[str, Any]]:
        return [choice for event in self.events for choice in event.get("choices", ())]

    @property
    def tokens(self) -> list[Token]:
        return [token for choice in self.choices for token in choice.get("token_ids", ())]

    @property
    def content(self) -> str:
        parts = (choice.get("delta") or choice.get("message") for choice in self.choices)
        return "".join(part.get("content") or "" for part in parts if part)

    @property
    def handed(self) -> dict[str, Any] | None:
        """What the last event that has it hands out for the next leg."""
        found = [e["kv_transfer_params"] for e in self.events if e.get("kv_transfer_params")]
        return found[-1] if found else None

    @property
    def usage(self) -> dict[str, Any]:
        usage: dict[str, Any] = next(e["usage"] for e in reversed(self.events) if e.get("usage"))
        return usage

    @property
    def cached(self) -> int:
        return int(self.usage["prompt_tokens_details"]["cached_tokens"])


@dataclass
class Client:
    """Speaks to emulated servers by their port."""

    http: aiohttp.ClientSession

    def open(self, port: int, **body: Any) -> Any:
        """The response itself, for tests that leave half-way."""
        asked = {"model": "tiny", "ignore_eos": True, "return_token_ids": True, **body}
        return self.http.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=asked)

    async def chat(self, port: int, **body: Any) -> Answer:
        if body.get("stream"):
            body.setdefault("stream_options", {"include_usage": True})
        async with self.open(port, **body) as response:
            return _answer(response.status, await response.text())

    async def get(self, port: int, path: str) -> tuple[int, str]:
        async with self.http.get(f"http://127.0.0.1:{port}{path}") as response:
            return response.status, await response.text()

    async def figures(self, port: int) -> dict[str, float]:
        """All samples of /metrics by series without the labels that are the same on all."""
        _, text = await self.get(port, "/metrics")
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {
            name.replace('engine="0",', "").replace('model_name="tiny"', "").replace("{}", ""): float(figure)
            for name, figure in lines
        }


def _answer(status: int, text: str) -> Answer:
    if text.startswith("data: "):
        events = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
        return Answer(status, tuple(json.loads(event) for event in events), text)
    return Answer(status, (json.loads(text),) if text else (), text)
