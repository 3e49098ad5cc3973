"""What a connector asks its shell to tell other engines."""

from dataclasses import dataclass

from pdscale.emulator.blocks import BlockId
from pdscale.emulator.transfer import Remote


@dataclass(frozen=True, slots=True)
class Pull:
    """Read these blocks for a waiting request, then call ``deliver`` or ``fail``."""

    request: str
    remote: Remote
    blocks: tuple[BlockId, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the engine at ``remote`` that its blocks are no longer needed."""

    remote: Remote


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Tell the engine at ``remote`` that these of its leases are still wanted."""

    remote: Remote
    requests: tuple[str, ...]


Errand = Pull | Notify | Heartbeat
