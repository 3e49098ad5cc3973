"""Our rule and the default: predicted first token against the round's deadline, then whom it harms less.

For the bound decode replica (local) and the prefill replica that is through first (remote), by the profile:

    t_local  = queue + sum of passes(new, hist)                              AMPD eq. 1's place; ours
    t_remote = queue + T_kv(hist) + T_pre(new, hist) + T_kv(new) + step      AMPD eq. 2, plus the decode step
                                                                             that the first token comes out of

each times its ``Correction``. AMPD asks first whether means over ten seconds leave slack, and prices
transfers only when nobody has any; here the price comes first, per round and against its own deadline. A
side is *in time* if its prediction is within ``alpha`` of what is left of the TTFT limit.

The round takes a *share* of the slack that those have left who are there already, and its *harm* is that
share times how many they are (ours):

    local    share = the greater of  stall / (answer * (beta * TPOT limit - itl) - queue)
                              and  passes above the TPOT limit / (0.1 * answer)
             harm  = share * streams
    remote   share = T_pre / (alpha * TTFT limit - queue)
             harm  = share * queue / (queue + T_pre)

``stall`` is what the passes take beyond the steps that the streams do in them anyway, ``itl`` the worse of
the window's mean and the present step: an answer of so many tokens can lose that much and still keep its
pace. A pass above the limit breaks one gap between tokens of every stream, however much pace is left, and an
answer may have a tenth of its gaps broken. Without that term whole chunks of 8192 tokens went local wherever
streams had time to spare: among answers of 28 tokens (24 and 49 rounds/s on 3P+3D, generated bursts) 93 and
83 % stayed smooth, with it 99.6 and 98.7 %.

``queue / (queue + T_pre)`` stands for the chance that somebody will wait behind this round: at an idle
replica nobody does. With slack s a share is -d(log s), a logarithmic barrier: next to nothing while there is
slack, without bound when it runs out.

    both in time      local if its share goes unnoticed or its harm is not the greater, else remote
    one in time       there; a first round that goes local is *deflected*
    neither in time   remote, unless local is sooner and goes unnoticed

A decode replica does not count as in time for a round that its streams cannot bear. No round goes there,
streams or not, whose passes alone take longer than the limit: the sessions that are bound there have no other
replica, and whoever asks meanwhile is late. (A prompt of 93 k tokens, 5 s, had gone local because nobody was
decoding, and ten of the next rounds were late; recorded agents at 2.9 and 7 rounds/s had 99.2 and 98 % in
time, without such prompts 100 and 99.7 %.) Nor does a round that is late in any case go there: AMPD compares
costs then, and a prompt that is late by itself, the longest of all, takes all streams along. What goes
unnoticed matters: a rule that priced every small increase of TPOT has been tried and left everything remote,
at half the load that AMPD's rule bears.
"""

import math
import random
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds, Tokens
from pdscale.perf.profile import Profile
from pdscale.placement.correction import Correction
from pdscale.placement.passes import prefill_among_streams
from pdscale.placement.policy import Kind, Placement, PlacementReason, Round, local, remote
from pdscale.placement.soonest import Soonest

# 2 % of the slack: fifty rounds like this one within an answer's time would use it up. An answer of 200
# tokens at 20 ms takes 4 s, in which a decode replica sees some 20 rounds (14 rounds/s on 3 of them is about
# what the best rule without reordering bore on recorded conversations). If all are local, half of it is left.
_UNNOTICED: Final = 0.02
# A quarter: the slack is a typical answer's. One of 50 tokens, which has a quarter of it, bears no more.
_BEARABLE: Final = 0.25
# Of an answer's gaps so many may be above the limit: what strict attainment allows. What earlier passes have
# broken of them is not counted: tried, and no simulated figure changed.
_BROKEN: Final = 0.1


class Side(NamedTuple):
    """One way to run a round: first token by the profile, the same as corrected; what others lose by it."""

    predicted: Seconds
    seconds: Seconds
    share: float
    harm: float
    work: Seconds = 0.0


@dataclass(slots=True)
class CostBased:
    """``alpha`` and ``beta`` are AMPD's: a tenth of the time is for errors of prediction, 15 % of the pace
    for streams that fare worse than the mean. ``answer`` is a typical length; conversations have 211.
    """

    profile: Profile
    slo: SLO
    correction: Correction = field(default_factory=Correction)
    alpha: float = 0.9
    beta: float = 0.85
    answer: Tokens = 200.0
    _per_queued_token: Seconds = field(init=False)
    _soonest: Soonest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if not self.answer >= 1:
            raise ValueError(f"answer must be at least 1 token, got {self.answer}")
        # A queue is worked off in full passes. As one prompt, 100 000 queued tokens would be given 4 s of
        # attention to each other (8B, H100) that they do not pay: they are of different requests.
        full = float(self.profile.max_batched_tokens)
        self._per_queued_token = self.profile.prefill_seconds(full) / full
        self._soonest = Soonest(self._per_queued_token)

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        prefill, queue = self._soonest.find(view, without=decode.name, now=now, rng=rng)
        near = self.local_side(request, decode.load, now=now)
        if prefill is None:
            return local(decode, PlacementReason.NO_PREFILL_REPLICA, near.predicted)
        far = self.remote_side(request, queue, decode.load, now=now)
        kind, reason = self._judge(request, near, far)
        if kind is Kind.LOCAL:
            return local(decode, reason, near.predicted)
        self._soonest.note(prefill, far.work, now=now)
        return remote(prefill, reason, far.predicted)

    def local_side(self, request: Round, load: Load, *, now: Seconds) -> Side:
        # A gauge of running streams is up to a second old; resident tokens are the sidecar's own count.
        streams = max(load.running, 1 if load.resident_tokens > 0 else 0)
        step = self.profile.step_seconds(streams, load.resident_tokens)
        passes = prefill_among_streams(
            self.profile,
            request.increment,
            request.history,
            streams=streams,
            context=load.resident_tokens,
            gap=self.slo.tpot,
        )
        factor = self.correction.factor(Kind.LOCAL, now)
        queue = load.queued_tokens * self._per_queued_token
        predicted = queue + passes.seconds
        if passes.seconds * factor > self.alpha * self.slo.ttft:
            return Side(predicted, predicted * factor, math.inf, math.inf)
        if not streams:
            return Side(predicted, predicted * factor, 0.0, 0.0)
        pace = max(load.itl or 0.0, step * factor)
        slack = self.answer * (self.beta * self.slo.tpot - pace) - queue * factor
        share = max(_share(passes.stall * factor, slack), passes.broken / (_BROKEN * self.answer))
        return Side(predicted, predicted * factor, share, share * streams)

    def remote_side(self, request: Round, queue: Seconds, owner: Load, *, now: Seconds) -> Side:
        """``owner`` is the decode replica's load. It pulls the increment only: the history it has."""
        new, history = request.remote_work
        work = self.profile.prefill_seconds(max(1.0, new), history)
        moved = self.profile.transfer_seconds(history) + self.profile.transfer_seconds(request.increment)
        step = self.profile.step_seconds(owner.running + 1, owner.resident_tokens)
        predicted = queue + moved + work + step
        factor = self.correction.factor(Kind.REMOTE, now)
        share = _share(work * factor, self.alpha * self.slo.ttft - queue * factor)
        harm = share * queue / (queue + work) if queue > 0 else 0.0
        return Side(predicted, predicted * factor, share, harm, work)

    def _judge(self, request: Round, near: Side, far: Side) -> tuple[Kind, PlacementReason]:
        limit = self.alpha * (self.slo.ttft - request.waited)
        bearable = near.share < _BEARABLE
        near_in_time, far_in_time = bearable and near.seconds <= limit, far.seconds <= limit
        if near_in_time and far_in_time:
            if near.share <= _UNNOTICED or near.harm <= far.harm:
                return Kind.LOCAL, PlacementReason.DECODE_SLACK
            return Kind.REMOTE, PlacementReason.PREFILL_SLACK
        if near_in_time:
            first = request.history == 0
            return Kind.LOCAL, PlacementReason.DEFLECTED if first else PlacementReason.DEADLINE_LOCAL
        if far_in_time:
            reason = PlacementReason.DEADLINE_REMOTE if bearable else PlacementReason.NO_SLACK
            return Kind.REMOTE, reason
        if near.share <= _UNNOTICED and near.seconds <= far.seconds:
            return Kind.LOCAL, PlacementReason.CHEAPER_LOCAL
        return Kind.REMOTE, PlacementReason.CHEAPER_REMOTE


def _share(part: Seconds, whole: Seconds) -> float:
    """How much of the slack is taken; where there is none, all of it and more."""
    return part / whole if whole > 0 else math.inf
