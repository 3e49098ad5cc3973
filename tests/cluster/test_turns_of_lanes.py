"""Locks between test processes: sharing, being alone, and what a dead one held."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pdscale_e2e import lanes
from pdscale_e2e.lanes import Shared, waited_turn
from pdscale_e2e.waiting import NeverHappened, eventually

HOLDER = """
import sys, time
from pathlib import Path
from pdscale_e2e.lanes import Shared, waited_turn
uses, disturbs = ([Shared(w) for w in words.split()] for words in sys.argv[2:])
with waited_turn(Path(sys.argv[1]), uses=uses, disturbs=disturbs, who="holder"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_lane(folder: Path, *, uses: str = "", disturbs: str = "") -> Iterator["subprocess.Popen[str]"]:
    """A process that has its turn until its input ends."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), uses, disturbs],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
        text=True,
    ) as lane:
        assert lane.stdout is not None
        assert lane.stdout.readline() == "held\n"
        yield lane


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_PATIENCE", 0.2)


def test_lanes_use_the_same_at_once(tmp_path: Path, impatient: None) -> None:
    with (
        another_lane(tmp_path, uses="product workers"),
        waited_turn(tmp_path, uses=list(Shared), disturbs=[], who="this"),
    ):
        assert sorted(p.name for p in tmp_path.iterdir()) == ["product.lock", "workers.lock"]


def test_who_disturbs_waits_for_those_that_use_it_and_says_for_what(tmp_path: Path, impatient: None) -> None:
    with (
        another_lane(tmp_path, uses="workers"),
        pytest.raises(NeverHappened, match="this may disturb the workers"),
        waited_turn(tmp_path, uses=[], disturbs=[Shared.WORKERS], who="this"),
    ):
        pytest.fail("another lane uses the workers")


def test_who_uses_other_things_does_not_wait(tmp_path: Path, impatient: None) -> None:
    with (
        another_lane(tmp_path, uses="product", disturbs="workers"),
        waited_turn(tmp_path, uses=[Shared.PRODUCT], disturbs=[], who="this"),
    ):
        pass


def test_a_turn_begins_when_the_other_one_ends(tmp_path: Path) -> None:
    begun = threading.Event()

    def wait() -> None:
        with waited_turn(tmp_path, uses=[Shared.PRODUCT], disturbs=[], who="this"):
            begun.set()

    waiting = threading.Thread(target=wait)
    with another_lane(tmp_path, disturbs="product"):
        waiting.start()
        assert not begun.wait(0.3)
    assert begun.wait(10)
    waiting.join()


def test_a_lane_that_dies_gives_back_what_it_held(tmp_path: Path) -> None:
    with another_lane(tmp_path, disturbs="product workers") as lane:
        lane.send_signal(signal.SIGKILL)
        with waited_turn(tmp_path, uses=[], disturbs=list(Shared), who="this"):
            eventually(lambda: lane.poll() is not None, within=5, what="the other lane has died")
