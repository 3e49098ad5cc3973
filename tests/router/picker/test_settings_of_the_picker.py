"""The switch: whose it is, what it needs, and that nothing of it is there unless it is asked for."""

import subprocess
import sys
from importlib.machinery import PathFinder

import pytest

from fakes.bad_specs import GOOD, merged
from pdscale.api.translate import read
from pdscale.kube.manifests import render
from pdscale.kube.manifests_parts import PICKER_PORT
from pdscale.kube.manifests_pod import Defaults
from pdscale.perf.builtin import BUILTIN
from pdscale.router.arguments import parse_settings

FRONT = ["--place", "front", "--static-endpoints", "decode=d-0=127.0.0.1"]
SIDECAR = ["--place", "sidecar", "--engine-url", "http://e", "--pod-name", "d", *FRONT[2:]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            [*SIDECAR, "--placement", "AlwaysLocal"], "endpointPickerPort is a front's", id="sidecar"
        ),
        pytest.param([*FRONT, "--processes", "2"], "1 or more where processes share it, got 0", id="shared"),
    ],
)
def test_a_switch_that_makes_no_sense_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_settings([*arguments, "--endpoint-picker-port", "0"], {})
    assert message in capsys.readouterr().err


def test_without_the_extra_the_switch_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pdscale.router.picker.extra.find_spec", _nothing_of_grpc)
    with pytest.raises(SystemExit):
        parse_settings([*FRONT, "--endpoint-picker-port", "9002"], {})
    *_, last = capsys.readouterr().err.splitlines()
    assert "needs the extra endpoint-picker: pip install 'pdscale[router,endpoint-picker]'" in last
    assert parse_settings(FRONT, {}).endpoint_picker_port is None


def _nothing_of_grpc(module: str) -> object:
    if module.startswith("grpc"):
        raise ModuleNotFoundError(module)
    return PathFinder.find_spec(module)


def test_a_router_without_the_switch_imports_nothing_of_it() -> None:
    code = "import sys, pdscale.router.__main__; print(*(n for n in ('grpc', 'envoy') if n in sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == []


def test_a_front_understands_what_the_operator_tells_it() -> None:
    body = merged(GOOD, {"metadata": {"uid": "u"}, "spec": {"router": {"endpointPicker": True}}})
    found = render(read(body), profile=BUILTIN["llama-2-70b-a100-tp8-2023"], defaults=Defaults("router:test"))
    (front,) = (m for m in found if m["kind"] == "Deployment" and m["metadata"]["name"] == "chat-router")
    (container,) = front["spec"]["template"]["spec"]["containers"]
    cluster = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert parse_settings(container["args"], cluster).endpoint_picker_port == PICKER_PORT
