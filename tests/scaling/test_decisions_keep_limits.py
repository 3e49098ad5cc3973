"""Whatever is observed, a decision stays within bounds and budget, and forgets nothing that it must not."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from pdscale.model.plan import Reason
from pdscale.model.pools import Bounds, GpusPerReplica, PoolState, Targets
from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.scaling.autoscaler import Autoscaler, Observation
from pdscale.scaling.history import History
from pdscale.scaling.policy import Policy
from pdscale_forecaster.series import Series, TooShort

SAMPLES = 24
figures = st.one_of(st.just(math.nan), st.floats(0, 50))
lengths = st.floats(1, 20_000)
fleets = st.builds(
    lambda ready, starting, terminating: PoolState(ready + starting, ready, starting, 0, terminating),
    st.integers(0, 8),
    st.integers(0, 3),
    st.integers(0, 3),
)


def blind(series: Series, *, horizon: float, quantile: float, model: str) -> TooShort:
    return TooShort("on purpose")


def series(values: list[float]) -> Series:
    return Series(0.0, 15.0, tuple(values))


@st.composite
def histories(draw: st.DrawFn) -> History:
    rate = draw(st.lists(figures, min_size=SAMPLES, max_size=SAMPLES))
    prompt, output, coming = draw(lengths), draw(lengths), draw(lengths)
    streams = draw(st.lists(figures, min_size=SAMPLES, max_size=SAMPLES))

    def of(each: float) -> Series:
        return series([r * each for r in rate])

    return History(
        request_rate=of(1),
        completed=of(1),
        prompt_tokens=of(prompt),
        uncached_tokens=of(prompt),
        uncached_tokens_squared=of(2 * prompt**2),
        output_tokens=of(output),
        output_tokens_squared=of(2 * output**2),
        local_share=series([math.nan] * SAMPLES),
        decode_streams=series([10 * s for s in streams]),
        prefill_requests=series(streams),
        arrived_tokens=of(coming),
        arrived_tokens_squared=of(2 * coming**2),
        ended_estimates=of(prompt),
    )


@settings(max_examples=60, deadline=None)
@given(
    histories(),
    fleets,
    fleets,
    st.booleans(),
    st.integers(2, 16),
    st.builds(Targets, st.integers(0, 3), st.integers(0, 3)),
    st.floats(0, 1),
)
def test_no_decision_leaves_the_bounds_or_adds_beyond_the_budget(
    past: History,
    prefill: PoolState,
    decode: PoolState,
    flips: bool,
    budget: int,
    spare: Targets,
    reserved: float,
) -> None:
    policy = Policy(
        slo=SLO(2.0, 0.05),
        prefill=Bounds(1, 7),
        decode=Bounds(1, 7),
        gpus=GpusPerReplica(1, 1),
        gpu_budget=budget,
        profile=BUILTIN["llama-3.1-8b-h100"],
        scale_down_window=None,
        flip=5.0 if flips else None,
        spare=spare,
        reserved_gpus=int(reserved * budget),
    )
    decision = Autoscaler(blind).decide(policy, Observation(prefill, decode, past), 15.0 * SAMPLES)
    assert policy.allows(decision.wanted)
    assert decision.apply is not None
    if decision.plan.steps[0].reason is Reason.REACTIVE_DEMAND:
        used = decision.wanted.prefill + decision.wanted.decode
        assert used >= min(policy.reserved_gpus, 14)
    held, before = prefill.holding + decode.holding, prefill.desired + decode.desired
    assert sum((decision.apply.prefill, decision.apply.decode)) <= max(before, before + budget - held)


@settings(max_examples=30, deadline=None)
@given(st.lists(histories(), min_size=3, max_size=5), st.integers(1, 2))
def test_a_restart_in_the_middle_never_leaves_fewer_replicas(pasts: list[History], restart: int) -> None:
    policy = Policy(
        slo=SLO(2.0, 0.05),
        prefill=Bounds(1, 7),
        decode=Bounds(1, 7),
        gpus=GpusPerReplica(1, 1),
        gpu_budget=14,
        profile=BUILTIN["llama-3.1-8b-h100"],
        scale_down_window=None,
    )

    def run(restarted: bool) -> list[Targets]:
        scaler, current, made = Autoscaler(blind), Targets(3, 3), []
        for i, past in enumerate(pasts):
            if restarted and i == restart:
                scaler = Autoscaler(blind)
            pools = (PoolState(n, ready=n) for n in (current.prefill, current.decode))
            decision = scaler.decide(policy, Observation(*pools, past), 15.0 * SAMPLES + 15 * i)
            assert decision.apply is not None
            current = decision.apply
            made.append(current)
        return made

    for straight, again in zip(run(False), run(True), strict=True):
        assert again.prefill >= straight.prefill
        assert again.decode >= straight.decode
