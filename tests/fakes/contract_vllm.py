"""vLLM 0.33 with the NIXL connector in pull mode, as far as a router can do wrong by it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fakes.contract import RANKS, STEERING_HEADERS, Request, Rule, World, breaches, without

FLAGS: Final = {"do_remote_decode", "do_remote_prefill"}
BLANK: Final = {*FLAGS, "remote_engine_id", "remote_block_ids", "remote_host", "remote_port"}
EXTENT: Final = {"remote_num_tokens", "remote_block_ids"}
BLOCK: Final = 8
NEEDED: Final = ("remote_block_ids", "remote_engine_id", "remote_request_id", "remote_host", "remote_port")


@dataclass
class Issue:
    """Transfer parameters that an engine handed out, and for what."""

    engine: str
    by_prefill: bool
    deadline: float
    params: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    prompt: int = 0
    used: bool = False


@dataclass
class KvWorld(World):
    """``lease`` of a prefill leg's blocks and of a local round's, ``ttl`` of a decode leg's, in seconds."""

    lease: float = 30.0
    ttl: float = 480.0
    issued: dict[str, Issue] = field(default_factory=dict)

    def judge(self, engine: str, request: Request) -> "Leg":
        """Name the request, note every rule that it breaks, and take its parameters as used."""
        raw = request.body.get("kv_transfer_params")
        params = raw if isinstance(raw, dict) and raw else None
        number = (params or {}).get("remote_request_id")
        leg = Leg(engine, request, raw, params, self.issued.get(str(number)), time.time())
        self.note(breaches(RULES, leg))
        if leg.issue is not None:
            leg.issue.used = True
        return leg

    def hand_out(self, leg: "Leg", *, prompt: int, tokens: int, cached: int) -> dict[str, Any] | None:
        """What the engine says at the end of a request, as the connector would; ``tokens`` with answer."""
        if leg.kind == "plain":
            return None
        from_decode = leg.kind in ("decode", "pinning")
        deadline = time.time() + (self.ttl if from_decode else self.lease)
        number = f"req-{len(self.issued)}"
        params = {
            "do_remote_prefill": not from_decode,
            "do_remote_decode": from_decode,
            "remote_block_ids": [list(range(1, 1 + -(-tokens // BLOCK)))],
            "remote_engine_id": leg.engine,
            "remote_request_id": number,
            "remote_host": "127.0.0.1",
            "remote_port": 5600,
            "tp_size": 1,
            "remote_num_tokens": tokens,
            "remote_blocks_expiry_time": deadline if from_decode else None,
            "transfer_mode": "pull",
            "remote_prefill_cached_tokens": cached,
        }
        by_prefill = leg.kind == "prefill"
        self.issued[number] = Issue(leg.engine, by_prefill, deadline, dict(params), leg.request.asked, prompt)
        return params

    @property
    def stranded(self) -> int:
        """Prefill legs whose decode leg never came: their blocks are held until the lease ends."""
        return sum(issue.by_prefill and not issue.used for issue in self.issued.values())


@dataclass(frozen=True)
class Leg:
    """One request as an engine sees it. ``issue`` is where its parameters come from, if anywhere."""

    engine: str
    request: Request
    raw: object
    params: dict[str, Any] | None
    issue: Issue | None
    now: float

    @property
    def body(self) -> dict[str, Any]:
        return self.request.body

    @property
    def kind(self) -> str:
        """plain, prefill, decode, local; or pinning, which is never right."""
        if self.params is None:
            return "plain"
        if self.params.get("do_remote_prefill"):
            return "decode"
        if not self.params.get("do_remote_decode"):
            return "pinning"
        return "local" if set(self.params) == FLAGS else "prefill"

    @property
    def carries(self) -> bool:
        """Whether it names somebody's blocks."""
        return self.params is not None and bool(self.params.get("remote_block_ids"))


def _is(*kinds: str) -> Callable[[Leg], bool]:
    return lambda leg: leg.kind in kinds


def _lacks(name: str) -> Callable[[Leg], bool]:
    return lambda leg: name not in leg.body


def _altered(leg: Leg) -> bool:
    """A history's flags and extent are the router's to set, everything else is the engine's."""
    if leg.issue is None or leg.params is None:
        return True
    own = {*FLAGS, *EXTENT} if leg.kind == "prefill" else set()
    sent = {name: value for name, value in leg.params.items() if name not in own}
    return sent != {name: value for name, value in leg.issue.params.items() if name not in own}


def _reaches_the_answer(leg: Leg) -> bool:
    """Engines read so many tokens into so many blocks, whatever the new prompt says there."""
    if leg.issue is None or leg.params is None:
        return True
    tokens, (blocks,) = leg.params["remote_num_tokens"], leg.params["remote_block_ids"]
    (handed,) = leg.issue.params["remote_block_ids"]
    return tokens > leg.issue.prompt or tokens != BLOCK * len(blocks) or blocks != handed[: len(blocks)]


def _carrying(leg: Leg) -> bool:
    return leg.carries


def _known(leg: Leg) -> bool:
    return leg.carries and leg.issue is not None


RULES: Final[tuple[Rule[Leg], ...]] = (
    # Every request.
    Rule("a field is there twice", lambda leg: not leg.request.twice),
    *without(
        ("ec_transfer_params", "bootstrap_host", "bootstrap_port", "bootstrap_room", *RANKS),
        of=lambda leg: leg.body,
        what="",
    ),
    *without(STEERING_HEADERS, of=lambda leg: leg.request.headers, what="header "),
    Rule(
        "client's vllm_xargs.kv_transfer_params reached an engine",
        lambda leg: "kv_transfer_params" not in (leg.body.get("vllm_xargs") or {}),
    ),
    Rule("parameters are an object", lambda leg: leg.raw is None or isinstance(leg.raw, dict)),
    # Its flags.
    Rule("both flags false pins blocks", lambda leg: leg.kind != "pinning"),
    Rule(
        "both flags true means two things",
        lambda leg: not (leg.params or {}).get("do_remote_decode"),
        _is("decode"),
    ),
    # A prefill leg.
    Rule("a prefill leg must not stream", lambda leg: leg.body.get("stream") is False, _is("prefill")),
    Rule("a prefill leg asks for one token", lambda leg: leg.body.get("max_tokens") == 1, _is("prefill")),
    Rule(
        "a prefill leg asks for one token by either name",
        lambda leg: leg.body.get("max_completion_tokens") in (None, 1),
        _is("prefill"),
    ),
    *(
        Rule(f"a prefill leg has no {name}", _lacks(name), _is("prefill"))
        for name in ("stream_options", "min_tokens", "min_completion_tokens")
    ),
    Rule(
        "a prefill leg is marked",
        lambda leg: leg.request.headers.get("x-pdscale-leg") == "prefill",
        _is("prefill"),
    ),
    Rule(
        "blank parameters are the six",
        lambda leg: set(leg.params or ()) == BLANK,
        lambda leg: leg.kind == "prefill" and not leg.carries,
    ),
    # A decode leg.
    Rule(
        "do_remote_prefill without block ids kills the engine",
        lambda leg: (leg.params or {}).get("remote_block_ids") is not None,
        _is("decode"),
    ),
    Rule(
        "do_remote_prefill without an address waits for ever",
        lambda leg: all((leg.params or {}).get(name) is not None for name in NEEDED),
        lambda leg: leg.kind == "decode" and leg.carries,
    ),
    Rule(
        "a decode leg asks what its prefill leg asked",
        lambda leg: leg.issue is None or leg.issue.asked == leg.request.asked,
        _is("decode"),
    ),
    Rule("a decode leg needs a prefill's blocks", lambda leg: bool(leg.issue and leg.issue.by_prefill),
         lambda leg: leg.kind == "decode" and leg.issue is not None),
    # Anybody's blocks.
    Rule("params that no engine handed out", lambda leg: leg.issue is not None, _carrying),
    Rule("params were altered", lambda leg: not _altered(leg), _known),
    Rule(
        "a history ends with the prompt, and its blocks with it",
        lambda leg: not _reaches_the_answer(leg),
        lambda leg: leg.kind == "prefill" and _known(leg),
    ),
    Rule("params used twice", lambda leg: not (leg.issue and leg.issue.used), _known),
    Rule(
        "params used after their deadline",
        lambda leg: leg.issue is not None and leg.now < leg.issue.deadline,
        _known,
    ),
    Rule(
        "an engine's own params came back to it",
        lambda leg: leg.issue is not None and leg.issue.engine != leg.engine,
        _known,
    ),
)  # fmt: skip
