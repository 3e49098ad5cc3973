"""Serves one request: runs its coroutine from the callback that brought the request, and on from those that
bring what it waits for.

A task would begin a round of the loop later and cost one handle each time something arrives; with the
futures that go with it that is a sixth of a request. The price: there is no current task in here, so what
needs one (``asyncio.timeout``) has to be given its own. Where many have to do at once, they take ``Turns``.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Protocol

from pdscale.router.wire.turns import Turns


class Awaited(Protocol):
    """What a coroutine may wait for: a future, or a ``Wake``."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None: ...

    def cancel(self) -> bool: ...


class Errand:
    """A coroutine at work. ``cancel`` it when its client left: it is told where it waits, as a task is."""

    __slots__ = ("_cancelled", "_coroutine", "_turns", "_waits_for")

    def __init__(self, coroutine: Coroutine[Awaited | None, None, None], turns: Turns) -> None:
        """The coroutine runs until it has to wait before this returns, if there is a turn left for it."""
        self._coroutine, self._turns = coroutine, turns
        self._cancelled = False
        self._waits_for: Awaited | None = None
        turns.begin(self._step)

    def cancel(self) -> None:
        if self._waits_for is None or not self._waits_for.cancel():
            self._cancelled = True  # it is about to go on anyway, and will be told then

    def _woken(self, _: object) -> None:
        self._waits_for = None
        self._turns.go_on(self._step)

    def _step(self) -> None:
        try:
            if self._cancelled:
                self._cancelled = False
                waits_for = self._coroutine.throw(asyncio.CancelledError())
            else:
                waits_for = self._coroutine.send(None)
        except (StopIteration, asyncio.CancelledError):
            return
        if waits_for is None:  # sleep(0)
            asyncio.get_running_loop().call_soon(self._step)
            return
        self._waits_for = waits_for
        waits_for.add_done_callback(self._woken)


class Wake:
    """A future for one, without a result. An errand goes on inside of ``wake``, a task by way of its loop."""

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context")

    def __init__(self) -> None:
        self._asyncio_future_blocking = self._cancelled = False
        self._callback: Callable[[Wake], object] | None = None
        self._context: Context | None = None

    def __await__(self) -> Generator["Wake", None, None]:
        self._asyncio_future_blocking = True
        yield self
        if self._cancelled:
            raise asyncio.CancelledError

    def wake(self) -> None:
        callback, self._callback = self._callback, None
        if callback is None:
            return
        if self._context is None:
            callback(self)
        else:
            self.get_loop().call_soon(callback, self, context=self._context)

    def cancel(self, msg: object = None) -> bool:
        if self._callback is None:
            return False
        self._cancelled = True
        self.wake()
        return True

    # ---- what tasks ask of a future besides

    def add_done_callback(
        self, callback: Callable[["Wake"], object], /, *, context: Context | None = None
    ) -> None:
        self._callback, self._context = callback, context

    def result(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()
