"""The quick start against what it stands on: the kind provider, the suite's values, the bed's objects."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pdscale import __version__
from pdscale_e2e import manifests, monitoring, product
from pdscale_e2e.cluster.kind import CONTROL_PLANE_IMAGES, GPUS, NAME, WORKERS_IMAGES, KindCluster
from pdscale_e2e.leftovers import MARK
from pdscale_e2e.page import Block, Shell, blocks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quick-start-kind.md").read_text()
BLOCKS = list(blocks(PAGE))

# Writes down how it was called; a configuration is read from where the call says it is.
PROGRAM = """#!{python}
import json, pathlib, sys
words = sys.argv[1:]
if "--config" in words:
    at = words.index("--config") + 1
    words[at] = sys.stdin.read() if words[at] == "-" else pathlib.Path(words[at]).read_text()
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(words) + "\\n")
"""


class Programs:
    """A folder in front of the PATH, with programs that do nothing else."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        for name in names:
            text = PROGRAM.format(python=sys.executable, calls=str(folder / f"{name}.calls"))
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}", "CLUSTER": NAME}

    def calls(self, name: str) -> list[list[str]]:
        """Since the last time that they were asked for."""
        written = self.folder / f"{name}.calls"
        found = [json.loads(line) for line in written.read_text().splitlines()]
        written.unlink()
        return found


def typed(programs: Programs, *chosen: Block) -> None:
    with Shell(cwd=ROOT, environ=programs.environ) as shell:
        for block in chosen:
            shell.run(block, within=30)


def taken_apart(call: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The words of a kind command, files by their name alone; and its options, the configuration read."""
    words: list[str] = []
    options: dict[str, Any] = {}
    given = iter(call)
    for word in given:
        if word.startswith("--"):
            options[word] = yaml.safe_load(next(given)) if word == "--config" else next(given)
            if word == "--config":  # how soon a kubelet reports is a matter of the tests' patience
                options[word].pop("kubeadmConfigPatches", None)
        else:
            words.append(Path(word).name)
    return words, options


def test_the_provider_makes_fills_and_deletes_its_cluster_by_the_commands_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Programs(tmp_path, "kind", "docker", "ip")
    typed(programs, *(b for b in BLOCKS if b.run_by == "provider"))
    page = [taken_apart(call) for call in programs.calls("kind")]
    monkeypatch.setenv("PATH", programs.environ["PATH"])
    monkeypatch.setenv(MARK, "")  # put back after the test
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    cluster = KindCluster(programs.environ)
    cluster._create()
    cluster._load(tmp_path / "kind.tar", ["any"])
    cluster.stop()
    provider = [taken_apart(call) for call in programs.calls("kind")]
    assert len(page) == 3
    for words, options in page:
        assert any(words == w and options.items() <= o.items() for w, o in provider), (words, options)


def test_the_images_that_are_loaded_are_those_that_were_built(tmp_path: Path) -> None:
    programs = Programs(tmp_path, "kind", "make")
    typed(programs, *(b for b in BLOCKS if b.script.startswith(("make image", "kind load"))))
    variables = dict(word.split("=", 1) for word in programs.calls("make")[0][1:])
    [load] = programs.calls("kind")
    assert load[2] == variables["BUNDLE"]
    # All that the provider loads, but for what only the tests' own pods need.
    assert {*variables["IMAGES"].split(), "e2e"} == {*WORKERS_IMAGES, *CONTROL_PLANE_IMAGES}


def test_the_operator_gets_the_values_that_the_suite_gives_it(tmp_path: Path) -> None:
    class Images:
        def image(self, name: str) -> str:
            return f"localhost/pdscale/{name}:{__version__}"

    programs = Programs(tmp_path, "helm")
    typed(programs, *(b for b in BLOCKS if b.script.startswith("helm")))
    (call,) = programs.calls("helm")
    given = dict(word.split("=", 1) for word in call if "=" in word)
    wanted = product.values(Images())  # type: ignore[arg-type]
    assert given == {
        "prometheus.scrapeInterval": wanted["prometheus"]["scrapeInterval"],
        "prometheus.url": monitoring.address(),  # in place of the chart's own, which the suite has off
        "image.repository": wanted["image"]["repository"],
        "router.image.repository": wanted["router"]["image"]["repository"],
    }
    chart = yaml.safe_load((ROOT / "charts" / "pdscale" / "Chart.yaml").read_text())
    # A tag that is not given is the chart's own version.
    assert wanted["image"]["tag"] == wanted["router"]["image"]["tag"] == chart["appVersion"]


def test_gpus_are_where_the_page_labels_nodes_and_as_many_as_it_waits_for() -> None:
    [(label, value)] = manifests.SELECTOR.items()
    assert f"{label}={value}" in PAGE
    assert manifests.GPUS == GPUS
    assert rf"{{.status.allocatable.nvidia\.com/gpu}}={GPUS}" in PAGE


def test_the_test_beds_objects_are_printed_as_yaml() -> None:
    command = [sys.executable, "-m", "pdscale_e2e.manifests", "gpu-plugin", "prometheus"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = list(yaml.safe_load_all(printed))
    assert found == [manifest for part in manifests.PARTS.values() for manifest in part()]
    namespaces = [m["metadata"]["name"] for m in found if m["kind"] == "Namespace"]
    assert namespaces == ["gpu-plugin", "monitoring"]
    # kubectl puts what names no namespace into the reader's own.
    everywhere = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
    assert all(("namespace" in m["metadata"]) == (m["kind"] not in everywhere) for m in found)
