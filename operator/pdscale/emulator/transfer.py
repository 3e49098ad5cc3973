"""When KV moves between engines: the rules of vLLM's NIXL connector in pull mode, without its I/O.

The role of an engine comes from the request, never from its configuration. A request with
``do_remote_decode`` leaves its blocks under a lease for whoever reads them next; one with
``do_remote_prefill`` reads the blocks that it lacks. With ``bidirectional`` a prefill leg may itself
read a session's history from the engine that decoded it, and every decode leg leaves its blocks.

The rules are the real connector's, harmful ones included: a request whose parameters promise KV that
nothing fetches waits for ever, and one that wants remote KV without naming blocks kills the engine.
A router that survives this emulator keeps such dicts from its engines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pdscale.emulator.blocks import BlockId
from pdscale.model.units import Seconds


class BadTransferParams(ValueError):
    """A request's ``kv_transfer_params`` cannot be read: the client's fault."""


class OnFailure(StrEnum):
    """What becomes of a request whose KV could not be read."""

    FAIL = "fail"
    RECOMPUTE = "recompute"


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """The connector's settings. ``handshake_timeout`` bounds the first contact with a peer."""

    bidirectional: bool = False
    recompute_threshold: int = 64
    decoder_blocks_ttl: Seconds = 480.0
    lease: Seconds = 30.0
    on_failure: OnFailure = OnFailure.FAIL
    handshake_timeout: Seconds = 5.0

    def __post_init__(self) -> None:
        if self.recompute_threshold < 0:
            raise ValueError(f"kv_recompute_threshold must be at least 0, got {self.recompute_threshold}")
        for name, figure in (
            ("decoder_kv_blocks_ttl", self.decoder_blocks_ttl),
            ("kv_lease_duration", self.lease),
            ("handshake_timeout", self.handshake_timeout),
        ):
            if not figure > 0:
                raise ValueError(f"{name} must be above 0s, got {figure}s")

    @property
    def heartbeat_interval(self) -> Seconds:
        return self.lease / 6


@dataclass(frozen=True, slots=True)
class Remote:
    """Blocks of a finished request on another engine, and where that engine listens."""

    engine: str
    request: str
    host: str
    port: int
    blocks: tuple[BlockId, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class TransferParams:
    """A request's ``kv_transfer_params`` as far as they mean something to an engine.

    ``remote`` is absent when a field is missing that a reader needs; ``names_blocks`` says whether
    at least the blocks were named. ``prefill_cached`` is the prefix hit of the prefill leg.
    """

    remote_prefill: bool = False
    remote_decode: bool = False
    remote: Remote | None = None
    names_blocks: bool = False
    prefill_cached: int | None = None


def parse_params(raw: object) -> TransferParams | None:
    """Read the dict of a request; an empty one counts as none. Refuses what is not a dict."""
    if raw is None or raw == {}:
        return None
    if not isinstance(raw, Mapping):
        raise BadTransferParams(f"kv_transfer_params must be an object, got {type(raw).__name__}")
    blocks = _first_group(raw.get("remote_block_ids"))
    cached = raw.get("remote_prefill_cached_tokens")
    return TransferParams(
        remote_prefill=bool(raw.get("do_remote_prefill")),
        remote_decode=bool(raw.get("do_remote_decode")),
        remote=_remote(raw, blocks) if blocks else None,
        names_blocks=bool(blocks),
        prefill_cached=cached if isinstance(cached, int) else None,
    )


def tokens_to_load(params: TransferParams, config: TransferConfig, *, prompt: int, have: int) -> int:
    """How many of ``prompt`` tokens beyond the ``have`` cached ones come from the other engine.

    A decode leg takes all that it lacks. A prefill leg takes the session's history unless so little
    is missing that computing is cheaper than a transfer.
    """
    if params.remote_prefill:
        return max(0, prompt - have)
    if not params.remote_decode or params.remote is None:
        return 0
    missing = min(params.remote.tokens, prompt) - have
    return missing if missing >= max(1, config.recompute_threshold) else 0


def will_be_read(params: TransferParams, config: TransferConfig) -> bool:
    """Whether the connector acts on the remote blocks, be it by a read or only by a notice."""
    return params.remote is not None and (
        params.remote_prefill or (params.remote_decode and config.bidirectional)
    )


def leaves_blocks(params: TransferParams | None, config: TransferConfig) -> bool:
    """Whether a request's blocks stay pinned after it has finished."""
    return params is not None and (params.remote_decode or config.bidirectional)


@dataclass(frozen=True, slots=True)
class Origin:
    """The engine that hands blocks out, as its peers must address it."""

    engine: str
    host: str
    port: int


def hand_out(
    origin: Origin,
    request: str,
    *,
    prefill: bool,
    blocks: Sequence[BlockId],
    tokens: int,
    expires: Seconds,
    cached: int | None,
) -> dict[str, Any]:
    """The dict by which the next leg finds the blocks.

    ``cached`` are the prefix hits of a request that ended with its first token; others do not say.

    Only blocks of a decode leg carry their expiry, on this engine's own clock; a prefill leg's are
    kept alive by heartbeats. The engine's single KV-cache group is spelled as a list of one list.
    """
    params: dict[str, Any] = {
        "do_remote_prefill": prefill,
        "do_remote_decode": not prefill,
        "remote_block_ids": [list(blocks)],
        "remote_engine_id": origin.engine,
        "remote_request_id": request,
        "remote_host": origin.host,
        "remote_port": origin.port,
        "tp_size": 1,
        "dcp_size": 1,
        "pp_size": 1,
        "remote_num_tokens": tokens,
        "remote_blocks_expiry_time": None if prefill else expires,
        "remote_registration_generation": 0,
        "transfer_mode": "pull",
    }
    if prefill and cached is not None:
        params["remote_prefill_cached_tokens"] = cached
    return params


def _first_group(raw: object) -> tuple[BlockId, ...]:
    if not raw:
        return ()
    group = raw[0] if isinstance(raw, list) and isinstance(raw[0], list) else raw
    if not isinstance(group, list) or not all(isinstance(b, int) and b >= 0 for b in group):
        raise BadTransferParams("kv_transfer_params.remote_block_ids must be lists of block ids")
    return tuple(group)


def _remote(raw: Mapping[str, Any], blocks: tuple[BlockId, ...]) -> Remote | None:
    engine, request = raw.get("remote_engine_id"), raw.get("remote_request_id")
    host, port = raw.get("remote_host"), raw.get("remote_port")
    if engine is None or request is None or host is None or not isinstance(port, int):
        return None
    tokens = raw.get("remote_num_tokens") or 0
    if not isinstance(tokens, int):
        raise BadTransferParams(f"kv_transfer_params.remote_num_tokens must be a number, got {tokens!r}")
    return Remote(str(engine), str(request), str(host), port, blocks, tokens)
