"""Streams that begin one after another for as long as a test does something else."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pdscale_e2e.replay.run import Replay
from pdscale_e2e.replay.trace import Request

MOST = 10_000  # more than a test has time for


@contextmanager
def streaming(url: str, *, model: str, every: float, tokens: int) -> Iterator[Replay]:
    """A new stream ``every`` so many seconds until the block ends; then those that are open end."""
    replay, over = Replay(url=url, model=model, seed=11), threading.Event()
    requests = [Request(at=i * every, input_tokens=200, output_tokens=tokens) for i in range(MOST)]
    thread = threading.Thread(target=lambda: asyncio.run(replay.run(requests, stopped=over.is_set)))
    thread.start()
    try:
        yield replay
    finally:
        over.set()
        thread.join()
