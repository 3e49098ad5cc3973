"""The Endpoint Picker Protocol in Envoy's message types: what is read from a gateway, and what is said.

The only file that knows these types, which carry no annotations. A destination is said twice, as the protocol
asks: by a header, and by metadata for gateways that do not let headers lead requests.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from google.protobuf.struct_pb2 import Struct

from pdscale.router.wire.request import Head, Headers

DESTINATION: Final = "x-gateway-destination-endpoint"
SERVED: Final = f"{DESTINATION}-served"
SUBSET: Final = f"{DESTINATION}-subset"
_PREFER: Final = "envoy.lb"  # the namespace of metadata that balancers read
_HINT: Final = "envoy.lb.subset_hint"
# Some gateways take no more than 64 KiB in one message.
_PIECE: Final = 60 * 1024

Mode: Final = processing_mode_pb2.ProcessingMode
FULL_DUPLEX: Final[int] = Mode.FULL_DUPLEX_STREAMED
BUFFERED: Final[int] = Mode.BUFFERED
NONE: Final[int] = Mode.NONE


def modes(request: Any) -> tuple[int, int]:
    """How the bodies of a request and of its answer come, by its first message. Whoever does not say so
    streams both, as the protocol wants it."""
    if not request.HasField("protocol_config"):
        return FULL_DUPLEX, FULL_DUPLEX
    told = request.protocol_config
    return told.request_body_mode, told.response_body_mode


def head_of(message: Any) -> Head:
    """A request's head; whoever speaks HTTP/2 has the start line among the headers."""
    pseudo: dict[str, bytes] = {}
    headers: Headers = []
    for name, value in _pairs(message):
        if name.startswith(":"):
            pseudo[name] = value
        else:
            headers.append((name.encode("latin-1"), value))
    method, path = pseudo.get(":method", b"GET").decode("latin-1"), pseudo.get(":path", b"/")
    return Head(method, path, "HTTP/1.1", headers, keep_alive=True)


def answer_of(message: Any) -> dict[str, bytes]:
    """An answer's headers, ``:status`` among them."""
    return dict(_pairs(message))


def allowed(request: Any) -> frozenset[str] | None:
    """The addresses that the gateway lets be chosen; absent where it says nothing of it."""
    value = _told(request, _HINT, SUBSET)
    if value is None:
        return None
    listed = [each.string_value for each in value.list_value.values] or value.string_value.split(",")
    return frozenset(address.strip() for address in listed if address.strip())


def served_by(request: Any) -> str | None:
    """Where the request went in the end, by an answer's first message."""
    value = _told(request, _PREFER, SERVED)
    return value.string_value if value is not None and value.string_value else None


def destination(address: str, session: bytes, dropped: Iterable[str]) -> tuple[Any, Any]:
    """A mutation of the request's headers, and metadata."""
    mutation = ext_proc.HeaderMutation(
        set_headers=[_header(DESTINATION, address.encode()), _header("x-session-id", session)],
        remove_headers=list(dropped),
    )
    metadata = Struct()
    metadata.update({_PREFER: {DESTINATION: address}})
    return mutation, metadata


def on_request_headers(mutation: Any = None, metadata: Any = None) -> Any:
    common = ext_proc.CommonResponse(header_mutation=mutation)
    return _said(metadata, request_headers=ext_proc.HeadersResponse(response=common))


def on_request_body(mutation: Any = None, metadata: Any = None) -> Any:
    common = ext_proc.CommonResponse(header_mutation=mutation)
    return _said(metadata, request_body=ext_proc.BodyResponse(response=common))


def on_request_trailers() -> Any:
    return ext_proc.ProcessingResponse(request_trailers=ext_proc.TrailersResponse())


def on_response_headers(dropped: Iterable[str]) -> Any:
    mutation = ext_proc.HeaderMutation(remove_headers=list(dropped))
    common = ext_proc.CommonResponse(header_mutation=mutation)
    return ext_proc.ProcessingResponse(response_headers=ext_proc.HeadersResponse(response=common))


def on_response_body() -> Any:
    return ext_proc.ProcessingResponse(
        response_body=ext_proc.BodyResponse(response=ext_proc.CommonResponse())
    )


def on_response_trailers() -> Any:
    return ext_proc.ProcessingResponse(response_trailers=ext_proc.TrailersResponse())


def request_pieces(content: bytes, *, ends: bool) -> Iterator[Any]:
    """A body for the upstream; ``ends`` unless trailers follow."""
    last = max(0, (len(content) - 1) // _PIECE) * _PIECE
    for start in range(0, last + 1, _PIECE):
        body = _streamed(content[start : start + _PIECE], ends=ends and start == last)
        yield ext_proc.ProcessingResponse(request_body=body)


def response_piece(content: bytes, *, ends: bool) -> Any:
    return ext_proc.ProcessingResponse(response_body=_streamed(content, ends=ends))


def immediate(status: int, content: bytes, headers: Iterable[tuple[str, str]], reason: str) -> Any:
    """The gateway's own answer to its client, instead of any upstream's."""
    mutation = ext_proc.HeaderMutation(set_headers=[_header(name, value.encode()) for name, value in headers])
    said = ext_proc.ImmediateResponse(headers=mutation, body=content, details=reason)
    said.status.code = status
    return ext_proc.ProcessingResponse(immediate_response=said)


def _said(metadata: Any, **response: Any) -> Any:
    return ext_proc.ProcessingResponse(dynamic_metadata=metadata, **response)


def _streamed(content: bytes, *, ends: bool) -> Any:
    piece = ext_proc.StreamedBodyResponse(body=content, end_of_stream=ends)
    mutation = ext_proc.BodyMutation(streamed_response=piece)
    return ext_proc.BodyResponse(response=ext_proc.CommonResponse(body_mutation=mutation))


def _header(name: str, value: bytes) -> Any:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, raw_value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _pairs(message: Any) -> Iterator[tuple[str, bytes]]:
    for header in message.headers.headers:
        yield header.key.lower(), header.raw_value or header.value.encode("latin-1", "replace")


def _told(request: Any, namespace: str, name: str) -> Any | None:
    """A value of the metadata beside a message."""
    namespaces = request.metadata_context.filter_metadata
    # To look into a map of messages makes what is not there.
    if namespace not in namespaces or name not in namespaces[namespace].fields:
        return None
    return namespaces[namespace].fields[name]
