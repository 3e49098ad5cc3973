"""What must not pass between clients and engines.

Transfer parameters from a client can leak an engine's memory, end its process, or make it fetch
from a host of the client's choice; an engine's own parameters name blocks and addresses that are no
client's business.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_BODY_FIELDS: Final = frozenset(
    {
        "kv_transfer_params",
        "ec_transfer_params",
        "routed_dp_rank",
        "disagg_prefill_dp_rank",
        "data_parallel_rank",
    }
)
_BODY_PREFIXES: Final = ("bootstrap_",)
_HEADERS: Final = frozenset({"x-prefiller-host-port", "x-data-parallel-rank"})
_HEADER_PREFIXES: Final = (
    "x-override-",
    "x-pdscale-",
    "x-kv-cache-source-",
    "x-encoder-hosts-",
    "x-data-parallel-host-",
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


def clean_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without the fields that only a router may set."""
    return {k: v for k, v in body.items() if k not in _BODY_FIELDS and not k.startswith(_BODY_PREFIXES)}


def needs_cleaning(body: Mapping[str, Any]) -> bool:
    return any(k in _BODY_FIELDS or k.startswith(_BODY_PREFIXES) for k in body)


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
