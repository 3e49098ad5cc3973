"""The sidecar's own engine: what it says of itself, and what the sidecar sees pass.

The engine's gauges are read once a second. Queued and resident tokens, TTFT and ITL are the
sidecar's own counts, as fresh as the last request. TTFT is the time of a prefill leg at this gate:
every decode replica hears the same figure, and the transfer that follows is not in it.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from pdscale.engines.metrics import parse_load
from pdscale.model.cluster import Load
from pdscale.model.units import Seconds, Tokens
from pdscale.placement.admission import Admission
from pdscale.placement.window import SlidingMean

_EVERY: Final[Seconds] = 1.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=1.0)


@dataclass(slots=True)
class OwnEngine:
    """``gauges`` is the engine's last word, empty before the first; ``admission`` its gate's, if any."""

    url: str
    gauges: Load = field(default_factory=Load)
    ttft: SlidingMean = field(default_factory=SlidingMean)
    itl: SlidingMean = field(default_factory=SlidingMean)
    queued_tokens: Tokens = 0.0
    resident_tokens: Tokens = 0.0
    admission: Admission | None = None

    def load(self, now: Seconds) -> Load:
        gauges = self.gauges
        return Load(
            running=gauges.running,
            waiting=gauges.waiting,
            kv_usage=gauges.kv_usage,
            queued_tokens=max(0.0, self.queued_tokens),
            resident_tokens=max(0.0, self.resident_tokens),
            ttft=self.ttft.mean(now),
            itl=self.itl.mean(now),
            seen_at=now,
            backlog=None if self.admission is None else self.admission.backlog(now),
        )

    async def healthy(self, client: aiohttp.ClientSession) -> bool:
        try:
            async with client.get(f"{self.url}/health", timeout=_TIMEOUT) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def follow(self, client: aiohttp.ClientSession) -> None:
        """Read the engine's gauges for ever; while it does not answer, its last word stands."""
        clock = asyncio.get_running_loop().time
        while True:
            try:
                async with client.get(f"{self.url}/metrics", timeout=_TIMEOUT) as answer:
                    seen = parse_load(await answer.text(), now=clock())
                if isinstance(seen, Load):
                    self.gauges = seen
            except (aiohttp.ClientError, TimeoutError, OSError, UnicodeDecodeError):
                pass  # readiness says so; placement goes on with what it has
            await asyncio.sleep(_EVERY)
