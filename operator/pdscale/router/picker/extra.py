"""Whether the libraries are here that the picker needs. Imports none of them."""

from importlib.util import find_spec
from typing import Final

_NEEDED: Final = ("grpc.aio", "grpc_health.v1", "envoy.service.ext_proc.v3.external_processor_pb2")


def require_extra() -> None:
    """Raises ``ValueError`` where a router was installed without them."""
    if not all(map(_is_here, _NEEDED)):
        raise ValueError(
            "endpointPickerPort needs the extra endpoint-picker: pip install "
            "'pdscale[router,endpoint-picker]', or the image endpoint-picker in place of router"
        )


def _is_here(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that it would be in
        return False
