"""What one process tells others of the cluster that it has made, or could not make."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pdscale_e2e import standing as around
from pdscale_e2e.cluster import ClusterUnavailable, open_cluster
from pdscale_e2e.cluster.standing import UNAVAILABLE, VARIABLE, Standing, named
from pdscale_e2e.waiting import eventually


def test_what_the_maker_wrote_is_what_others_read(tmp_path: Path) -> None:
    made = Standing(tmp_path / "kubeconfig", tmp_path / "logs", {"router": "localhost/pdscale/router:7"})
    made.write(tmp_path / "standing.json")
    assert named({VARIABLE: str(tmp_path / "standing.json")}) == made


def test_without_a_standing_cluster_there_is_none_to_join() -> None:
    assert named({}) is None


def test_why_there_is_no_cluster_reaches_those_who_would_have_joined_it() -> None:
    with pytest.raises(ClusterUnavailable, match="no engine answers"):
        open_cluster({"PDSCALE_E2E_CLUSTER": "kind", UNAVAILABLE: "no engine answers"})


def test_without_a_cluster_the_command_runs_and_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(environ: object) -> None:
        raise ClusterUnavailable("not here")

    monkeypatch.setattr(around, "open_cluster", none)
    told = tmp_path / "told"
    code = (
        "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ[sys.argv[2]]); sys.exit(3)"
    )
    assert around.main([sys.executable, "-c", code, str(told), UNAVAILABLE]) == 3
    assert told.read_text() == "not here"


def ignoring_interrupts() -> None:
    """As jobs in the background of a shell do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_who_is_told_to_terminate_interrupts_the_command_and_waits_for_its_end(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    command = (
        "import pathlib, sys, time\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "try: time.sleep(60)\n"
        "except KeyboardInterrupt: pathlib.Path(sys.argv[2]).touch()\n"
        "sys.exit(7)"
    )
    run = [sys.executable, "-c", command, str(begun), str(ended)]
    code = "import sys; from pdscale_e2e import standing; sys.exit(standing.main(sys.argv[1:]))"
    # No engine is found on an empty PATH, so that the command runs without a cluster.
    environ = {"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code, *run],
        env=environ,
        preexec_fn=ignoring_interrupts,
    ) as around_it:
        eventually(begun.exists, within=30, what="the command runs")
        around_it.terminate()
        assert around_it.wait(30) == 7
    assert ended.exists()
