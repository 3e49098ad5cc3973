"""Which rounds arrive now, and whether they are of the kind that was served until now.

Prompts of recorded conversations scatter by more than their mean: a minute of 160 of them has a mean that is
14 % off, and one look in six would take a quarter more for another workload. So two means are of two kinds
only if they are further apart than a quarter *and* than chance explains, and the lengths of a kind are those
of the longest past that is of that kind.
"""

import math
from typing import Final

from pdscale.model.units import Seconds
from pdscale.model.workload import Workload
from pdscale.scaling.history import History, Lengths
from pdscale_forecaster.series import Series

NOW: Final[Seconds] = 60.0  # how far back "now" reaches at most: four samples at the default step of 15 s
SAMPLES: Final = 4  # or so many samples if these are less; one scatters twice as much
LENGTHS_WINDOW: Final[Seconds] = 300.0  # lengths move slowly; five minutes smooth a burst of long ones
ENOUGH_ROUNDS: Final = 100  # the mean of so many lengths of cv 1 is within 20 % (two standard errors)
CHANCE: Final = 3.0  # standard errors: a change by chance once in 700 looks, three hours of them
ALIKE: Final = 1.25  # mean prompts further apart than this factor are two workloads


def foreseen(lead: Seconds) -> Seconds:
    """How much of so many seconds ahead a trend is taken to go on: for as long as it was seen, a minute.

    What rose within a minute was taken to rise for all of a start-up of three. It had stopped long before,
    and fleets of four had 5 to 19 % more GPU-hours of it.
    """
    return min(lead, NOW)


def window_of_now(history: History) -> Seconds:
    """How far back "now" reaches: a few samples, or less once enough rounds of another kind have come since.

    Whoever asks for a step of 1 s wants to be answered in seconds.
    """
    step = history.request_rate.step
    usual = min(NOW, SAMPLES * step)
    short = next((w for w in (step, 2 * step) if w < usual and rounds(history, w) >= ENOUGH_ROUNDS), usual)
    newest, lately = history.arriving(window=short), history.arriving(window=usual)
    if newest is None or lately is None or alike(newest, lately.mean):
        return usual
    return short


def lengths_of_arrivals(history: History, now: Seconds) -> tuple[Lengths | None, Seconds]:
    """Of what arrives now, or of as long as it takes to see enough rounds; then of the longest past with the
    same mean, and how long that is. Who cannot see arrivals takes five minutes for granted."""
    windows = (now, NOW, 2 * NOW, LENGTHS_WINDOW)
    since = next((w for w in windows if rounds(history, w) >= ENOUGH_ROUNDS), LENGTHS_WINDOW)
    found = newest = history.arriving(window=since)
    if newest is None:
        return None, LENGTHS_WINDOW
    for window in (w for w in windows if w > since):
        longer = history.arriving(window=window)
        if longer is None or not alike(newest, _before(newest, longer)):
            break
        found, since = longer, window
    return found, since


def _before(newest: Lengths, longer: Lengths) -> float:
    """The mean of those that arrived in the longer past and not in the newest."""
    older = longer.rounds - newest.rounds
    return (longer.mean * longer.rounds - newest.mean * newest.rounds) / older if older > 0 else newest.mean


def same_mix(history: History, coming: Lengths, ended: Workload, *, window: Seconds = LENGTHS_WINDOW) -> bool:
    """Whether arrivals resemble what ended, estimates compared with estimates where these are known."""
    estimated = history.estimated(window=window)
    return alike(coming, ended.uncached_tokens if estimated is None else estimated)


def alike(seen: Lengths, mean: float) -> bool:
    """Whether a sample may be of a kind that has this mean."""
    near = max(seen.mean, mean) <= ALIKE * min(seen.mean, mean)
    return near or abs(seen.mean - mean) <= CHANCE * seen.error


def rounds(history: History, window: Seconds) -> float:
    """Arrivals in the last seconds."""
    return rounds_in(history.request_rate, window)


def rounds_in(rate: Series, window: Seconds) -> float:
    """What a rate counted in the last seconds."""
    seen = rate.last(window)
    return seen.step * math.fsum(v for v in seen.values if not math.isnan(v))
