"""What a workload needs of each kind of replica, window by window, and what fraction of it a fleet carries.

A fleet that stays as it is must carry the busy minutes, not the mean. The traffic is cut into windows of
equal length; `demand_for` says for each how many replicas of each role it takes, in fractions, to keep the
SLO at its percentile, all prefills remote. A fleet *carries* a window if neither role needs more than it
has; what it carries of the traffic is the share of rounds that arrive in such windows. Of two profiles the
one gives the prefills' times, the other steps, memory and network, as the simulator has it.

Rounds are foreseen as if every token of an answer took half the TPOT limit, as the clairvoyant yardstick
does. Answers that last longer than a window smooth the decode need, which is then overstated: the simulator
corrects it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

from pdscale.model.pools import GpusPerReplica, Role, Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.model.workload import Workload
from pdscale.perf.capacity import Limit
from pdscale.perf.profile import Profile
from pdscale.perf.queueing import largest
from pdscale.scaling.demand import NOTHING, Demand, demand_for
from pdscale.scaling.rivals.clairvoyant import Foresight
from pdscale.scenarios.plans.kinds import Kind

MOST_WINDOWS: Final = 720  # a day in twos of minutes; a window costs 0.1 to 0.3 ms per pair


@dataclass(frozen=True, slots=True)
class Windows:
    """Workloads of windows of ``seconds`` each; windows in which nothing arrives are left out."""

    seconds: Seconds
    span: Seconds
    workloads: tuple[Workload, ...]

    @property
    def weights(self) -> tuple[float, ...]:
        """Each window's share of all rounds."""
        rates = [w.request_rate for w in self.workloads]
        return tuple(rate / math.fsum(rates) for rate in rates)


def windows_of(future: Foresight, *, start: Seconds, stop: Seconds, length: Seconds) -> Windows:
    """``stop`` may be infinite: until the last round. Windows are longer than asked where there would be
    too many, and shorter where all is over sooner, but never below a second: an instant has no rate."""
    if math.isinf(stop):
        stop = math.nextafter(_last(future, start), math.inf)
    span = max(stop - start, 1.0)
    pieces = min(MOST_WINDOWS, max(1, round(span / length)))
    each = span / pieces
    found = (future.between(start + k * each, start + (k + 1) * each) for k in range(pieces))
    return Windows(each, span, tuple(w for w in found if isinstance(w, Workload)))


def _last(future: Foresight, start: Seconds) -> Seconds:
    """When the last round comes, to a billionth of the time it takes."""
    most = 1.0
    while isinstance(future.between(start + most, math.inf), Workload):
        most *= 2
    return start + largest(lambda t: isinstance(future.between(start + t, math.inf), Workload), most) + 1e-6


@dataclass(frozen=True, slots=True)
class Binding:
    """The stage that is fullest in the window up to which the asked share of rounds has been counted, fullest
    windows last. ``load`` is its need over what there is; above 1 the fleet does not carry that window."""

    role: Role
    limit: Limit
    load: float

    def __str__(self) -> str:
        if math.isinf(self.load):
            return f"one {self.role} replica alone misses its {self.limit} limit"
        return f"{self.role} {self.limit} at {self.load:.0%}"


@dataclass(frozen=True, slots=True)
class Pair:
    """Kinds of the two pools and what they need, window by window."""

    prefill: Kind
    decode: Kind
    weights: tuple[float, ...]
    needs: tuple[Demand, ...]

    @property
    def gpus(self) -> GpusPerReplica:
        return GpusPerReplica(self.prefill.gpus, self.decode.gpus)

    def cost(self, fleet: Targets) -> float:
        """Of an hour; GPUs where nobody said what they cost."""
        return math.fsum(self.cost_of(role) * fleet.of(role) for role in Role)

    def cost_of(self, role: Role) -> float:
        """Of one replica."""
        kind = self.prefill if role is Role.PREFILL else self.decode
        return kind.gpus * kind.price

    @property
    def mixed(self) -> bool:
        return self.prefill != self.decode

    def carried(self, fleet: Targets) -> float:
        """Share of rounds that arrive in windows which the fleet carries."""
        return math.fsum(w for k, w in enumerate(self.weights) if self._load(fleet, k)[0] <= 1 + NOTHING)

    def binding(self, fleet: Targets, share: float) -> Binding:
        """What stops the fleet from carrying more than ``share`` of the rounds, or would next."""
        loads = {k: self._load(fleet, k) for k in range(len(self.weights))}
        last = self._lightest(lambda k: loads[k], share)[-1]
        load, role = loads[last]
        return Binding(role, self.needs[last].capacity(role).limit, load)

    def _load(self, fleet: Targets, window: int) -> tuple[float, Role]:
        return max((self.needs[window].of(r) / fleet.of(r), r) for r in Role)

    def peak(self, share: float) -> Demand:
        """One demand that covers windows with ``share`` of the rounds: those that take the most GPUs are
        left out."""
        kept = self._lightest(self._gpus, share)
        prefill = max((self.needs[k] for k in kept), key=lambda need: need.prefill)
        decode = max((self.needs[k] for k in kept), key=lambda need: need.decode)
        return Demand(
            prefill.prefill,
            decode.decode,
            prefill.prefill_capacity,
            decode.decode_capacity,
            prefill.pool,
        )

    def _lightest(self, burden: Callable[[int], float | tuple[float, Role]], share: float) -> list[int]:
        """Windows with ``share`` of the rounds, in the order of their burden."""
        order = sorted(range(len(self.weights)), key=lambda k: (burden(k), k))
        sums = accumulate(self.weights[k] for k in order)
        return order[: 1 + sum(held < share - NOTHING for held in sums)]

    def _gpus(self, window: int) -> float:
        return math.fsum(self.needs[window].of(r) * self.gpus.of(r) for r in Role)


def pairs_of(profiles: Mapping[Kind, Profile], windows: Windows, slo: SLO, *, mixed: bool) -> Iterator[Pair]:
    """Each kind for both pools, and with ``mixed`` any two whose KV has the same size per token: KV of
    another size cannot be read."""
    for prefill, writes in profiles.items():
        for decode, reads in profiles.items():
            same = writes.kv_bytes_per_token == reads.kv_bytes_per_token
            if prefill == decode or (mixed and same):
                both = replace(reads, prefill=writes.prefill)
                needs = tuple(demand_for(workload, both, slo) for workload in windows.workloads)
                yield Pair(prefill, decode, windows.weights, needs)
