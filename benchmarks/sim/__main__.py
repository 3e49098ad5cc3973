"""How many rounds the simulator gets through in a second of one core, with the policies that run live.

A day of 1.3 million rounds on 8 replicas within 60 s is the goal: 15 rounds/s, here a part of that day, since
speed does not depend on its length. ``--rounds 1300000`` runs all of it. CPU time, and beside it
what a fixed loop of dictionary writes takes, by which figures of differently busy machines can be compared.
"""

import argparse
import random
import time
from collections.abc import Callable
from typing import Final

from benchmarks.rows import Goal, Row, publish
from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.placement.admission import Admission
from pdscale.placement.ampd import AMPD
from pdscale.placement.baselines import AlwaysLocal, AlwaysRemote
from pdscale.placement.correction import Correction
from pdscale.placement.cost import CostBased
from pdscale.placement.ordering import ShortestRemaining, Sorted
from pdscale.placement.policy import PlacementPolicy
from pdscale.sim.limits import EngineSetup
from pdscale.sim.scenario import Fleet, Scenario
from pdscale.sim.simulation import simulate
from pdscale.sim.traffic import Traffic
from pdscale.workload.sessions import Round, Session

DAY: Final = 1_300_000
GOAL: Final = DAY / 60
RATE: Final = DAY / 86_400
PROFILE: Final = BUILTIN["llama-3.1-8b-h100"]
LIMITS: Final = SLO(ttft=2.0, tpot=0.025)
POLICIES: Final[dict[str, Callable[[Correction], PlacementPolicy]]] = {
    "AlwaysLocal": lambda _: AlwaysLocal(),
    "AlwaysRemote": lambda _: AlwaysRemote(),
    "AMPD": lambda _: AMPD(PROFILE, LIMITS),
    "CostBased": lambda correction: CostBased(PROFILE, LIMITS, correction),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60_000)
    rounds: int = parser.parse_args().rounds
    kinds = {"single rounds": _singles(rounds), "conversations of 5": _conversations(rounds)}
    rows = []
    for kind, traffic in kinds.items():
        for name, placement in POLICIES.items():
            config = f"{kind}, {len(traffic)} at {RATE:.0f}/s, 8B on H100, 4P+4D, loads up to 0.5 s old"
            rows.append(_speed(name, placement, traffic, config))
    rows.append(Row("2 million dictionary writes", _calibration(), "s", "by which to compare machines"))
    publish("sim", rows)


def _speed(
    name: str, placement: Callable[[Correction], PlacementPolicy], traffic: Traffic, config: str
) -> Row:
    setup = EngineSetup(PROFILE)
    plan = Scenario(
        Fleet(4, 4),
        setup,
        setup,
        LIMITS,
        placement=placement,
        admission=lambda: Admission(Sorted(ShortestRemaining())),
    )
    started = time.process_time()
    simulate(plan, traffic, seed=1)
    speed = len(traffic) / (time.process_time() - started)
    return Row(f"rounds per CPU second, {name}", speed, "1/s", config, Goal(">=", GOAL))


def _calibration() -> float:
    started, kept = time.process_time(), dict[int, object]()
    for i in range(2_000_000):
        kept[i & 1023] = (i, kept)
    return time.process_time() - started


def _lengths(rng: random.Random) -> tuple[int, int]:
    """Prompts of 1.4 k and answers of 130 tokens on average, as in ServeGen's mm-image."""
    prompt, output = rng.lognormvariate(7.0, 0.65), rng.lognormvariate(4.6, 0.75)
    return min(32_000, 1 + int(prompt)), min(4_000, 1 + int(output))


def _singles(rounds: int) -> Traffic:
    rng, start, sessions = random.Random(1), 0.0, []
    for i in range(rounds):
        start += rng.expovariate(RATE)
        prompt, output = _lengths(rng)
        sessions.append(Session(f"r{i}", start, (Round(prompt, 0, 0, output, 0.0, i),)))
    return Traffic.of(sessions)


def _conversations(rounds: int) -> Traffic:
    rng, start, sessions = random.Random(2), 0.0, []
    for i in range(rounds // 5):
        start += rng.expovariate(RATE / 5)
        said, turns = 0, []
        for number in range(5):
            new, output = _lengths(rng)
            new = max(1, new // (1 if number == 0 else 4))
            turns.append(Round(said + new, said, 0, output, rng.expovariate(1 / 30), number))
            said += new + output
        sessions.append(Session(f"c{i}", start, tuple(turns)))
    return Traffic.of(sessions)


if __name__ == "__main__":
    main()
