"""Runs in the peers' interpreter, where nothing of ours is installed: JSON in, lines of JSON out.

Read: {series: {"values": [...], "half": i, "season": n or null, "origins": {steps: [...]}}}. Written as soon
as it is known: {"peer", "series", "steps", "origins": [...], "points": [...], "quantiles": [...] or null,
"seconds"}, so that who stops it has what was said until then. A peer whose package is not installed, or that
cannot speak, is left out with a line to stderr.

statsforecast's models are fitted eight times on the way and given the new samples in between (``forward``),
on the last ``HISTORY`` samples, and say all leads at once; their 0.9-quantile is the upper end of the 80 %
interval. Dynamo's predictors know the next interval only: they get means over intervals as long as the lead
that end at the origins, each phase a predictor of its own. They have no quantiles.
"""

import json
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

HISTORY = 504
FITS = 8

# Dynamo's that fit anew whenever they are asked, Prophet in a process of its own: so many questions at most.
SLOW = {"arima": 75, "prophet": 75}

# Processor seconds that a peer may take for a lead of a series; who needs more is too slow for a tick anyway.
PATIENCE = 40.0

Answer = dict[str, Any]


class TooSlow(BaseException):
    """Past ``PATIENCE``. No Exception, since peers catch these and answer with the last value."""


def main() -> None:
    signal.signal(signal.SIGPROF, _too_slow)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    # Libraries print; what they print is not the answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    asked = json.load(sys.stdin)
    for name, run in _peers():
        for series, given in asked.items():
            began = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, PATIENCE * len(given["origins"]))
            try:
                for said in run(given):
                    spent, began = time.process_time() - began, time.process_time()
                    told = {"peer": name, "series": series, "quantiles": None, **said, "seconds": spent}
                    print(json.dumps(told), file=answers, flush=True)
            except (Exception, TooSlow) as e:  # a foreign package: whatever it raises is its answer
                print(f"{name} on {series}: {e!r}", file=sys.stderr)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        print(f"{name} done", file=sys.stderr)


def _too_slow(_signal: int, _frame: object) -> None:
    raise TooSlow(f"more than {PATIENCE:g} s of processor time a lead")


def _peers() -> Iterator[tuple[str, Callable[[dict[str, Any]], Iterator[Answer]]]]:
    try:
        from statsforecast.models import (  # type: ignore[import-not-found,unused-ignore]
            MSTL,
            AutoARIMA,
            AutoETS,
        )
    except ImportError as e:
        print(f"no statsforecast: {e}", file=sys.stderr)
    else:
        yield "AutoARIMA", lambda given: _statistical(given, AutoARIMA)
        yield "AutoETS", lambda given: _statistical(given, AutoETS)
        yield "MSTL", lambda given: _seasonal(given, MSTL)
    try:
        from dynamo.planner.config.planner_config import (  # type: ignore[import-not-found,unused-ignore]
            PlannerConfig,
        )
        from dynamo.planner.core.load.predictors import (  # type: ignore[import-not-found,unused-ignore]
            LOAD_PREDICTORS,
        )
    except ImportError as e:
        print(f"no dynamo: {e}", file=sys.stderr)
    else:
        for name, made in sorted(LOAD_PREDICTORS.items(), key=lambda one: (one[0] in SLOW, one[0])):
            yield f"Dynamo {name}", partial(_dynamo, made=partial(made, PlannerConfig()), most=SLOW.get(name))


def _seasonal(given: dict[str, Any], model: Any) -> Iterator[Answer]:
    season = given["season"]
    if season is None:
        return iter(())
    return _statistical(given, lambda: model(season_length=season))


def _statistical(given: dict[str, Any], make: Callable[[], Any]) -> Iterator[Answer]:
    import numpy

    leads = {int(steps): set(at) for steps, at in given["origins"].items()}
    origins = sorted(i for i in set.union(*leads.values()) if i >= given["half"])
    values = numpy.array(given["values"], dtype=float)
    every = -(-len(origins) // FITS)
    found: dict[int, Answer] = {n: {"steps": n, "origins": [], "points": [], "quantiles": []} for n in leads}
    model = make()
    for number, origin in enumerate(origins):
        seen = values[max(0, origin + 1 - HISTORY) : origin + 1]
        if number % every == 0:
            model = make()
            model.fit(seen)
        said = model.forward(seen, h=max(leads), level=[80])
        mean, high = (numpy.asarray(said[name]).ravel() for name in ("mean", "hi-80"))
        for steps, asked in leads.items():
            if origin in asked:
                found[steps]["origins"].append(origin)
                found[steps]["points"].append(max(0.0, float(mean[steps - 1])))
                found[steps]["quantiles"].append(max(0.0, float(high[steps - 1])))
    yield from found.values()


def _dynamo(given: dict[str, Any], made: Callable[[], Any], most: int | None) -> Iterator[Answer]:
    values = given["values"]
    for length, origins in given["origins"].items():
        steps = int(length)
        asked = origins[:: 1 if most is None else -(-len(origins) // most)]
        wanted, points = set(asked), {}
        for phase in sorted({origin % steps for origin in asked}):
            predictor = made()
            ends = (end for end in range(phase, len(values), steps) if end + 1 >= steps)
            for end in ends:
                predictor.add_data_point(sum(values[end + 1 - steps : end + 1]) / steps)
                if end in wanted:
                    points[end] = float(predictor.predict_next())
        yield {"steps": steps, "origins": asked, "points": [points[i] for i in asked]}


if __name__ == "__main__":
    main()
