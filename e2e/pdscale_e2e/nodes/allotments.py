"""What a node hands out to its pods: addresses and GPU numbers, each to one pod at a time."""

import ipaddress
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain


class NothingLeft(Exception):
    """The node has no more of what a pod asks for; the message says of what."""


class Addresses:
    """Pod addresses of one node. The range's first address is the node's own.

    An address that was given back is used again as late as possible: a client that still remembers
    its old owner should find nobody there.
    """

    def __init__(self, pod_range: str | None, node: str) -> None:
        network = ipaddress.ip_network(pod_range or _made_up_range(node))
        own, *rest = network.hosts()
        self.own = str(own)
        self._free = [str(address) for address in rest]
        self._held: dict[str, str] = {}

    def of(self, pod: str, wanted: str | None = None) -> str:
        """The pod's address; ``wanted`` is the one that it had before the agent was restarted."""
        if pod not in self._held:
            if not self._free:
                raise NothingLeft("no pod address left on the node")
            address = wanted if wanted in self._free else self._free[0]
            self._free.remove(address)
            self._held[pod] = address
        return self._held[pod]

    def give_back(self, pod: str) -> None:
        address = self._held.pop(pod, None)
        if address is not None:
            self._free.append(address)


class Devices:
    """GPU numbers of one node, lowest first."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._held: dict[str, list[int]] = {}

    def take(self, pod: str, count: int) -> list[int]:
        taken = set(chain.from_iterable(self._held.values()))
        free = [n for n in range(self._count) if n not in taken]
        if count > len(free):
            raise NothingLeft(f"pod asks for {count} GPUs, {len(free)} of {self._count} are free")
        self._held.setdefault(pod, []).extend(free[:count])
        return free[:count]

    def give_back(self, pod: str) -> None:
        self._held.pop(pod, None)


def _made_up_range(node: str) -> str:
    """For clusters that give nodes no range: somewhere in 198.18.0.0/15, which nobody routes."""
    return f"198.{18 + zlib.crc32(node.encode()) % 2}.{zlib.crc32(node.encode()) // 2 % 256}.0/24"


def gpus_asked_for(containers: Iterable[dict[str, object]]) -> Iterator[tuple[str, int]]:
    """Name and GPU count of each container that asks for some."""
    for container in containers:
        resources = container.get("resources")
        limits = resources.get("limits") if isinstance(resources, dict) else None
        count = int((limits or {}).get("nvidia.com/gpu", 0))
        if count:
            yield str(container["name"]), count
