"""Addresses of the tier's own programs: of pods' range inside the namespace, of loopback outside of it."""

from typing import Final

from pdscale_e2e.namespace import inside_namespace

NETWORK: Final = "10.89.250" if inside_namespace() else "127.0.250"
FRONT: Final = f"{NETWORK}.100"
TURNPIKE: Final = f"{NETWORK}.50"
