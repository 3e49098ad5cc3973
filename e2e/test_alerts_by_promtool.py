"""Every alert by Prometheus' own tool: it fires with the words below on the day that it is made for, waits
for as long as it says before that, and is silent on the nearest other day.

``test_rules_and_dashboards`` asks a running server whether expressions hold; here rules are evaluated one
after the other, as they will be: recorded series, ``for``, labels and the text of annotations.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from fakes.bad_days import DAYS, MORE_BAD, MORE_QUIET, PAST, STEP, Past, leaders
from pdscale.model.units import parse_duration
from pdscale_e2e.binaries import MissingTool, program
from pdscale_e2e.install import rendered

Json = dict[str, Any]
NAMESPACE: Final = "team"


@dataclass(frozen=True, slots=True)
class Told:
    """What a fired alert says: labels beside namespace and severity, and its summary."""

    summary: str
    labels: Mapping[str, str]


CHAT: Final = {"name": "chat"}
DECODE: Final = CHAT | {"role": "decode"}
EXPECTED: Final = {
    "PDScaleNobodyLeads": Told("No pdscale operator holds the Lease, or none is scraped", {}),
    "PDScaleTwoWriters": Told("2 operators of team believe that they may write", {"job": "p"}),
    "PDScaleTicksFail": Told("30% of the ticks of pdscale-1 fail", {"pod": "pdscale-1"}),
    "PDScaleScaleWritesRefused": Told("Somebody else owns the replicas of a decode pool", {"role": "decode"}),
    "PDScaleNotReady": Told("team/chat is not ready", CHAT),
    "PDScaleMetricsMissing": Told("team/chat is held at its size: no metrics", CHAT),
    "PDScaleSLOUnattainable": Told("team/chat cannot meet its SLO within its limits", CHAT),
    "PDScaleOverBudget": Told("team/chat holds 9 GPUs, more than its budget", CHAT),
    "PDScalePodsNotReady": Told("decode pods of team/chat do not become ready", DECODE),
    "PDScaleDrainStuck": Told("1 pods of team/chat have outlived their grace period", CHAT),
    "PDScaleForecastMisses": Told("Only 75% of the forecasts of team/chat held", CHAT),
    "PDScaleFlaps": Told("decode of team/chat was resized back 8 times in an hour", DECODE),
    "PDScaleSLOBurnsFast": Told("35% of the requests to team/chat miss their SLO", CHAT),
    "PDScaleSLOBurnsSlowly": Told("12% of the requests to team/chat miss their SLO", CHAT),
    "PDScaleHandOversFail": Told("10% of the rounds of team/chat lost their prefill leg", CHAT),
    "PDScaleRouterBlind": Told(
        "chat-router-1-2 has not heard from the API server for 6m 40s", {"pod": "chat-router-1-2"}
    ),
    "PDScaleKVLost": Told(
        "KV transfers of chat-prefill-7f9c-d0 fail or come too late", {"pod": "chat-prefill-7f9c-d0"}
    ),
}
MORE_EXPECTED: Final = {
    "weak-promise": Told("95% of the requests to team/chat miss their SLO", CHAT),
    "transfers-fail": Told(
        "KV transfers of chat-decode-7f9c-d0 fail or come too late", {"pod": "chat-decode-7f9c-d0"}
    ),
}
BAD: Final[Mapping[str, Past]] = {
    "PDScaleNobodyLeads": {},
    **{alert: bad for alert, (bad, _) in DAYS.items()},
}
QUIET: Final = {
    "PDScaleNobodyLeads": leaders(1),
    **{alert: quiet for alert, (_, quiet) in DAYS.items()},
}


def groups() -> list[Json]:
    """As the chart's PrometheusRule has them, links to runbooks included."""
    (found,) = (m for m in rendered({"prometheusRule": {"enabled": True}}) if m["kind"] == "PrometheusRule")
    told: list[Json] = found["spec"]["groups"]
    return told


ALERTS: Final = {r["alert"]: r for group in groups() for r in group["rules"] if "alert" in r}


@pytest.fixture(scope="module")
def promtool() -> Path:
    try:
        return program("promtool")
    except MissingTool as error:
        pytest.fail(str(error))


def run(promtool: Path, *words: str) -> tuple[bool, str]:
    done = subprocess.run([str(promtool), *words], capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def judged(
    promtool: Path, folder: Path, tests: list[Json], rules: list[Json] | None = None
) -> tuple[bool, str]:
    """Whether promtool finds these tests of these rules to come true, and what it says."""
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups() if rules is None else rules}))
    asked = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{STEP}s", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(asked))
    return run(promtool, "test", "rules", str(folder / "tests.yaml"))


def case(past: Past, alert: str, told: Told | None) -> Json:
    """A past, and what the alert says just before ``for`` is over (nothing) and at its end (``told``)."""
    rule = ALERTS[alert]
    early = parse_duration(rule["for"]) - STEP
    return {
        "interval": f"{STEP}s",
        "input_series": [
            {"series": _named(series), "values": " ".join(repr(value(t)) for t in range(0, PAST + 1, STEP))}
            for series, value in past.items()
        ],
        "alert_rule_test": [
            {"eval_time": f"{early:.0f}s", "alertname": alert, "exp_alerts": []},
            {"eval_time": f"{PAST}s", "alertname": alert, "exp_alerts": _fired(alert, told)},
        ],
    }


def _fired(alert: str, told: Told | None) -> list[Json]:
    if told is None:
        return []
    rule = ALERTS[alert]
    where = {} if alert == "PDScaleNobodyLeads" else {"namespace": NAMESPACE}
    return [
        {
            "exp_labels": {**where, **told.labels, **rule["labels"]},
            "exp_annotations": {**rule["annotations"], "summary": told.summary},
        }
    ]


def _named(series: str) -> str:
    name, _, labels = series.partition("{")
    return f'{name}{{namespace="{NAMESPACE}",{labels}'


def test_every_alert_is_tested_and_no_other() -> None:
    assert set(EXPECTED) == set(BAD) == set(QUIET) == set(ALERTS)
    assert set(MORE_EXPECTED) == set(MORE_BAD)


def test_the_rules_are_what_prometheus_takes(promtool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}))
    fine, said = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yaml"))
    assert fine, said
    assert f"{sum(len(group['rules']) for group in groups())} rules found" in said


@pytest.mark.parametrize("alert", sorted(BAD))
def test_an_alert_fires_on_its_day_and_says_what(promtool: Path, tmp_path: Path, alert: str) -> None:
    more = [case(past, of, MORE_EXPECTED[name]) for name, (of, past) in MORE_BAD.items() if of == alert]
    fine, said = judged(promtool, tmp_path, [case(BAD[alert], alert, EXPECTED[alert]), *more])
    assert fine, said


@pytest.mark.parametrize("alert", sorted(QUIET))
def test_an_alert_is_silent_on_the_nearest_other_day(promtool: Path, tmp_path: Path, alert: str) -> None:
    pasts = [QUIET[alert], *(past for of, past in MORE_QUIET.values() if of == alert)]
    fine, said = judged(promtool, tmp_path, [case(past, alert, None) for past in pasts])
    assert fine, said


@pytest.mark.parametrize("alert", sorted(BAD))
def test_the_check_itself_would_find_a_rule_that_never_fires(
    promtool: Path, tmp_path: Path, alert: str
) -> None:
    deaf = groups()
    for rule in (r for group in deaf for r in group["rules"] if r.get("alert") == alert):
        rule["expr"] = f"({rule['expr']}) and on() vector(1) > 2"
    fine, said = judged(promtool, tmp_path, [case(BAD[alert], alert, EXPECTED[alert])], deaf)
    assert not fine
    assert "got:[]" in said.replace("\n", "").replace(" ", "")
