"""What a client got, as series: in time or not, how many tokens, how many of them computed anew."""

from collections.abc import Callable
from dataclasses import dataclass

from pdscale.engines.answers import Reading, StreamReader, Usage
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.placement.lengths import Lengths
from pdscale.router.hop.inbound import Inbound
from pdscale.router.meters import Meters


@dataclass(slots=True)
class Judge:
    lengths: Lengths
    meters: Meters
    slo: SLO
    clock: Callable[[], Seconds]

    def whole(self, inbound: Inbound, status: int, reading: Reading) -> None:
        """Without a stream neither TTFT nor TPOT can be seen; a failure can."""
        if status >= 500 or status == 429:
            self.meters.failed()
        elif status == 200 and reading.usage is not None:
            self._book(inbound, reading.usage)

    def stream(self, inbound: Inbound, reader: StreamReader, *, at: Seconds, last: Seconds) -> bool:
        """Whether it came to its end. ``at`` is when its first bytes came, ``last`` its last token."""
        if reader.failed or not reader.done:
            self.meters.failed()
            return False
        tokens = reader.usage.completion if reader.usage is not None else reader.events
        tpot = (last - at) / (tokens - 1) if tokens > 1 else None
        self.meters.served(self.slo, ttft=at - inbound.arrived, tpot=tpot)
        if reader.usage is not None:
            self._book(inbound, reader.usage)
        return True

    def _book(self, inbound: Inbound, usage: Usage) -> None:
        """Engines that report no prefix hits are taken to have had the session's history at hand."""
        now = self.clock()
        history = self.lengths.estimate(inbound.session, inbound.received_bytes, now=now).history
        cached = history if usage.cached is None else usage.cached
        self.meters.completed(usage, uncached=max(0.0, usage.prompt - cached))
        if not inbound.once:
            self.lengths.learn(
                inbound.session,
                inbound.received_bytes,
                prompt=usage.prompt,
                completion=usage.completion,
                now=now,
            )
