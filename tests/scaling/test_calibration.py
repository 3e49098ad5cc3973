"""Learning how far a profile is off, and what must never come of it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.pools import Role
from pdscale.model.workload import NoData
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.capacity import prefill_service, resident_tokens
from pdscale.scaling.calibration import BOUND, MOST, NOTCH, OUTLIER, Calibration, Factors, Learned
from pdscale.scaling.engine_paces import ratios_of
from pdscale.scaling.history import History
from pdscale_forecaster.series import Series

PROFILE = BUILTIN["llama-2-70b-a100-tp8-2023"]
STEP, RATE, PROMPT, OUTPUT, BATCH = 15.0, 6.0, 1200.0, 200.0, 25.0
RATIOS = st.floats(1e-6, 1e6)


def seen(
    *,
    prefill: float = 1.0,
    decode: float = 1.0,
    samples: int = 120,
    local: float = 0.0,
    together: float = 1.0,
) -> History:
    """Steady traffic on engines that take so many times what the profile says."""

    def steady(value: float) -> Series:
        return Series(0.0, STEP, (value,) * samples)

    past = History(
        request_rate=steady(RATE),
        completed=steady(RATE),
        prompt_tokens=steady(RATE * PROMPT),
        uncached_tokens=steady(RATE * PROMPT),
        uncached_tokens_squared=steady(RATE * PROMPT**2),
        output_tokens=steady(RATE * OUTPUT),
        output_tokens_squared=steady(RATE * OUTPUT**2),
        local_share=steady(local),
        decode_streams=steady(60.0),
        arrived_tokens=steady(RATE * PROMPT),
        arrived_tokens_squared=steady(RATE * PROMPT**2),
        ended_estimates=steady(RATE * PROMPT),
    )
    workload = past.workload(window=300.0)
    assert not isinstance(workload, NoData)
    leg, _ = prefill_service(workload, PROFILE)
    step = PROFILE.step_seconds(BATCH, BATCH * resident_tokens(workload))
    return replace(
        past,
        inter_token_latency=steady(decode * step),
        decode_batch=steady(BATCH),
        prefill_leg_seconds=steady(prefill * leg),
        prefill_leg_tokens=steady(PROMPT),
        prefill_legs_per_pass=steady(together),
    )


def learned(history: History) -> Factors:
    found = Calibration().learn(history, PROFILE)
    assert isinstance(found, Factors)
    return found


@pytest.mark.parametrize(("prefill", "decode"), [(1.3, 1.3), (1 / 1.3, 1 / 1.3), (1.4, 0.8), (1.0, 1.2)])
def test_half_an_hour_tells_what_engines_take(prefill: float, decode: float) -> None:
    found = learned(seen(prefill=prefill, decode=decode))
    assert found.prefill == pytest.approx(prefill, rel=0.02)
    assert found.decode == pytest.approx(decode, rel=0.02)


def test_what_is_within_the_dead_band_changes_nothing() -> None:
    assert learned(seen(prefill=1.07, decode=1 / 1.07)) == Factors()
    assert learned(seen(prefill=1.1)).prefill == pytest.approx(1.1, rel=0.02)


def test_nothing_is_said_where_engines_tell_nothing() -> None:
    silent = replace(seen(), inter_token_latency=None, prefill_leg_seconds=None)
    assert isinstance(Calibration().learn(silent, PROFILE), NoData)


def test_a_stage_that_tells_nothing_stays_at_one() -> None:
    found = learned(replace(seen(prefill=1.3, decode=1.3), prefill_leg_tokens=None))
    assert found.prefill == 1.0
    assert found.decode == pytest.approx(1.3, rel=0.02)


def test_a_factor_is_held_while_nothing_is_told() -> None:
    calibration, slow = Calibration(), seen(prefill=1.3, decode=1.3)
    before = calibration.learn(slow, PROFILE)
    gone = replace(slow, inter_token_latency=None, prefill_leg_seconds=None)
    night = replace(gone, **{n: Series(1e5, STEP, s.values) for n, s in _series(gone).items()})
    assert calibration.learn(night, PROFILE) == before


def _series(history: History) -> dict[str, Series]:
    found = {name: getattr(history, name) for name in history.__dataclass_fields__}
    return {name: series for name, series in found.items() if series is not None}


def test_a_restart_learns_the_same_from_the_history() -> None:
    slow = seen(prefill=1.3, decode=0.8)
    lived = Calibration()
    for i in range(len(slow.request_rate.values)):
        lived.learn(slow.ending(i, window=1800.0), PROFILE)
    assert lived.factors == learned(slow)


def test_looking_twice_at_a_sample_teaches_nothing_new() -> None:
    calibration, slow = Calibration(), seen(prefill=1.3, samples=6)
    assert calibration.learn(slow, PROFILE) == calibration.learn(slow, PROFILE)


def test_other_engines_are_learned_from_what_they_do() -> None:
    calibration, slow = Calibration(), seen(decode=1.5)
    calibration.learn(slow, PROFILE, revision="a")
    assert isinstance(calibration.learn(slow, PROFILE, revision="b"), NoData)


def test_another_profile_is_compared_with_what_the_same_engines_did() -> None:
    calibration, slow = Calibration(), seen(prefill=1.5, decode=1.5)
    calibration.learn(slow, PROFILE)
    right = Factors(1.5, 1.5).applied_to(PROFILE)
    assert calibration.learn(slow, right) == Factors()


def test_legs_that_share_a_pass_do_not_make_an_engine_slow() -> None:
    """Two in each pass: both take what 2400 tokens take, which is what a right profile expects."""
    past = seen(together=2.0)
    pair = PROFILE.prefill_batch_seconds([(PROMPT, 0.0)] * 2)
    both = replace(past, prefill_leg_seconds=Series(0.0, STEP, (pair,) * 120))
    assert ratios_of(both, PROFILE).prefill == pytest.approx(1.0, rel=0.01)


def test_local_prefills_do_not_make_steps_look_slow() -> None:
    """A prompt of 1200 tokens lengthens the step that it shares, and so the mean gap."""
    past = seen(local=0.1)
    workload = past.workload(window=300.0)
    assert not isinstance(workload, NoData)
    context = BATCH * resident_tokens(workload)
    step = PROFILE.step_seconds(BATCH, context)
    extra = PROFILE.iteration_seconds([(PROMPT, 0.0)], batch=BATCH, context=context) - step
    gap = step
    for _ in range(50):  # engines = output * gap / batch
        gap = step / (1 - extra * 0.1 * RATE / (RATE * OUTPUT * gap / BATCH))
    mixed = replace(past, inter_token_latency=Series(0.0, STEP, (gap,) * 120))
    assert gap > 1.02 * step
    assert ratios_of(mixed, PROFILE).decode == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(
    ("field", "factor"),
    [
        pytest.param("decode_batch", 0.05, id="hardly a stream"),
        pytest.param("request_rate", 0.5, id="more rounds end than arrive"),
        pytest.param("local_share", 6.0, id="an engine that prefills most of the time"),
    ],
)
def test_decode_is_not_judged_where_its_load_is_not_known(field: str, factor: float) -> None:
    past = seen(decode=1.3, local=0.1)
    assert ratios_of(past, PROFILE).decode is not None
    assert ratios_of(_times(past, field, factor), PROFILE).decode is None


@pytest.mark.parametrize(
    ("field", "factor"),
    [
        pytest.param("prefill_leg_tokens", 3.0, id="legs longer than rounds"),
        pytest.param("prefill_leg_tokens", 0.3, id="legs shorter than rounds"),
        pytest.param("prefill_leg_seconds", 100.0, id="legs longer than a sample"),
    ],
)
def test_prefill_is_not_judged_where_its_legs_are_not_known(field: str, factor: float) -> None:
    assert ratios_of(_times(seen(), field, factor), PROFILE).prefill is None


def _times(history: History, field: str, factor: float) -> History:
    series: Series = getattr(history, field)
    return replace(history, **{field: replace(series, values=tuple(v * factor for v in series.values))})


def test_streams_of_another_kind_than_what_ended_teach_nothing() -> None:
    other = tuple(RATE * 4 * PROMPT if i > 100 else RATE * PROMPT for i in range(120))
    past = seen(decode=1.3)
    changed = replace(
        past,
        arrived_tokens=Series(0.0, STEP, other),
        arrived_tokens_squared=Series(0.0, STEP, tuple(v * v / RATE for v in other)),
    )
    assert ratios_of(past, PROFILE).decode == pytest.approx(1.3)
    assert ratios_of(changed, PROFILE).decode is None


@pytest.mark.parametrize("off", [8.0, 1 / 8])
def test_a_profile_of_another_engine_is_believed_up_to_the_bound_and_said(off: float) -> None:
    found = learned(seen(prefill=off))
    assert found.prefill == pytest.approx(MOST if off > 1 else 1 / MOST)
    assert found.at_bound == (Role.PREFILL,)
    assert str(found) == f"engines take {found.prefill:.2f}x the profile's prefills"


@given(st.lists(st.tuples(RATIOS, st.floats(0, 100)), max_size=60))
def test_no_observations_drive_a_factor_beyond_the_bound(observed: list[tuple[float, float]]) -> None:
    factor = Learned()
    for ratio, rounds in observed:
        factor.observe(ratio, step=STEP, rounds=rounds)
        assert abs(factor.log_factor) <= BOUND
        assert abs(factor.applied) <= BOUND


@given(st.lists(st.floats(0.5, 2.0), max_size=60), RATIOS)
def test_an_outlier_moves_a_factor_by_a_quarter_of_its_clamp_at_most(
    before: list[float], outlier: float
) -> None:
    factor = Learned()
    for ratio in before:
        factor.observe(ratio, step=STEP, rounds=100.0)
    known = factor.log_factor
    factor.observe(outlier, step=STEP, rounds=100.0)
    assert abs(factor.log_factor - known) <= OUTLIER / max(4, min(12, len(before) + 4)) + 1e-12


@pytest.mark.parametrize("nothing", [math.nan, math.inf, 0.0, -1.0])
def test_what_is_no_ratio_teaches_nothing(nothing: float) -> None:
    factor = Learned()
    factor.observe(nothing, step=STEP, rounds=100.0)
    factor.observe(1.3, step=STEP, rounds=0.0)
    assert factor == Learned()


@given(st.floats(0.5, 2.0), st.floats(1e-3, 20.0))
def test_factors_do_not_depend_on_the_unit_of_time(off: float, unit: float) -> None:
    """Engines and profile in other units: the same ratios."""
    past = seen(prefill=off, decode=off, samples=20)
    paces = {
        name: Series(0.0, STEP, tuple(v * unit for v in getattr(past, name).values))
        for name in ("inter_token_latency", "prefill_leg_seconds")
    }
    found = ratios_of(replace(past, **paces), Factors(unit, unit).applied_to(PROFILE))
    assert found.prefill == pytest.approx(off)
    assert found.decode == pytest.approx(off)


@given(st.floats(1.2, 1.8), st.lists(st.floats(-0.02, 0.02), min_size=80, max_size=80))
def test_noise_does_not_carry_a_factor_away(off: float, noise: list[float]) -> None:
    """Observations that are 2 % off at most: within those and the notch of the truth, once it is learned."""
    factor, applied = Learned(), []
    for error in noise:
        factor.observe(off * math.exp(error), step=STEP, rounds=100.0)
        applied.append(factor.applied)
    assert all(abs(found - math.log(off)) <= 0.02 + NOTCH + 0.02 for found in applied[40:])


@given(st.lists(st.floats(-0.07, 0.07), min_size=1, max_size=80))
def test_noise_within_the_dead_band_never_moves_a_right_profile(noise: list[float]) -> None:
    factor = Learned()
    for error in noise:
        factor.observe(math.exp(error), step=STEP, rounds=100.0)
        assert factor.applied == 0.0
