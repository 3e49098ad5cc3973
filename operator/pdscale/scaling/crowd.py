"""How many requests there will be on decode replicas: those that are there, their trend, and their rate's."""

import math
from dataclasses import replace

from pdscale.model.units import Seconds
from pdscale.scaling.demand import Streams
from pdscale.scaling.history import History
from pdscale.scaling.holding import crowd_of, served, settling
from pdscale.scaling.level import level_of_streams
from pdscale.scaling.mix import CHANCE, LENGTHS_WINDOW, NOW, foreseen
from pdscale.scaling.policy import Policy


def growth_of(history: History, rate: float, *, present: float) -> float:
    """How many times the streams there will be that there are, for ``rate`` rounds per second.

    They came with the rate of the last minutes, so a forecast that has not yet seen it fall asks for no more
    of them: 3/s until a minute ago and 1/s since are 240 streams, and 3/s to come are not thrice as many.
    Streams at work are E[S^2] / 2 E[S] old in the mean, so twice as much is looked back; further back were
    others. (Five minutes of a load that swings in ten took 28 streams for half as many while it rose.)
    """
    came = history.request_rate.last(max(NOW, crowd_of(history))).values
    known = [v for v in came if not math.isnan(v)]
    return rate / max(present, math.fsum(known) / len(known) if known else 0.0)


def streams_ahead(
    history: History, policy: Policy, *, growth: float | None, since: Seconds
) -> Streams | None:
    """Requests on decode replicas, and a lead time from now if they go on as in the last minute, but not for
    longer than that.

    What arrives less what ends; neither rate alone tells, since rounds wait for their prefill in between.
    120 now, 60 a minute ago, 45 s ahead: of the 60 more, sqrt(60^2 - 3^2 * 120) = 50 are no chance, so
    120 + 50 * 45 / 60 = 157; 75 s or more ahead, 170. Or what they draw grows ``growth`` times with the rate,
    if that is more. They are expected to become fewer only where they are of a mix that comes no more (no
    ``growth``). ``since`` so many seconds the mix is what it is.

    The first streams on empty replicas are no trend: until some crowds have come, a steady rate makes ever
    more of them. (76 of 4/s after 75 s were taken for 262 to come in 195 s, and three replicas were added
    that left again.)
    """
    present, before = history.streams(), history.streams(ago=NOW)
    if present is None:
        return None
    here = Streams(present) if growth is None else Streams(_usual(history, present, since), growth)
    if before is None or (growth is not None and _filling_up(history)):
        return here
    changed = math.sqrt(max(0.0, (present - before) ** 2 - CHANCE**2 * max(present, before)))
    trend = math.copysign(changed, present - before) * foreseen(policy.lead_time) / NOW
    if growth is None:
        return Streams(max(0.0, present + trend))
    return replace(here, ahead=present + trend) if trend > 0 else here


def fuller(history: History) -> bool:
    """Whether there are more streams than a minute ago, by three standard errors of the difference.

    Answers may have become longer, which no arrival tells: 60 now and 30 then are 30 more, and
    3 * sqrt(60 + 30) = 28.
    """
    present, before = history.streams(), history.streams(ago=NOW)
    if present is None or before is None or _filling_up(history):
        return False
    return present - before > CHANCE * math.sqrt(present + before)


def _filling_up(history: History) -> bool:
    """Whether a minute ago replicas were still filling."""
    return served(history) < NOW + settling(history)


def _usual(history: History, present: float, since: Seconds) -> float:
    """The mean of this mix for as long as there are not more or fewer by more than chance.

    A gauge that is read four times a minute scatters: 11 streams in the mean are 7 for a minute now and then,
    and a replica that was given away for it is missed in the next one; 15 of them ask for one that is not
    needed, since a replica's room allows for such crowds.
    """
    most = since if since < LENGTHS_WINDOW else math.inf
    gauge = history.decode_streams
    level = level_of_streams(gauge, now=3 * gauge.step, most=most, crowd=crowd_of(history))
    return present if level is None else level.mean
