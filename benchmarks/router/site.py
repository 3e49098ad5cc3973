"""Where stacks are put up: processes on the proxies' core, believed to be ready when they have served.

Readiness is a request that came back whole, nothing less.
"""

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.router.accounting import tree
from benchmarks.router.messages import chat

HOST: Final = "127.0.0.1"
_PATIENCE: Final = 40.0
_FAREWELL: Final = 4.0


class NotStarted(RuntimeError):
    """A stack that does not serve; the message ends with what it logged."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where stacks are put up: the engines' ports, a folder for files and logs, the proxies' core.

    Whatever runs here is in ``processes``, also if its start was interrupted.
    """

    prefill: int
    decode: int
    folder: Path
    core: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def prefill_url(self) -> str:
        return f"http://{HOST}:{self.prefill}"

    @property
    def decode_url(self) -> str:
        return f"http://{HOST}:{self.decode}"

    def clear(self) -> None:
        """End all of it, gently first."""
        for process in self.processes:
            process.terminate()
        deadline = time.monotonic() + _FAREWELL
        for process in self.processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


@dataclass(frozen=True, slots=True)
class Stack:
    """``commands`` gives the processes for a port to serve at; none for a direct run."""

    name: str
    commands: Callable[[Site, int], list[list[str]]] | None
    split: bool = False
    extra: bool = False  # left out of a quick run
    imports: Path | None = None  # where its processes look first

    @property
    def ours(self) -> bool:
        return self.name.startswith("ours")


@dataclass(slots=True)
class Running:
    stack: Stack
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def pids(self) -> list[int]:
        return tree(p.pid for p in self.processes)


def start(stack: Stack, site: Site) -> Running:
    if stack.commands is None:
        return Running(stack, site.decode)
    port = free_port()
    running = Running(stack, port)
    log = site.folder / f"{stack.name}.log"
    try:
        with log.open("wb") as sink:
            for command in stack.commands(site, port):
                running.processes.append(_launch(command, site, sink.fileno(), stack.imports))
        _wait(running)
    except NotStarted as error:
        raise NotStarted(f"{error}; it logged: {log.read_text(errors='replace')[-600:]}") from None
    return running


def _launch(command: Sequence[str], site: Site, log: int, imports: Path | None) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("POD_", "KUBERNETES_"))}
    if imports is not None:
        environment["PYTHONPATH"] = str(imports)
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {site.core})  # this thread's, for a moment: the child begins with it
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    finally:
        os.sched_setaffinity(0, mine)
    site.processes.append(process)
    return process


def _wait(running: Running) -> None:
    deadline = time.monotonic() + _PATIENCE
    wrong = "nothing"
    while time.monotonic() < deadline:
        for process in running.processes:
            if process.poll() is not None:
                raise NotStarted(f"a process ended with code {process.returncode}")
        try:
            status, content = post(running.port, chat(size=166, stream=False, tokens=8))
            if status == 200 and b'"@' in content:
                return
            wrong = f"{status} {content[:200]!r}"
        except (OSError, http.client.HTTPException) as error:
            wrong = repr(error)
        time.sleep(0.1)
    raise NotStarted(f"no good answer within {_PATIENCE:g} s, the last was {wrong}")


def post(port: int, body: bytes) -> tuple[int, bytes]:
    return _exchange(port, "POST", "/v1/chat/completions", body)


def get(port: int, path: str) -> bytes:
    return _exchange(port, "GET", path, None)[1]


def _exchange(port: int, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
