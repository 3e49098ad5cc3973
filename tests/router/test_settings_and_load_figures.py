"""The command line is judged once; load figures survive their way between routers."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.engines.dialects import EngineType
from pdscale.model.cluster import Load
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import profile_document
from pdscale.router.arguments import parse_settings
from pdscale.router.fleet.loads import format_load, parse_load_header
from pdscale.router.policies import PolicyName

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
STATIC = ["--static-endpoints", "decode=d=10.0.0.1"]
SIDECAR = ["--place", "sidecar", "--deployment", "chat", "--engine-url", "http://10.0.0.2:8000"]


def test_a_sidecar_in_a_cluster_takes_the_rest_from_its_pod() -> None:
    environment = {**IN_CLUSTER, "POD_IP": "10.0.0.2", "POD_NAME": "d-0", "POD_NAMESPACE": "ns"}
    settings = parse_settings([*SIDECAR, "--profile", "llama-3.1-8b-h100"], environment)
    assert (settings.host, settings.pod_name, settings.namespace) == ("10.0.0.2", "d-0", "ns")
    assert settings.placement is PolicyName.COST_BASED
    assert settings.api is not None
    assert settings.api.url == "https://10.0.0.1:443"
    assert settings.slo.tpot == 0.075


def test_static_endpoints_stand_in_for_a_cluster() -> None:
    settings = parse_settings(["--place", "front", "--static-endpoints", "decode=d=10.0.0.1"], {})
    assert settings.api is None
    assert settings.static[0].endpoint.name == "d"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(["--place", "front"], "KUBERNETES_SERVICE_HOST is not set", id="no cluster"),
        pytest.param(
            ["--place", "sidecar", "--static-endpoints", "decode=d=10.0.0.1"],
            "engineUrl must be an http URL",
            id="no engine",
        ),
        pytest.param(
            [*SIDECAR, "--pod-name", "d", "--static-endpoints", "decode=d=10.0.0.1"],
            "placement CostBased needs a profile",
            id="no profile",
        ),
        pytest.param([*SIDECAR, "--profile", "nope"], "profile must be one of", id="profile"),
        pytest.param(
            [*SIDECAR, "--engine-type", "SGLang", "--bootstrap-port", "0", *STATIC],
            "bootstrapPort must be in 1..65535, got 0",
            id="bootstrap port",
        ),
        pytest.param([*SIDECAR, "--ttft", "2x"], "duration must look like", id="duration"),
    ],
)
def test_senseless_settings_end_with_a_message(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_settings(argv, {})
    assert message in capsys.readouterr().err


def test_engine_types_are_those_of_the_custom_resource() -> None:
    assert set(EngineType) == {"vLLM", "SGLang", "Emulated"}


def test_the_wire_form_of_a_load() -> None:
    text = format_load(Load(running=3, queued_tokens=812, kv_usage=0.12))
    assert text == "running=3;waiting=0;queued_tokens=812;resident_tokens=0;kv=0.12"


amounts = st.floats(0, 1e6, allow_nan=False)


@given(
    st.builds(
        Load,
        running=st.integers(0, 1000),
        waiting=st.integers(0, 1000),
        queued_tokens=amounts,
        kv_usage=st.floats(0, 1),
        ttft=st.none() | st.floats(0, 100),
        itl=st.none() | st.floats(0, 100),
    )
)
def test_a_load_survives_the_header(load: Load) -> None:
    read = parse_load_header(format_load(load), now=7.0)
    assert read is not None
    assert (read.running, read.waiting, read.seen_at) == (load.running, load.waiting, 7.0)
    assert math.isclose(read.queued_tokens, load.queued_tokens, rel_tol=1e-4, abs_tol=1)
    assert math.isclose(read.kv_usage, load.kv_usage, abs_tol=1e-4)
    assert (read.ttft is None, read.itl is None) == (load.ttft is None, load.itl is None)


@pytest.mark.parametrize("text", ["", "running=1", "running=x;waiting=0;kv=0", "running=nan;waiting=0;kv=0"])
def test_a_load_that_cannot_be_read_is_no_load(text: str) -> None:
    assert parse_load_header(text, now=0) is None


def test_a_profile_file_is_read_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "profile.json"
    argv = [*SIDECAR, "--pod-name", "d", "--profile-file", str(file)]
    file.write_text(json.dumps(profile_document(BUILTIN["llama-3.1-8b-h100"])))
    assert parse_settings(argv, IN_CLUSTER).profile == BUILTIN["llama-3.1-8b-h100"]
    file.write_text(json.dumps({"name": "broken"}))
    with pytest.raises(SystemExit):
        parse_settings(argv, IN_CLUSTER)
    assert "profile" in capsys.readouterr().err
