"""A bar on standard error while somebody watches; nothing in a pipe or a log."""

import sys
import time
from typing import Final, TextIO

WIDTH: Final = 30
PATIENCE: Final = 1.0  # seconds before a bar appears: short runs show none
REFRESH: Final = 0.1


class Bar:
    """``tell`` it how many of ``total`` parts are done and the share of the next one."""

    def __init__(self, total: int, stream: TextIO | None = None, *, part: str = "run") -> None:
        self.total, self.done, self.part = total, 0, part
        self._stream = stream or sys.stderr
        self._shown = False
        self._next = time.monotonic() + PATIENCE

    def tell(self, done: int, share: float) -> None:
        self.done = done
        now = time.monotonic()
        if not self._stream.isatty() or now < self._next:
            return
        self._next, self._shown = now + REFRESH, True
        self._stream.write("\r" + drawn(done, share, self.total, part=self.part))
        self._stream.flush()

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False


def drawn(done: int, share: float, total: int, *, part: str = "run") -> str:
    whole = min(1.0, (done + share) / total)
    full = int(whole * WIDTH)
    return f"[{'#' * full}{'.' * (WIDTH - full)}] {whole:4.0%}  {part} {min(done + 1, total)} of {total}"
