"""The yardstick for forecasts: where series come from, what last value is, and that nothing peeks."""

import gzip
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.forecast import joint, peers, report
from benchmarks.forecast.bounds import Hindsight
from benchmarks.forecast.cases import Case, cases
from benchmarks.forecast.scores import BARE, LAST, Judged, Score, by_ratios, judged

from pdscale_forecaster import AUTO, Series


def _case(values: list[float], *, lead: float = 60.0) -> Case:
    return Case("noise:requests", Series(0.0, 60.0, tuple(values)), lead)


def _noise(samples: int) -> list[float]:
    return [float(v) for v in np.random.default_rng(1).poisson(50.0, samples)]


def _days(samples: int) -> Case:
    return Case("noise:requests", Series(0.0, 1800.0, tuple(_noise(samples))), 1800.0)


def _written(folder: Path, name: str, lines: list[str]) -> None:
    with gzip.open(folder / name, "wt") as out:
        out.write("\n".join(lines) + "\n")


def test_rates_become_requests_and_tokens_per_second_with_gaps_unknown(tmp_path: Path) -> None:
    head = "timestamp_s,window_s,requests_per_s,mean_input_tokens,mean_output_tokens,gap"
    rows = ["0,600,10,100,5,0", "600,600,0,,,1", "1200,600,20,50,2,0"]
    _written(tmp_path, "rates_x.csv.gz", [head, *rows])
    found = {case.name: case for case in cases(tmp_path, [60.0, 300.0, 600.0])}
    assert set(found) == {"rates_x:requests", "rates_x:input", "rates_x:output"}
    assert all(case.lead == 600.0 and case.steps == 1 for case in found.values())
    values = found["rates_x:input"].series.values
    assert values[0] == values[2] == 1000.0
    assert math.isnan(values[1])


def test_requests_of_an_hour_are_binned_to_quarter_minutes(tmp_path: Path) -> None:
    head = (
        "timestamp_s,session_id,round_index,input_tokens,cached_tokens,new_tokens,output_tokens,"
        "think_s,tool_wait_s,kind"
    )
    rows = [f"{at},,,30,,,15,,," for at in (0, 1, 16, 3000)]
    _written(tmp_path, "requests_x.csv.gz", [head, *rows])
    found = {case.name: case for case in cases(tmp_path, [60.0]) if case.lead == 60.0}
    requests = found["requests_x:requests"]
    assert requests.series.step == 15.0
    assert requests.steps == 4
    assert requests.series.values[:2] == (2 / 15, 1 / 15)
    assert found["requests_x:input"].series.values[0] == 4.0


def test_last_value_is_scaled_by_ratios_that_had_come_to_light() -> None:
    # Doubling every ten samples: ratios are 1, and 2 at each jump.
    values = [float(2 ** (i // 10)) for i in range(100)]
    found = by_ratios(dict(enumerate(values)), _case(values), [50, 55])
    assert found == {50: values[50] * 2.0, 55: values[55] * 2.0}
    # From here on the future is other: nothing of it may have been used.
    changed = [*values[:51], *[7e9] * 49]
    assert by_ratios(dict(enumerate(changed)), _case(changed), [50]) == {50: values[50] * 2.0}


def test_every_model_and_yardstick_is_scored_on_the_same_origins() -> None:
    result = judged(_case(_noise(200)), every=4)
    assert result.origins == 25
    assert {LAST, BARE, AUTO, "LastValue", "Level"} <= result.scores.keys()
    assert sum(result.chosen.values()) == 25
    assert result.ratio(LAST) == 1.0
    assert result.ratio(AUTO) < result.ratio(BARE)


def test_tuning_never_sees_the_second_half() -> None:
    case = _case(_noise(200))
    assert case.first_half().series.values == case.series.values[:100]
    assert max(case.first_half().origins()) < 99


def _result(name: str, *, pinball: float, coverage: float, two_days: bool = True) -> Judged:
    scores = {LAST: Score(0.1, 0.9, 0.2), AUTO: Score(pinball, coverage, 0.2)}
    return Judged(name, 600.0, two_days, 500, scores, {"Level": 500})


def test_goals_are_missed_where_they_are_missed() -> None:
    rows = report.rows(
        [
            _result("rates_servegen_mlarge_week1:requests", pinball=0.08, coverage=0.9),
            _result("rates_servegen_mmid_week1:requests", pinball=0.08, coverage=0.95),
            _result("short:requests", pinball=0.11, coverage=0.5, two_days=False),
        ]
    )
    verdicts = [(row.metric, row.config.split(",")[0], row.ok) for row in rows]
    assert verdicts == [
        ("pinball(0.9) below last value", "rates_servegen_mlarge_week1:requests", False),
        ("pinball(0.9) below last value", "rates_servegen_mmid_week1:requests", True),
        ("pinball(0.9) over last value's", "the worst of 3: short:requests", False),
        ("coverage of the 0.9-quantile", "rates_servegen_mlarge_week1:requests", True),
        ("coverage of the 0.9-quantile", "rates_servegen_mlarge_week1:requests", True),
        ("coverage of the 0.9-quantile", "rates_servegen_mmid_week1:requests", True),
        ("coverage of the 0.9-quantile", "rates_servegen_mmid_week1:requests", False),
    ]


def test_losing_rows_and_series_without_an_answer_stay_in_the_table() -> None:
    silent = Judged("hour:requests", 600.0, False, 0, {})
    wild = replace(_result("day:requests", pinball=0.1, coverage=0.9), off={"Ridge": 7})
    table = report.table([_result("week:requests", pinball=0.12, coverage=0.9), silent, wild])
    assert "day:requests, 600 s ahead: Ridge at 7" in table
    assert "| week:requests | 600 | 500 | 10.00 |" in table
    assert "1.200" in table
    assert "| hour:requests | 600 | 0 |" in table


_FAKE = """#!/usr/bin/env python3
import json, sys, time
for name, given in json.load(sys.stdin).items():
    for peer, every in (("Naive", 1), ("Slow", 4), ("Rare", 40)):
        for steps, origins in given["origins"].items():
            at = origins[::every]
            said = {"peer": peer, "series": name, "steps": int(steps), "origins": at}
            said |= {"points": [given["values"][i] for i in at], "quantiles": None, "seconds": 1.0}
            print(json.dumps(said), flush=True)
"""


def _fake(folder: Path, ending: str = "") -> Path:
    """A stand-in for an interpreter: it answers with the last value, as points."""
    fake = folder / "python"
    fake.write_text(_FAKE + ending)
    fake.chmod(0o755)
    return fake


def test_peers_answer_in_an_interpreter_of_their_own(tmp_path: Path) -> None:
    one, later = peers.compared(_fake(tmp_path), [_days(400), replace(_days(400), lead=5400.0)])
    naive, slow = one.peers["Naive"], one.peers["Slow"]
    assert naive.score.wape == one.ours.scores[LAST].wape
    assert naive.ours.pinball == one.ours.scores[AUTO].pinball
    assert naive.last.pinball == one.ours.scores[LAST].pinball
    assert (naive.origins, slow.origins) == (one.ours.origins, 50)
    assert "Rare" not in one.peers, "five origins tell nothing"
    assert later.ours.lead == 5400.0
    assert later.peers["Naive"].score.wape == later.ours.scores[LAST].wape
    row = report.peer_rows([one])[0]
    assert row.value == max(naive.gain, slow.gain)
    assert f"at 50, ours {slow.ours.pinball / slow.last.pinball:.3f}" in report.peer_table([one])


def test_what_peers_said_before_patience_ended_counts(tmp_path: Path) -> None:
    fake = _fake(tmp_path, "print('{', end='', flush=True)\ntime.sleep(600)\n")
    (one,) = peers.compared(fake, [_days(400)], patience=3.0)
    assert {"Naive", "Slow"} == one.peers.keys()


def test_a_gain_on_few_uneven_origins_is_not_told_from_none() -> None:
    rng = np.random.default_rng(3)
    ours = rng.exponential(1.0, 400)
    low, high = peers.between(0.5 * ours, ours, 1)
    assert low == pytest.approx(50.0)
    assert high == pytest.approx(50.0)
    uneven = np.where(np.arange(40) == 7, 0.0, 1.0)  # saved at one origin of forty
    low, high = peers.between(uneven, np.ones(40), 1)
    assert low == 0.0
    assert high > 2.5
    # Neighbours that share their future are drawn together: less is known.
    waves = 1.0 + np.sin(np.arange(400) / 20)
    narrow, wide = (np.ptp(peers.between(waves, np.ones(400), alike)) for alike in (1, 60))
    assert wide > narrow


def test_minutes_are_thinned_for_peers_as_for_us() -> None:
    minutes = _case(_noise(203))
    asked = peers._from_a_quarter(minutes, minutes.thinned(4))
    assert [i for i in asked if i >= minutes.half] == list(minutes.origins(4))
    assert _days(400).thinned(4) == 1


def test_peers_know_no_gaps_and_get_the_last_value() -> None:
    assert peers._filled([math.nan, 1.0, math.nan, 3.0]) == [1.0, 1.0, 1.0, 3.0]


def test_a_peer_that_fails_is_named_with_its_interpreter(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 1"):
        list(peers.compared(Path("/bin/false"), [_days(400)]))


def test_work_is_compared_with_rate_times_the_latest_lengths_on_the_same_origins() -> None:
    requests = replace(_case(_noise(200)), name="x:requests")
    tokens = replace(_case([100.0 * v for v in _noise(200)]), name="x:output")
    results = [judged(requests, every=4), judged(tokens, every=4)]
    (one,) = joint.joint([requests, tokens], results)
    assert one.name == "x:output"
    # All requests are of a hundred tokens: both say the same.
    assert one.ratio == pytest.approx(1.0)
    assert one.work.coverage == results[0].scores[AUTO].coverage
    (mean, _, held, _) = joint.rows([one])
    assert mean.value == pytest.approx(1.0)
    assert held.value == one.work.coverage


def test_a_forecast_rate_is_worth_less_than_forecast_work_where_lengths_and_rates_offset() -> None:
    noise = _noise(200)
    requests = replace(_case(noise), name="x:requests")
    tokens = replace(_case([1000.0 + v / 1000 for v in noise]), name="x:input")
    (one,) = joint.joint([requests, tokens], [judged(case, every=4) for case in (requests, tokens)])
    assert one.ratio < 0.1


def test_hindsight_on_the_judged_half_gains_what_is_there_and_no_more() -> None:
    rng = np.random.default_rng(2)
    walk = 1000.0 * np.exp(np.cumsum(rng.normal(0, 0.03, 420)))
    case = Case("walk:requests", Series(0.0, 600.0, tuple(walk.tolist())), 600.0)
    found = {row.metric.removeprefix("in hindsight: "): row.value for row in Hindsight(case).rows()}
    # A random walk of one size: nothing to be had but what fitting to the judged half itself pretends.
    assert -2.0 < found["one ratio"] < 3.0
    assert -20.0 < found["trees, fitted around it"] < found["lines, fitted on it"] < 20.0
    # sqrt(1000 / 600) of 1000 against 3 % changes: 1.29 / 30 of it remains.
    assert found["only counts scatter"] > 90.0


def test_an_alternating_load_is_foreseen_in_hindsight() -> None:
    values = [100.0 + 50.0 * (i % 2) + v for i, v in enumerate(_noise(420))]
    case = Case("beat:requests", Series(0.0, 600.0, tuple(values)), 600.0)
    found = {row.metric.removeprefix("in hindsight: "): row.value for row in Hindsight(case).rows()}
    assert found["lines, fitted on it"] > 50.0
    assert found["trees, fitted around it"] > 50.0
    assert found["one ratio"] < 20.0
