"""Environment variables become settings, records become lines, silence becomes ill health."""

import json
import logging
import subprocess
import sys

import pytest

from pdscale.controller import conditions
from pdscale.controller.pulse import Pulse
from pdscale.model.pools import Targets
from pdscale.settings import InvalidSettings, LogFormat, Settings, from_environment
from pdscale.telemetry import JsonLines, Metrics


def test_nothing_set_gives_the_defaults() -> None:
    assert from_environment({"PATH": "/bin"}) == Settings()


def test_every_variable_arrives_typed() -> None:
    found = from_environment(
        {
            "PDSCALE_ROUTER_IMAGE": "router:2",
            "PDSCALE_ROUTER_CLUSTER_ROLE": "role",
            "PDSCALE_NAMESPACES": " b, a,,b",
            "PDSCALE_ADMIN_HOST": "10.0.0.1",
            "PDSCALE_ADMIN_PORT": "8081",
            "PDSCALE_LOG_LEVEL": "DEBUG",
            "PDSCALE_LOG_FORMAT": "json",
            "PDSCALE_KUBECONFIG": "/k",
            "PDSCALE_SCRAPE_INTERVAL": "1m30s",
            "PDSCALE_LEASE": "system/operator",
            "PDSCALE_PROMETHEUS_URL": "http://prometheus:9090",
            "PDSCALE_WEBHOOK_CERTIFICATES": "/certificates",
            "PDSCALE_WEBHOOK_PORT": "8443",
        }
    )
    assert found == Settings(
        router_image="router:2",
        router_cluster_role="role",
        namespaces=("a", "b"),
        admin_host="10.0.0.1",
        admin_port=8081,
        log_level="debug",
        log_format=LogFormat.JSON,
        kubeconfig="/k",
        scrape_interval=90.0,
        lease="system/operator",
        prometheus_url="http://prometheus:9090",
        webhook_certificates="/certificates",
        webhook_port=8443,
    )


def test_an_empty_variable_counts_as_absent() -> None:
    assert from_environment({"PDSCALE_NAMESPACES": "", "PDSCALE_KUBECONFIG": ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("ADMIN_PORT", "tcp://10.0.0.1:80", "PDSCALE_ADMIN_PORT must be a whole number, got 'tcp:"),
        ("ADMIN_PORT", "70000", r"PDSCALE_ADMIN_PORT must be in 0\.\.65535, got 70000"),
        ("WEBHOOK_PORT", "https", "PDSCALE_WEBHOOK_PORT must be a whole number, got 'https'"),
        ("LOG_LEVEL", "loud", "PDSCALE_LOG_LEVEL must be one of debug, .*, got 'loud'"),
        (
            "PROMETHEUS_URL",
            "prometheus:9090",
            "PDSCALE_PROMETHEUS_URL must begin with http:// or https://, got 'p",
        ),
        ("LOG_FORMAT", "xml", "PDSCALE_LOG_FORMAT must be one of text, json, got 'xml'"),
        ("LEASE", "operator", "PDSCALE_LEASE must be NAMESPACE/NAME, got 'operator'"),
        ("SCRAPE_INTERVAL", "15", "PDSCALE_SCRAPE_INTERVAL: duration must look like .*, got '15'"),
        ("SCRAPE_INTERVAL", "0s", r"PDSCALE_SCRAPE_INTERVAL must be above 0s, got 0\.0s"),
    ],
)
def test_a_wrong_value_is_named_with_its_bound(name: str, value: str, complaint: str) -> None:
    with pytest.raises(InvalidSettings, match=complaint):
        from_environment({f"PDSCALE_{name}": value})


def test_a_json_line_carries_the_message_and_the_traceback() -> None:
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "%s failed", ("it",), sys.exc_info())
    line = json.loads(JsonLines().format(record))
    assert (line["level"], line["logger"], line["message"]) == ("error", "x", "it failed")
    assert "RuntimeError: a bug" in line["exception"]


def test_without_a_forecast_there_is_no_sample() -> None:
    metrics = Metrics()
    labels = {"namespace": "n", "name": "o"}
    metrics.forecast("n", "o", 3.5)
    metrics.replicas("n", "o", current=Targets(1, 2), desired=Targets(3, 4), ready=Targets(0, 1))
    metrics.conditions("n", "o", {"Ready": False})
    value = metrics.registry.get_sample_value
    assert value("pdscale_operator_forecast_request_rate", labels) == 3.5
    assert value("pdscale_operator_desired_replicas", {**labels, "role": "decode"}) == 4
    metrics.forecast("n", "o", None)
    metrics.forget("n", "o")
    metrics.forget("n", "never seen")
    assert value("pdscale_operator_forecast_request_rate", labels) is None
    assert value("pdscale_operator_current_replicas", {**labels, "role": "prefill"}) is None
    assert value("pdscale_operator_ready_replicas", {**labels, "role": "decode"}) is None
    assert value("pdscale_operator_condition", {**labels, "type": "Ready"}) is None


def test_an_unknown_figure_or_condition_has_no_sample() -> None:
    metrics = Metrics()
    labels = {"namespace": "n", "name": "o"}
    value = metrics.registry.get_sample_value
    metrics.figures("n", "o", {"forecast_coverage": 0.9, "gpus_held": 0})
    metrics.conditions("n", "o", {"SLOAttainable": True, "Paused": False, "ForecastReady": None})
    assert value("pdscale_operator_forecast_coverage", labels) == 0.9
    assert value("pdscale_operator_gpus_held", labels) == 0
    found = [value("pdscale_operator_condition", {**labels, "type": kind}) for kind in conditions.ALL]
    assert [v for v in found if v is not None] == [1, 0]
    metrics.figures("n", "o", {"forecast_coverage": None})
    metrics.conditions("n", "o", {"SLOAttainable": None})
    assert value("pdscale_operator_forecast_coverage", labels) is None
    assert value("pdscale_operator_condition", {**labels, "type": "SLOAttainable"}) is None
    metrics.forget("n", "o")
    assert value("pdscale_operator_gpus_held", labels) is None


def test_an_object_that_is_looked_at_no_more_is_reported_as_late() -> None:
    now = 0.0
    pulse = Pulse(lambda: now)
    pulse.beat("ns/slow", next_in=60.0)
    pulse.beat("ns/chat", next_in=15.0)
    now = 75.0
    assert pulse.late() == ()
    now = 76.0
    assert pulse.late() == ("ns/chat: last tick 76s ago, limit 75s",)
    pulse.allow("ns/chat", 60.0)
    now = 135.0
    assert pulse.late() == ()
    now = 136.0
    assert pulse.late() == ("ns/chat: last tick 136s ago, limit 135s",)
    pulse.forget("ns/chat")
    assert pulse.late() == ()


def test_the_command_line_imports_only_what_it_runs() -> None:
    """The router's image has neither kopf nor pydantic."""
    heavy = "kopf kubernetes pydantic sklearn aiohttp"
    code = f"import sys, pdscale.cli; sys.exit(' '.join(set(sys.modules) & set('{heavy}'.split())) or 0)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_operator_loads_scikit_learn_for_no_history_of_the_default_length() -> None:
    """It is half of a small operator's memory, and a second of each start."""
    code = """
import sys
from pdscale.controller import wiring
from pdscale_forecaster import Forecast, Series
load = Series(0.0, 15.0, tuple(20.0 + n * n % 11 for n in range(120)))
said = wiring.Remembered()(load, horizon=60.0, quantile=0.9)
assert isinstance(said, Forecast), said
sys.exit(' '.join({'sklearn', 'scipy'} & set(sys.modules)) or 0)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
