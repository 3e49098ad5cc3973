"""Dynamo's replay simulator (``ai-dynamo==1.4.2``), in an interpreter of its own, decided for from here.

Its scaling policies are Python objects that it calls in its own process; ours are asked over a pipe instead,
so that neither side needs the other's packages. Virtual time stands still meanwhile.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.dynamo.cases import BLOCK, Case
from pdscale.model.pools import Role, Targets
from pdscale.model.units import Seconds
from pdscale.workload.trace import Trace

INTERVAL: Final[Seconds] = 15.0
_SIDE: Final = Path(__file__).with_name("simulator_side.py")

Tick = Mapping[str, Any]
Decide = Callable[[Tick], Targets | None]


@dataclass(frozen=True, slots=True)
class Samples:
    """Forward passes: (prompts, their tokens, streams, their resident tokens, seconds)."""

    prefill: tuple[tuple[int, int, int, int, float], ...]
    decode: tuple[tuple[int, int, int, int, float], ...]


@dataclass(frozen=True, slots=True)
class Planner:
    """Dynamo's own planner: what differs from its defaults, the passes it is given to begin with, and a past
    for its predictors."""

    config: Mapping[str, Any]
    samples: Samples | None = None
    past: Trace | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """``ttft``, ``tpot`` and ``both`` are shares of all requests. ``plan``: changes of targets, by time."""

    requests: int
    ttft: float
    tpot: float
    both: float
    gpu_hours: float
    plan: tuple[tuple[Seconds, Targets], ...]

    @property
    def changes(self) -> int:
        return len(self.plan)


def replayed(
    python: Path,
    case: Case,
    trace: Trace,
    *,
    fleet: Targets,
    decide: Decide | None = None,
    planner: Planner | None = None,
    interval: Seconds = INTERVAL,
) -> Outcome:
    """One run. Without ``decide`` and ``planner`` the fleet stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        config = None if planner is None else dict(planner.config)
        samples = None if planner is None else planner.samples
        if config is not None and planner is not None and planner.past is not None:
            config["load_predictor_warmup_trace"] = _written(case, planner.past, here / "past.jsonl")
        question = {
            "trace": _written(case, trace, here / "trace.jsonl"),
            "records": str(here / "records.jsonl"),
            "prefill": case.engine(Role.PREFILL),
            "decode": case.engine(Role.DECODE),
            "fleet": [fleet.prefill, fleet.decode],
            "block": BLOCK,
            "slo_ms": [case.slo.ttft * 1e3, case.slo.tpot * 1e3],
            "planner": config,
            "samples": None if samples is None else {"prefill": samples.prefill, "decode": samples.decode},
            "interval_ms": None if decide is None else interval * 1e3,
        }
        said = _conversed(python, here, question, decide)
        lines = (here / "records.jsonl").read_text().splitlines()
    plan = tuple((at, Targets(p, d)) for at, p, d in said["plan"])
    return outcome(case, [json.loads(line) for line in lines], said["report"], plan)


def outcome(
    case: Case,
    records: Sequence[Mapping[str, Any]],
    report: Mapping[str, float],
    plan: tuple[tuple[Seconds, Targets], ...],
) -> Outcome:
    """A request that was not completed, or whose figure is missing, has missed its objective.

    An answer of one token has no time between tokens, and cannot be late with it.
    """
    count = round(report["num_requests"])
    soon = [_within(r["ttft_ms"], case.slo.ttft) for r in records]
    steady = [r["output_length"] <= 1 or _within(r["itl_ms"], case.slo.tpot) for r in records]
    ended = [r["terminal_status"] == "completed" for r in records]
    return Outcome(
        requests=count,
        ttft=sum(e and t for e, t in zip(ended, soon, strict=True)) / count,
        tpot=sum(e and i for e, i in zip(ended, steady, strict=True)) / count,
        both=sum(e and t and i for e, t, i in zip(ended, soon, steady, strict=True)) / count,
        gpu_hours=report["gpu_hours"],
        plan=plan,
    )


def _written(case: Case, trace: Trace, path: Path) -> str:
    path.write_text("\n".join(case.lines(trace)) + "\n")
    return str(path)


def _within(milliseconds: float | None, limit: Seconds) -> bool:
    return milliseconds is not None and milliseconds <= limit * 1e3


def _conversed(python: Path, folder: Path, question: dict[str, Any], decide: Decide | None) -> dict[str, Any]:
    """Answer ticks until the report comes. Whatever the simulator prints is kept for its last words."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with (folder / "log").open("w+") as log:
        with subprocess.Popen(
            [python, _SIDE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=folder,
            env=os.environ | threads,
        ) as side:
            assert side.stdin is not None
            assert side.stdout is not None
            try:
                side.stdin.write(json.dumps(question) + "\n")
                side.stdin.flush()
                for line in side.stdout:
                    said: dict[str, Any] = json.loads(line)
                    if "report" in said:
                        return said
                    targets = None if decide is None else decide(said["tick"])
                    answer = None if targets is None else [targets.prefill, targets.decode]
                    side.stdin.write(json.dumps(answer) + "\n")
                    side.stdin.flush()
            except BrokenPipeError:
                pass  # it ended; its last words are in the log
            finally:
                side.kill()
        log.seek(0)
        words = log.read()[-2000:]
    raise RuntimeError(f"--peers: {python} ended without a report:\n{words}")
