"""``pdscale profile`` from its arguments to what it writes and prints, against servers on loopback."""

import asyncio
import json
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, Final

import pytest

from fakes.emulated import FAST, settings
from fakes.threaded import in_a_thread
from pdscale import cli
from pdscale.emulator.limits import Limits
from pdscale.emulator.openai import Served
from pdscale.emulator.server import EngineServer
from pdscale.emulator.settings import Settings
from pdscale.perf.profile import Segment
from pdscale.scenarios.profiling.results import SCHEMA
from pdscale.workload.load import load_model

QUICK: Final = (
    *("--prompts", "32,48,64,96", "--histories", "64", "--batches", "1,2,3,4", "--contexts", "32,64"),
    *("--repeats", "1", "--steps", "4"),
)
KNOWN: Final = replace(
    FAST, prefill=(Segment(inf, 0.002, 1e-5, 0.0),), decode=(Segment(inf, 0.002, 1e-5, 0.0),)
)


@pytest.fixture
def engine() -> Iterator[str]:
    limits = replace(Limits.of(KNOWN), answer_length=0, max_model_len=1024)
    served = Served(("tiny",), 1024, prompt_tokens_details=True)
    with in_a_thread(emulated(settings(profile=KNOWN, limits=limits, served=served))) as url:
        yield url


@asynccontextmanager
async def emulated(told: Settings) -> AsyncIterator[str]:
    """Stops once it has seen every client leave: each connection has a task of its own."""
    async with EngineServer(told) as server:
        own = asyncio.all_tasks()
        yield f"http://127.0.0.1:{server.port}"
        async with asyncio.timeout(10):
            while asyncio.all_tasks() - own - {asyncio.current_task()}:  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.005)


def test_a_profile_is_written_and_loads_as_any_other(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.json"
    flags = ("--bandwidth", "2GB/s", "--name", "Our_Model", *QUICK, "--out", str(out))
    assert cli.main(["profile", "--url", engine, *flags]) == 0
    captured = capsys.readouterr()
    profile = load_model(out)
    assert (profile.name, profile.kv_capacity, profile.kv_bytes_per_token) == ("Our_Model", 4096, 1000)
    lines = captured.out.splitlines()
    assert lines[0].split()[:4] == ["part", "points", "median", "P90"]
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["prefill", "8"],
        ["decode", "8"],
        ["transfer", "told"],
    ]
    assert f"kubectl create configmap our-model-profile --from-file=profile.json={out}" in captured.out
    assert (
        f"pdscale simulate --workload bursty --rate 1 --prefill 1 --decode 1 --profile {out}" in captured.out
    )
    assert captured.err == f"profile {out}\n"


def test_what_it_proposes_to_type_runs(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.json"
    assert cli.main(["profile", "--url", engine, "--bandwidth", "2GB/s", *QUICK, "--out", str(out)]) == 0
    (line,) = (s for s in capsys.readouterr().out.splitlines() if s.startswith("try it:"))
    assert cli.main([*line.split()[3:], "--duration", "10s", "--lengths", "100"]) == 0


def test_json_has_the_profile_its_errors_and_every_point(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.json"
    flags = ("--bandwidth", "2GB/s", *QUICK, "--out", str(out), "--json")
    assert cli.main(["profile", "--url", engine, *flags]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["schema"] == SCHEMA
    assert document["profile"] == json.loads(out.read_text())
    assert document["errors"]["prefill"]["points"] == len(document["prefill"]) == 8
    assert document["held_out"]["decode"]["points"] == len(document["decode"]) // 5
    assert document["errors"]["transfer"] is None
    assert {p["history"] for p in document["prefill"]} == {0, 64}


def test_ctrl_c_keeps_what_suffices(engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.json"
    more = ("--prompts", "32,48,64,80,96,112", "--batches", "1,2,3,4,5,6")
    flags = ("--bandwidth", "2GB/s", "--out", str(out), *QUICK, *more)
    with Interrupted(20):
        assert cli.main(["profile", "--url", engine, *flags]) == 130
    captured = capsys.readouterr()
    assert "interrupted after 19 of 24 passes: the profile is of these" in captured.err
    assert load_model(out).name == "tiny"
    assert captured.out.startswith("part")


def test_ctrl_c_before_anything_suffices_writes_nothing(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.json"
    with Interrupted(3):
        status = cli.main(["profile", "--url", engine, "--bandwidth", "2GB/s", "--out", str(out), *QUICK])
    captured = capsys.readouterr()
    assert (status, captured.out, out.exists()) == (130, "", False)
    assert captured.err == "pdscale profile: interrupted after 2 of 16 passes: too few for a profile\n"


class Interrupted:
    """Sends SIGINT to this very process when the bar is told of the nth pass."""

    def __init__(self, nth: int) -> None:
        self._nth = nth

    def __enter__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        told = iter(range(1, 1000))

        def tell(*_: object) -> None:
            if next(told) == self._nth:
                assert threading.current_thread() is threading.main_thread()
                signal.raise_signal(signal.SIGINT)

        self._patch.setattr("pdscale.scenarios.profiling.command._tell", tell)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


def test_points_that_memory_leaves_no_room_for_are_refused_before_anything_is_measured(
    engine: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = ("--bandwidth", "1GB/s", *QUICK, "--contexts", "2000,3000", "--out", tmp_path / "p.json")
    assert cli.main(["profile", "--url", engine, *map(str, flags)]) == 1
    assert "--batches, --contexts: leave 0 points" in capsys.readouterr().err
