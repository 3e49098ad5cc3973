"""What must not pass between clients and engines.

Transfer parameters from a client can leak an engine's memory, end its process, or make it fetch
from a host of the client's choice; an engine's own parameters name blocks and addresses that are no
client's business.

Only what was read can be cleaned, and engines read more than we do: Python's own parser takes NaN and
UTF-16, which ``orjson`` refuses. So a JSON body that ``json_object`` cannot read goes to no engine.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from pdscale.engines.errors import UnreadableBody

_TRANSFER: Final = ("kv_transfer_params", "ec_transfer_params")
_BODY_FIELDS: Final = frozenset(
    {
        *_TRANSFER,
        # Which of an engine's data-parallel ranks works on it, under its names over the years.
        "routed_dp_rank",
        "disagg_prefill_dp_rank",
        "data_parallel_rank",
        "kv_hints",
    }
)
_BODY_PREFIXES: Final = ("bootstrap_",)
# vLLM copies these into the place where transfer parameters are kept, unless the request has some itself:
# {"vllm_xargs": {"kv_transfer_params": "x"}} passes its schema and ends the engine's process.
_EXTRA_ARGUMENTS: Final = "vllm_xargs"
_HEADERS: Final = frozenset({"x-prefiller-host-port", "x-data-parallel-rank"})
_HEADER_PREFIXES: Final = (
    "x-override-",
    "x-pdscale-",
    "x-kv-cache-source-",
    "x-encoder-hosts-",
    "x-data-parallel-host-",
    "x-gateway-destination-endpoint",
)
# Concern one connection only, or are written anew by whoever sends the next message.
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "host",
        "expect",
    }
)
# Answers must stay readable: usage and transfer parameters are read from them.
_NOT_FORWARDED: Final = _HOP_BY_HOP | {"accept-encoding", "content-encoding"}


def json_object(content: bytes) -> dict[str, Any]:
    """A client's JSON body; whoever cannot be read here is not to be forwarded either."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise UnreadableBody(f"the body must be JSON in UTF-8: {error}") from None
    if not isinstance(body, dict):
        raise UnreadableBody(f"the body must be a JSON object, got {type(body).__name__}")
    return body


def clean_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without the fields that only a router may set."""
    kept = {k: v for k, v in body.items() if not _is_ours(k)}
    extra = kept.get(_EXTRA_ARGUMENTS)
    if isinstance(extra, Mapping):
        kept[_EXTRA_ARGUMENTS] = {k: v for k, v in extra.items() if k not in _TRANSFER}
    return kept


def needs_cleaning(body: Mapping[str, Any]) -> bool:
    extra = body.get(_EXTRA_ARGUMENTS)
    smuggled = isinstance(extra, Mapping) and any(k in extra for k in _TRANSFER)
    return smuggled or any(map(_is_ours, body))


def _is_ours(name: str) -> bool:
    return name in _BODY_FIELDS or name.startswith(_BODY_PREFIXES)


def client_headers(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Headers of a client's request that may go on."""
    return (
        (name, value)
        for name, value in forwarded(headers)
        if (low := name.lower()) not in _HEADERS and not low.startswith(_HEADER_PREFIXES)
    )


def forwarded(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Headers that outlive a hop."""
    return ((n, v) for n, v in headers if n.lower() not in _NOT_FORWARDED)


def answer_headers(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Headers of an answer that a client may see; the server writes date and server itself."""
    return (
        (name, value)
        for name, value in headers
        if (low := name.lower()) not in _HOP_BY_HOP
        and low not in ("date", "server")
        and not low.startswith("x-pdscale-")
    )
