"""Waiting for something to become true, with a deadline and an explanation.

A distributed system gives no moment at which its state may be looked at once. Tests therefore poll;
nothing sleeps for luck. When the deadline passes, what was waited for and what was seen last is the
most useful thing to know, so the failure says both.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from kubernetes.client.exceptions import ApiException

Seen = TypeVar("Seen")

# What a check may meet while a system is still on its way: refused connections, objects that do not
# exist yet, fields that are not there yet.
_NOT_YET: Final = (AssertionError, LookupError, OSError, ApiException)

_FIRST_PAUSE: Final = 0.05


class NeverHappened(AssertionError):
    """The deadline passed before the check saw what it wanted."""


def eventually(check: Callable[[], Seen], *, within: float, what: str, every: float = 0.4) -> Seen:
    """Call ``check`` until it returns something true, and return that.

    ``every`` is the longest pause between two looks. The first ones are shorter: what is nearly there is seen
    at once, and a long wait does not take the processor from those who are waited for.
    """
    deadline = time.monotonic() + within
    pause = min(_FIRST_PAUSE, every)
    while True:
        seen: object
        cause: Exception | None = None
        try:
            result = check()
            if result:
                return result
            seen = result
        except _NOT_YET as error:
            seen, cause = error, error
        if time.monotonic() >= deadline:
            raise NeverHappened(f"waited {within:g}s for {what}; last seen: {seen!r}") from cause
        time.sleep(pause)
        pause = min(pause * 1.5, every)


@contextmanager
def looking(look: Callable[[], None], *, every: float = 0.0) -> Iterator[None]:
    """Calls ``look`` in a thread, with pauses of ``every`` seconds, until the block ends."""
    over = threading.Event()

    def again_and_again() -> None:
        while not over.wait(every):
            look()

    watcher = threading.Thread(target=again_and_again)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
