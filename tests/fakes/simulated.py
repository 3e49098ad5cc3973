"""Models, traffic and scenarios whose right answers are known, for tests of the simulator."""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.profile import Profile, Segment
from pdscale.placement.admission import Admission
from pdscale.placement.ordering import FCFS, Sorted
from pdscale.sim.limits import EngineSetup
from pdscale.sim.scenario import Fleet, Scenario
from pdscale.sim.simulation import Simulation
from pdscale.sim.traffic import Traffic
from pdscale.workload.sessions import Round, Session

LLAMA_8B = BUILTIN["llama-3.1-8b-h100"]


def linear(
    *,
    prefill: tuple[float, float, float] = (0.0, 0.0, 0.0),
    decode: tuple[float, float, float] = (0.01, 0.0, 0.0),
    **changes: Any,
) -> Profile:
    """One segment each (fixed, per item, per pair) in seconds; by default only decode steps take time."""
    settings: dict[str, Any] = {
        "kv_capacity": 1e9,
        "kv_bytes_per_token": 1e-30,  # a transfer takes no time, not even one of rounding
        "transfer_bandwidth": 1e15,
        "transfer_fixed": 0.0,
        "max_batched_tokens": 1_000_000,
        "max_sequences": 100_000,
    }
    return Profile(
        name="linear",
        source="made up",
        prefill=(Segment(math.inf, *prefill),),
        decode=(Segment(math.inf, *decode),),
        **{**settings, **changes},
    )


def asked(prompt: int, output: int, *, history: int = 0, wait: float = 0.0, common: int = 0) -> Round:
    return Round(prompt, history, common, output, wait, 0)


def singles(requests: Iterable[tuple[float, int, int]]) -> Traffic:
    """Sessions of one round each, from (start, prompt, output)."""
    return Traffic.of(
        Session(f"s{i}", start, (asked(prompt, output),))
        for i, (start, prompt, output) in enumerate(requests)
    )


def conversation(key: str, start: float, turns: Sequence[tuple[int, int, float]]) -> Session:
    """From (new tokens, answer, wait before): every prompt begins with all that was said."""
    rounds, said = [], 0
    for new, answer, wait in turns:
        rounds.append(asked(said + new, answer, history=said, wait=wait))
        said += new + answer
    return Session(key, start, tuple(rounds))


def chatter(rng: random.Random, *, sessions: int, rate: float, longest: int = 3000) -> list[Session]:
    """Random conversations of one to five rounds, with lengths that differ a lot."""
    start, found = 0.0, []
    for number in range(sessions):
        start += rng.expovariate(rate)
        turns = [
            (
                min(longest, 1 + int(rng.lognormvariate(5.5, 1.2))),
                1 + int(rng.lognormvariate(3.5, 1.0)),
                rng.expovariate(0.5),
            )
            for _ in range(rng.randint(1, 5))
        ]
        found.append(conversation(f"chat-{number}", start, turns))
    return found


def one_at_a_time() -> Admission:
    return Admission(Sorted(FCFS()), at_once=1, most_waiting=10**9)


def scenario(prefill: int, decode: int, profile: Profile = LLAMA_8B, /, **changes: Any) -> Scenario:
    """All of KV memory, a generous SLO and fresh loads unless said otherwise."""
    setup = EngineSetup(profile, kv_share=1.0)
    settings: dict[str, Any] = {"slo": SLO(2.0, 0.05), "load_age": 0.0, "prefill": setup, "decode": setup}
    return Scenario(Fleet(prefill, decode), **{**settings, **changes})


def with_fleet(plan: Scenario, **changes: Any) -> Scenario:
    return replace(plan, fleet=replace(plan.fleet, **changes))


def remains(simulation: Simulation) -> list[str]:
    """What a run has left behind in its replicas: nothing, if every round was let go."""
    found = []
    for prefill in simulation.fleet.prefill.values():
        figures = (len(prefill.rounds), prefill.engine.queued_tokens, prefill.engine.waiting)
        if any(figures) or not prefill.engine.idle:
            found.append(f"{prefill.name}: rounds, tokens, legs {figures}")
    for decode in simulation.fleet.decode.values():
        engine, memory = decode.engine, decode.engine.memory
        numbers = (
            len(decode.rounds),
            engine.running,
            engine.waiting,
            engine.queued_tokens,
            memory.running,
            memory.reserved,
        )
        if any(numbers) or not 0 <= memory.idle <= memory.capacity:
            found.append(f"{decode.name}: rounds, running, waiting, queued, KV running, reserved {numbers}")
    return found
