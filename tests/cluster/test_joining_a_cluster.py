"""What one process tells others of the cluster that it has made, or could not make."""

import sys
from pathlib import Path

import pytest

from pdscale_e2e import standing as around
from pdscale_e2e.cluster import ClusterUnavailable, open_cluster
from pdscale_e2e.cluster.standing import UNAVAILABLE, VARIABLE, Standing, named


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
