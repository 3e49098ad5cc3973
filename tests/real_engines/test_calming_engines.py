"""Threads that burn a core are found by what they do, and only they."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pdscale_e2e.engines.spinning import calm_engines, spinning_threads
from pdscale_e2e.waiting import eventually

PROGRAM = """
import hashlib, pathlib, sys, threading, time
def spin():  # for minutes, without the interpreter's lock
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
def sleep():
    while True:
        time.sleep(0.001)
pathlib.Path("/proc/self/comm").write_text(sys.argv[1])
for work in (spin, sleep):
    threading.Thread(target=work, daemon=True, name=work.__name__).start()
print([t.native_id for t in threading.enumerate() if t.name == "spin"][0], flush=True)
time.sleep(60)
"""


@pytest.fixture(params=["VLLM::Worker", "python"])
def program(request: pytest.FixtureRequest) -> Iterator[tuple[str, int, int]]:
    """Name, process and spinning thread of a program that also has one that sleeps."""
    words = [sys.executable, "-S", "-c", PROGRAM, request.param]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield request.param, process.pid, int(process.stdout.readline())
        process.kill()


def test_an_engines_spinning_thread_gives_way_to_all_others(program: tuple[str, int, int]) -> None:
    name, pid, thread = program

    def found() -> bool:
        return spinning_threads([pid], look=0.1) == [thread]

    eventually(found, within=20, what="the spinning thread is found")
    engine = name == "VLLM::Worker"
    before = os.getpriority(os.PRIO_PROCESS, pid)
    assert calm_engines(within=20) == int(engine and before < 19)
    assert os.getpriority(os.PRIO_PROCESS, thread) == (19 if engine else before)
    assert os.getpriority(os.PRIO_PROCESS, pid) == before


def test_an_engine_that_is_gone_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
        assert spinning_threads([process.pid], look=0.0) == []
