"""What the simulator's speed is measured on: a part of a day of 1.3 million rounds, on 8 replicas, with the
policies that run live. Speed does not depend on the part's length."""

import hashlib
import random
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.placement.admission import Admission
from pdscale.placement.ampd import AMPD
from pdscale.placement.baselines import AlwaysLocal, AlwaysRemote
from pdscale.placement.correction import Correction
from pdscale.placement.cost import CostBased
from pdscale.placement.fewest_late import FewestLate
from pdscale.placement.policy import PlacementPolicy
from pdscale.sim.limits import EngineSetup
from pdscale.sim.records import Result
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


class Timed(NamedTuple):
    """``digest`` tells whether two runs went the same way, to the bit."""

    rounds: int
    cpu_seconds: float
    digest: str


def timed(policy: str, traffic: Traffic) -> Timed:
    setup = EngineSetup(PROFILE)
    plan = Scenario(
        Fleet(4, 4),
        setup,
        setup,
        LIMITS,
        placement=POLICIES[policy],
        admission=lambda: Admission(FewestLate()),
    )
    started = time.process_time()
    result = simulate(plan, traffic, seed=1)
    return Timed(len(traffic), time.process_time() - started, _digest(result))


def _digest(result: Result) -> str:
    seen = hashlib.sha256()
    for column in (result.first_token, result.finished, result.slow_gaps, result.decode, result.prefill):
        seen.update(column.tobytes())
    return seen.hexdigest()[:16]


def calibration() -> float:
    """What a fixed loop takes, by which figures of differently busy machines can be compared."""
    started, kept = time.process_time(), dict[int, object]()
    for i in range(2_000_000):
        kept[i & 1023] = (i, kept)
    return time.process_time() - started


def singles(rounds: int) -> Traffic:
    rng, start, sessions = random.Random(1), 0.0, []
    for i in range(rounds):
        start += rng.expovariate(RATE)
        prompt, output = _lengths(rng)
        sessions.append(Session(f"r{i}", start, (Round(prompt, 0, 0, output, 0.0, i),)))
    return Traffic.of(sessions)


def conversations(rounds: int) -> Traffic:
    """Of five rounds each."""
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


def _lengths(rng: random.Random) -> tuple[int, int]:
    """Prompts of 1.4 k and answers of 130 tokens on average, as in ServeGen's mm-image."""
    prompt, output = rng.lognormvariate(7.0, 0.65), rng.lognormvariate(4.6, 0.75)
    return min(32_000, 1 + int(prompt)), min(4_000, 1 + int(output))
