"""The commands of a documentation page: found in its fenced blocks, and run in one shell as a reader would.

Every line of a ``sh`` block is a command; in a ``console`` block those behind ``$ `` are, with their
continuations behind ``> ``, and the rest is what they print. A comment ``<!-- run-by: provider -->`` in front
of a block says that in a test the cluster's provider has done the like.
"""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from pdscale_e2e.waiting import NeverHappened, eventually

READER: Final = "reader"
_INLINE: Final = re.compile(r"`([^`\n]+)`")
_BLOCK: Final = re.compile(
    r"^(?:<!-- run-by: (?P<by>[a-z]+) -->\n)?```(?P<kind>sh|console)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True, slots=True)
class Block:
    """Commands that stand together; ``line`` is where they do on the page."""

    line: int
    script: str
    run_by: str = READER


def blocks(page: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(page):
        text = found["text"]
        script = _typed(text) if found["kind"] == "console" else text
        line = page.count("\n", 0, found.start("text")) + 1
        yield Block(line, script, found["by"] or READER)


def inline(page: str, beginnings: Sequence[str]) -> list[str]:
    """Commands inside of sentences and tables, in their order and each once.

    Two words are the name of a command and no command; ``...`` stands for something of the reader's.
    """
    outside = re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)
    found = (text for text in _INLINE.findall(outside) if text.startswith(tuple(beginnings)))
    return list(dict.fromkeys(text for text in found if len(text.split()) > 2 and "..." not in text))


def _typed(transcript: str) -> str:
    lines = (line for line in transcript.splitlines() if line.startswith(("$ ", "> ")))
    return "".join(f"{line[2:]}\n" for line in lines)


class CommandFailed(RuntimeError):
    """A command of the page failed; the message carries what it printed."""


class Shell:
    """One bash for all blocks, so that variables and background programs last from one to the next.

    The first command that fails ends it. What it prints goes to a file, because background programs would
    keep a pipe open.
    """

    def __init__(self, *, cwd: Path, environ: Mapping[str, str]) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="pdscale-page-")
        self._folder = Path(self._scratch.name)
        self._log = self._folder / "log"
        self._count = 0
        with self._log.open("wb") as log:
            # A session of its own: whatever the page leaves running ends with it.
            self._bash = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-ex", "-o", "pipefail"],
                cwd=cwd,
                env=dict(environ),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                bufsize=0,
                start_new_session=True,
            )

    def __enter__(self) -> "Shell":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, block: Block, *, within: float) -> str:
        """Run its commands; what they printed, each command after a ``+``."""
        self._count += 1
        script, over = self._folder / f"{self._count}.sh", self._folder / f"{self._count}.over"
        script.write_text(block.script)
        before = self._log.stat().st_size
        assert self._bash.stdin is not None
        try:
            # A command that reads its input must not read the commands after it.
            self._bash.stdin.write(f"source {script} < /dev/null\n: > {over}\n".encode())
        except BrokenPipeError:
            pass  # the shell has ended: said below
        try:
            eventually(
                lambda: over.exists() or self._ended(block, before), within=within, what="", every=0.05
            )
        except NeverHappened:
            raise self._failure(block, before, f"had not ended after {within:g} s") from None
        return self._printed(before)

    def close(self) -> None:
        try:
            os.killpg(self._bash.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended, and nothing was left running
        with self._bash:  # closes its input and waits
            pass
        self._scratch.cleanup()

    def _ended(self, block: Block, before: int) -> bool:
        if (code := self._bash.poll()) is not None:
            raise self._failure(block, before, f"ended with code {code}")
        return False

    def _failure(self, block: Block, before: int, what: str) -> CommandFailed:
        tail = "\n".join(self._printed(before).splitlines()[-30:])
        return CommandFailed(f"a command at line {block.line} {what}:\n{tail}")

    def _printed(self, before: int) -> str:
        return self._log.read_bytes()[before:].decode(errors="replace")
