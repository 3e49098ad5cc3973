"""A program to be run in a test's pod: says what it finds around it, and misbehaves when told to.

    GET /env /args /pid      its environment, arguments and process number, as JSON
    GET /file?PATH           a file as it sees it
    GET /ready /live /metrics
    PUT /ready?503           from now on the answer to GET /ready (likewise /live)
    PUT /exit?3              end at once with that code

It writes what happens to it, one line each with a clock that all processes share, to its log. Only the
standard library, so that a pod starts quickly.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Final
from urllib.parse import urlsplit

_ANSWERS: Final = {"/ready": 200, "/live": 200}


def note(what: str) -> None:
    # One write, because a signal handler or a timer may come between two.
    os.write(sys.stdout.fileno(), f"{time.monotonic():.4f} {what}\n".encode())


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path in _ANSWERS:
            self._answer(b"", _ANSWERS[url.path])
        elif url.path == "/metrics":
            self._answer(b"specimen_up 1\n")
        elif url.path == "/file":
            self._answer_file(url.query)
        else:
            found = {"/env": dict(os.environ), "/args": sys.argv[1:], "/pid": os.getpid()}
            self._answer(json.dumps(found.get(url.path)).encode())

    def do_PUT(self) -> None:
        url = urlsplit(self.path)
        if url.path in _ANSWERS:
            _ANSWERS[url.path] = int(url.query)
            note(f"{url.path} is {url.query}")
        self._answer(b"")
        if url.path == "/exit":
            os._exit(int(url.query))

    def _answer_file(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                self._answer(file.read())
        except OSError as error:
            self._answer(str(error).encode(), HTTPStatus.NOT_FOUND)

    def _answer(self, body: bytes, status: int = HTTPStatus.OK) -> None:
        self.send_response(status)
        # Prometheus refuses an answer that does not say what it is.
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Probes would fill the log."""


def _end_after(seconds: float) -> None:
    def end(number: int, _frame: FrameType | None) -> None:
        note(f"got signal {number}")
        # It goes on answering until then, as a server that drains does.
        threading.Timer(seconds, leave).start()

    def leave() -> None:
        note("ends")
        os._exit(0)

    signal.signal(signal.SIGTERM, end)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pdscale_e2e.specimen")
    parser.add_argument("--host", default=os.environ.get("POD_IP"))
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--linger", type=float, default=0.0, help="seconds from SIGTERM to the end")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    _end_after(options.linger)
    note("starts")
    with ThreadingHTTPServer((options.host, options.port), _Handler) as server:
        note("listens")
        server.serve_forever()


if __name__ == "__main__":
    main()
