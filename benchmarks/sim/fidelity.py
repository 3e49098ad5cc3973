"""How close a simulated vLLM comes to a measured one, request by request of a published replay.

    python -m benchmarks.sim.fidelity PROFILES

PROFILES is the folder with the replay of 300 ShareGPT prompts on vLLM 0.19 (Llama-3.1-8B, one RTX PRO 6000,
128 sequences, 2048 tokens an iteration), the grid of that engine, and the measured H200 worker with its grid.
Nothing is fitted to the replay. What a server adds to a grid's bare GPU time is taken in three ways:

    bare       nothing
    rule       x 1.15 and 10 ms a request, as the profiles' README says of any server
    H200       x what Dynamo's H200 worker took over *its* grid: median of the decode points up to batch 256

The goal, 15 % at P50 and P90 of TTFT and TPOT, is judged on ``rule``. Most of these TTFTs are waits for one
of the 128 sequences, seconds of them, and say little about prefill; those who came while there was room are
therefore shown apart.
"""

import argparse
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.rows import Goal, Row, publish
from pdscale.model.quantiles import quantile
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.perf.model import PerformanceModel
from pdscale.perf.published import read_dynamo
from pdscale.perf.scaled import Scaled
from pdscale.placement.baselines import AlwaysLocal
from pdscale.sim.limits import EngineSetup
from pdscale.sim.records import Result
from pdscale.sim.scenario import Fleet, Scenario
from pdscale.sim.simulation import simulate
from pdscale.sim.traffic import Traffic
from pdscale.workload.files import read_json
from pdscale.workload.load import load_measured_replay, load_model
from pdscale.workload.measured_replay import MeasuredReplay
from pdscale.workload.sessions import sessions_of

REPLAY: Final = "replay_vllm_rtxpro6000_llama31_8b.csv.gz"
GRID: Final = "grid_llama31_8b_rtxpro6000_tp1.csv.gz"
WORKER: Final = "engine_dynamo_h200_llama31_8b_fp8.json"
WORKER_GRID: Final = "grid_llama31_8b_h200_tp1_fp8w.csv.gz"
FILES: Final = (REPLAY, GRID, WORKER, WORKER_GRID)

# The replayed engine's settings.
SEQUENCES: Final = 128
BATCHED_TOKENS: Final = 2048

# The profiles' README: measured TTFT = 9 ms + 1.19 x grid and ITL = 1.13 x grid of an H200 worker.
RULE_FACTOR: Final = 1.15
RULE_OVERHEAD: Final[Seconds] = 0.010

TOLERANCE: Final = 0.15
_LARGEST_BATCH: Final = 256  # of the worker's decode points; beyond it the worker was short of memory


@dataclass(frozen=True, slots=True)
class Comparison:
    """One percentile of one figure, measured and simulated."""

    figure: str
    percentile: int
    measured: Seconds
    simulated: Seconds

    @property
    def ratio(self) -> float:
        return self.simulated / self.measured

    @property
    def off(self) -> float:
        return abs(self.ratio - 1)


def replayed(replay: MeasuredReplay, model: PerformanceModel, *, overhead: Seconds = 0.0) -> Result:
    """The replay's requests on one simulated colocated engine with the settings of the real one."""
    setup = EngineSetup(model, max_batched_tokens=BATCHED_TOKENS, max_sequences=SEQUENCES)
    plan = Scenario(
        Fleet(0, 1), setup, setup, SLO(2.0, 0.05), placement=lambda _: AlwaysLocal(), overhead=overhead
    )
    return simulate(plan, Traffic.of(sessions_of(replay.trace)), seed=1)


def compared(replay: MeasuredReplay, result: Result) -> list[Comparison]:
    """TTFT, TPOT and the whole at P50 and P90, and TTFTs of those who found room (``early``)."""
    rows = range(len(replay.trace))
    ttft = array("d", map(result.ttft, rows))
    tpot = array("d", (t for t in map(result.tpot, rows) if t is not None))
    whole = array("d", (result.finished[i] - result.arrived[i] for i in rows))
    measured_tpot = array("d", (replay.tpot[i] for i in rows if replay.trace.output[i] > 1))
    return [
        *_percentiles("TTFT", replay.ttft, ttft),
        *_percentiles("TPOT", measured_tpot, tpot),
        *_percentiles("end to end", replay.total, whole),
        *_percentiles("TTFT, early", replay.ttft[1:SEQUENCES], ttft[1:SEQUENCES]),  # the first one warms up
    ]


def _percentiles(figure: str, measured: Sequence[float], simulated: Sequence[float]) -> list[Comparison]:
    one, other = sorted(measured), sorted(simulated)
    return [Comparison(figure, p, quantile(one, p / 100), quantile(other, p / 100)) for p in (50, 90)]


def worker_factor(folder: Path) -> float:
    """How much slower than its grid the measured H200 worker decodes."""
    grid = load_model(folder / WORKER_GRID)
    points = [p for p in read_dynamo(read_json(folder / WORKER)).decode if p.batch <= _LARGEST_BATCH]
    return quantile(sorted(p.seconds / grid.step_seconds(p.batch, p.context) for p in points), 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("profiles", type=Path)
    folder: Path = parser.parse_args().profiles
    replay, grid = load_measured_replay(folder / REPLAY), load_model(folder / GRID)
    factor = worker_factor(folder)
    rows = _rows("bare", replay, replayed(replay, grid))
    rows += _rows(
        f"rule: x {RULE_FACTOR:g} + {RULE_OVERHEAD * 1e3:g} ms",
        replay,
        replayed(replay, Scaled(grid, RULE_FACTOR), overhead=RULE_OVERHEAD),
        judged=("TTFT", "TPOT"),
    )
    rows += _rows(f"H200: x {factor:.3f}", replay, replayed(replay, Scaled(grid, factor)))
    publish("sim-fidelity", rows)


def _rows(how: str, replay: MeasuredReplay, result: Result, *, judged: Sequence[str] = ()) -> list[Row]:
    goal = Goal("<=", TOLERANCE)
    rows = []
    for c in compared(replay, result):
        config = f"{how}: measured {c.measured:.4g} s, simulated {c.simulated:.4g} s, ratio {c.ratio:.3f}"
        rows.append(
            Row(
                f"{c.figure} P{c.percentile}, off by", c.off, "", config, goal if c.figure in judged else None
            )
        )
    return rows


if __name__ == "__main__":
    main()
