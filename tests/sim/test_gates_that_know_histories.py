"""What the simulated gate is told of a leg: what the sidecar's gate is told."""

from fakes.simulated import conversation, scenario
from pdscale.sim.simulation import simulate
from pdscale.sim.traffic import Traffic

TURNS = ((1000, 50, 0.0), (300, 50, 5.0))


def legs_of(*, history_moves: bool) -> list[tuple[float, float]]:
    seen: list[tuple[float, float]] = []

    def noting(new: float, history: float) -> float:
        seen.append((new, history))
        return 0.1

    plan = scenario(1, 1, gate_seconds=noting, history_moves=history_moves)
    simulate(plan, Traffic.of([conversation("s", 0.0, TURNS)]), seed=1)
    return seen


def test_a_gate_knows_the_history_that_new_tokens_look_at() -> None:
    # Of 1050 tokens the last one of the answer was never computed.
    assert legs_of(history_moves=True) == [(1000, 0), (301, 1049)]


def test_a_history_that_stays_behind_is_work_and_no_history() -> None:
    assert legs_of(history_moves=False) == [(1000, 0), (1350, 0)]
