"""What a run leaves behind is named; what was there before, or is another run's, is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdscale_e2e.leftovers import MARK, LeftBehind, Watch, left, look, main

# Prints the file that is called after its first words, and succeeds without one.
PROGRAM = """#!/bin/sh
case "$1 $2" in
  "ps --all") cat {folder}/containers ;;
  "network ls") cat {folder}/networks ;;
  "volume ls") cat {folder}/volumes ;;
  "-4 -oneline") cat {folder}/routes ;;
esac
"""


class Machine:
    """A container engine and a routing table in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("docker", "ip"):
            (folder / name).write_text(PROGRAM.format(folder=folder))
            (folder / name).chmod(0o755)
        self.has(containers=["other"], networks=["bridge"], volumes=["kept"], routes=["default via 10.0.0.1"])

    def has(self, **things: list[str]) -> None:
        for name, lines in things.items():
            (self._folder / name).write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(MARK, "")  # put back after the test, whatever it sets
    monkeypatch.delenv("KIND_EXPERIMENTAL_PROVIDER", raising=False)
    return Machine(tmp_path)


def test_a_run_that_takes_everything_with_it_leaves_nothing(machine: Machine) -> None:
    Watch.begin("docker", "pdscale").end(within=0)


@pytest.mark.parametrize(
    ("things", "said"),
    [
        pytest.param({"containers": ["other", "pdscale-worker"]}, "container pdscale-worker", id="container"),
        pytest.param({"networks": ["bridge", "kind"]}, "network kind", id="network"),
        pytest.param({"volumes": ["kept", "0a1b"]}, "volume 0a1b", id="volume"),
        pytest.param(
            {"routes": ["default via 10.0.0.1", "10.244.1.0/24 via 10.89.0.3 dev podman1"]},
            "route 10.244.1.0/24 via 10.89.0.3 dev podman1",
            id="route",
        ),
    ],
)
def test_what_is_left_is_named(machine: Machine, things: dict[str, list[str]], said: str) -> None:
    watch = Watch.begin("docker", "pdscale")
    machine.has(**things)
    with pytest.raises(LeftBehind, match=f"^the run has left behind: {said}$"):
        watch.end(within=0)


def test_containers_of_others_may_come_and_everything_may_go(machine: Machine) -> None:
    watch = Watch.begin("docker", "pdscale")
    machine.has(containers=["another"], networks=[], volumes=[], routes=[])
    watch.end(within=0)


def test_a_route_to_an_empty_bridge_is_the_route_it_was(machine: Machine) -> None:
    machine.has(routes=["172.18.0.0/16 dev br-1 src 172.18.0.1 linkdown"])
    before = look("docker", prefix="pdscale")
    machine.has(routes=["172.18.0.0/16 dev br-1 src 172.18.0.1"])
    assert left(before, look("docker", prefix="pdscale")) == []


def test_a_process_of_the_run_is_found_whoever_its_parent_is_and_another_runs_is_not(
    machine: Machine,
) -> None:
    others = subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: "another"})
    watch = Watch.begin("docker", "pdscale")
    # The shell ends at once: its child is an orphan.
    started = subprocess.run(
        ["sh", "-c", "sleep 61 > /dev/null 2>&1 & echo $!"], capture_output=True, check=True
    )
    pid = int(started.stdout)
    try:
        with pytest.raises(LeftBehind, match=f"left behind: process {pid} sleep 61$"):
            watch.end(within=0)
    finally:
        os.kill(pid, 9)
        others.kill()
        others.wait()
    watch.end(within=10)


def test_the_command_compares_two_moments(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "before.json"
    main(["--before", str(file)])
    main(["--after", str(file)])
    machine.has(volumes=["kept", "more"])
    command = [sys.executable, "-m", "pdscale_e2e.leftovers", "--after", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "left behind: volume more\n")
