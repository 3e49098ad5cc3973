"""What is said to be in an image: its wheels and its base, and nothing that belongs to another process."""

import json
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from fakes.needs import needed
from pdscale_e2e import sbom
from pdscale_e2e.sbom import Base, of_modules, of_wheels
from pdscale_e2e.wheels import requirements

DEBIAN = Base("python:3.11-slim", "3.11.9", "debian", (("libc6", "2.36-9+deb12u9", "amd64"),))


def wheel(folder: Path, name: str, version: str, *fields: str) -> None:
    folder.mkdir(exist_ok=True)
    said = [f"Name: {name}", f"Version: {version}", *fields]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(
            f"{name}-{version}.dist-info/METADATA", "\n".join(["Metadata-Version: 2.4", *said, "", "text"])
        )
        file.writestr(f"{name}/vendored-1.dist-info/METADATA", "Name: hidden\nVersion: 1\n")


def names(bom: dict[str, Any]) -> set[str]:
    return {c["name"] for c in bom["components"]}


def test_a_wheel_is_named_with_its_version_licence_and_sum(tmp_path: Path) -> None:
    wheel(tmp_path, "prometheus_client", "0.26.0", "License-Expression: Apache-2.0 AND BSD-2-Clause")
    (found, *_) = of_wheels("x/router:1", [tmp_path], DEBIAN)["components"]
    assert found["purl"] == "pkg:pypi/prometheus-client@0.26.0"
    assert found["licenses"] == [{"license": {"name": "Apache-2.0 AND BSD-2-Clause"}}]
    assert len(found["hashes"][0]["content"]) == 64


def test_needs_are_told_between_what_is_there_and_extras_are_no_needs(tmp_path: Path) -> None:
    wheel(
        tmp_path,
        "aiohttp",
        "3.14.5",
        "Requires-Dist: yarl<2,>=1.17",
        'Requires-Dist: aiodns; extra == "speedups"',
    )
    wheel(tmp_path, "yarl", "1.25.1", "Requires-Dist: tomli; python_version < '3.11'")
    bom = of_wheels("x/router:1", [tmp_path], DEBIAN)
    needs = {d["ref"]: d["dependsOn"] for d in bom["dependencies"]}
    assert needs["pkg:pypi/aiohttp@3.14.5"] == ["pkg:pypi/yarl@1.25.1"]
    assert needs["pkg:pypi/yarl@1.25.1"] == []
    assert set(needs) == {"x/router:1", *(c["bom-ref"] for c in bom["components"])}


def test_the_base_images_packages_are_in_it_and_their_lack_is_said(tmp_path: Path) -> None:
    bom = of_wheels("x/router:1", [tmp_path], DEBIAN)
    assert "pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=amd64" in {c["purl"] for c in bom["components"]}
    assert bom["compositions"][0]["aggregate"] == "complete"
    unknown = of_wheels("x/router:1", [tmp_path], Base("other", "3.11.9", "linux", ()))
    assert unknown["compositions"][0]["aggregate"] == "incomplete"


def test_the_same_parts_give_the_same_file_and_others_another(tmp_path: Path) -> None:
    wheel(tmp_path, "yarl", "1.25.1")
    first, second = (of_wheels("x/router:1", [tmp_path], DEBIAN) for _ in range(2))
    assert sbom.text(first) == sbom.text(second)
    wheel(tmp_path, "idna", "3.20")
    assert of_wheels("x/router:1", [tmp_path], DEBIAN)["serialNumber"] != first["serialNumber"]


def test_the_probe_tells_of_the_python_that_runs_it(capsys: pytest.CaptureFixture[str]) -> None:
    exec(sbom.PROBE, {})
    base = Base.parse("here", capsys.readouterr().out)
    assert base.python.startswith("3.")
    assert all(name and version for name, version, _ in base.packages)


def test_a_go_program_is_made_of_its_modules() -> None:
    text = (
        "module x\n\ngo 1.26.0\n\nrequire (\n\ta.example/b v1.2.3 // indirect\n\tc.example/d/v2 v2.0.0\n)\n"
    )
    bom = of_modules("x/prometheus:1", text)
    assert {c["purl"] for c in bom["components"]} == {
        "pkg:golang/a.example/b@v1.2.3",
        "pkg:golang/c.example/d/v2@v2.0.0",
    }


def test_the_routers_bill_has_what_the_router_needs_and_nothing_of_the_operators(tmp_path: Path) -> None:
    """The wheels that pip would gather for it, from what is installed here."""
    folder, all_of_it = tmp_path / "router", set(needed(requirements("router")))
    for name in all_of_it:
        wheel(folder, name, distribution(name).version)
    bill = json.loads(sbom.text(of_wheels("x/router:1", [folder], DEBIAN)))
    assert names(bill) == all_of_it | {"python", "libc6"}
    assert {"aiohttp", "orjson", "uvloop", "prometheus-client"} <= all_of_it
    assert all_of_it.isdisjoint(
        {"kopf", "kubernetes", "pydantic", "numpy", "scikit-learn", "pyyaml", "requests"}
    )
