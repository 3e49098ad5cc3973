"""Other people's forecasters on the same series and origins, in an interpreter of their own.

They are asked about every series and lead, at origins of the last three quarters. Point forecasts become
quantiles in the yardstick's way: times the quantile of past ratios, here of what came to the peer's own
points. Origins of the second quarter only fill these ratios; the second half is scored, ours on the same.
Who is slow answers at some of them, and is compared on these. As the best of many on few origins is often
luck, a gain comes with what it is when origins are drawn again.
"""

import json
import math
import os
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.forecast.cases import Case
from benchmarks.forecast.scores import QUANTILE, Judged, Score, by_ratios, judged, score
from pdscale_forecaster.rolling import origins

_DAY: Final = 86400.0
_SIDE: Final = Path(__file__).with_name("peer_side.py")
# Fewer origins tell nothing.
_LEAST: Final = 20
_DRAWS: Final = 2000


@dataclass(frozen=True, slots=True)
class Peer:
    """``score`` over so many ``origins``, ``ours`` and ``last`` value's on the same; seconds an origin.

    ``between`` holds the gain in 90 % of draws.
    """

    score: Score
    ours: Score
    last: Score
    origins: int
    seconds: float
    between: tuple[float, float]

    @property
    def gain(self) -> float:
        """Percent of our pinball loss that it saves; below zero it is worse."""
        return 100 * (1 - self.score.pinball / self.ours.pinball)


@dataclass(frozen=True, slots=True)
class Compared:
    """``ours`` on all origins, ``peers`` by name."""

    ours: Judged
    peers: Mapping[str, Peer]


def compared(
    python: Path, cases: Sequence[Case], *, every: int = 1, patience: float = 3600.0
) -> Iterator[Compared]:
    """``every`` thins the origins of minutes; what is not said in ``patience`` seconds is left out."""
    asked = {case: _from_a_quarter(case, case.thinned(every)) for case in cases}
    told = defaultdict(list)
    for answer in _answers(python, _questions(asked), patience):
        told[answer["series"], answer["steps"]].append(answer)
    for case in cases:
        yield _compared(case, asked[case], told[case.name, case.steps])


def _answers(python: Path, questions: Mapping[str, Any], patience: float) -> Iterable[Any]:
    with subprocess.Popen(
        [python, _SIDE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    ) as side:
        try:
            said, _ = side.communicate(json.dumps(questions), timeout=patience)
        except subprocess.TimeoutExpired:
            side.kill()
            said, _ = side.communicate()
        else:
            if side.returncode:
                raise RuntimeError(f"--peers: {python} ended with {side.returncode}; its messages are above")
    # A line that was cut short by the end of patience has no end of line.
    return map(json.loads, (line for line in said.splitlines(keepends=True) if line.endswith("\n")))


def _compared(case: Case, asked: Sequence[int], answers: Iterable[Mapping[str, Any]]) -> Compared:
    ours = judged(case, origins=[i for i in asked if i >= case.half])
    last = by_ratios(dict(enumerate(case.series.values)), case, sorted(ours.said))
    found = {}
    for answer in answers:
        mine = answer["origins"]
        points = dict(zip(mine, answer["points"], strict=True))
        said = (
            by_ratios(points, case, [i for i in mine if i in ours.said])
            if answer["quantiles"] is None
            else dict(zip(mine, answer["quantiles"], strict=True))
        )
        scored = [i for i in mine if i in ours.said and i in said and i in last]
        if len(scored) >= _LEAST:
            found[answer["peer"]] = Peer(
                score(case, scored, [(said[i], points[i]) for i in scored]),
                score(case, scored, [(ours.said[i],) * 2 for i in scored]),
                score(case, scored, [(last[i],) * 2 for i in scored]),
                len(scored),
                answer["seconds"] / len(mine),
                between(_losses(case, scored, said), _losses(case, scored, ours.said), _alike(case, scored)),
            )
    return Compared(ours, found)


def _losses(case: Case, origins: Sequence[int], said: Mapping[int, float]) -> "np.ndarray[Any, Any]":
    over = np.array([case.series.values[i + case.steps] - said[i] for i in origins])
    return np.maximum(QUANTILE * over, (QUANTILE - 1) * over)


def _alike(case: Case, origins: Sequence[int]) -> int:
    """How many neighbouring origins share a part of their futures."""
    return -(-case.steps * (len(origins) - 1) // (origins[-1] - origins[0]))


def between(theirs: "np.ndarray[Any, Any]", ours: "np.ndarray[Any, Any]", alike: int) -> tuple[float, float]:
    """The gain in percent in the middle 90 % of draws of origins.

    A circular block bootstrap (Politis and Romano 1992), as errors of ``alike`` neighbours are: blocks of
    n^(1/3) origins, at least of these, at most of a fifth of all.
    """
    n = len(ours)
    block = min(max(round(n ** (1 / 3)), alike), max(1, n // 5))
    first = np.random.default_rng(0).integers(0, n, (_DRAWS, -(-n // block)))
    drawn = ((first[:, :, None] + np.arange(block)) % n).reshape(_DRAWS, -1)[:, :n]
    gains = 100 * (1 - theirs[drawn].sum(axis=1) / ours[drawn].sum(axis=1))
    low, high = np.quantile(gains, (0.05, 0.95)).tolist()
    return low, high


def _questions(asked: Mapping[Case, Sequence[int]]) -> dict[str, Any]:
    """One per series, all its leads in it; the shortest series first."""
    found: dict[str, Any] = {}
    for case, at in sorted(asked.items(), key=lambda one: len(one[0].series.values) * one[0].series.step):
        question = found.setdefault(case.name, _question(case, at))
        question["origins"][case.steps] = list(at)
    return found


def _question(case: Case, origins: Sequence[int]) -> dict[str, Any]:
    season = round(_DAY / case.series.step)
    return {
        "values": _filled(case.series.values),
        "half": case.half,
        "season": season if origins[0] >= season * 3 // 2 else None,
        "origins": {},
    }


def _filled(values: Sequence[float]) -> list[float]:
    """Peers know no gaps: the last value stands in."""
    filled, last = [], next(v for v in values if not math.isnan(v))
    for value in values:
        last = last if math.isnan(value) else value
        filled.append(last)
    return filled


def _from_a_quarter(case: Case, every: int) -> list[int]:
    """A third of them lies before what is scored, and fills the ratios; minutes thinned as ours are."""
    first = case.half - (case.half - len(case.series.values) // 4) // every * every
    return origins(case.series, steps=case.steps, first=first, every=every)
