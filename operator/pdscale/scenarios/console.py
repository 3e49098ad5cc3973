"""What the commands of studies share: usage in one line, exit statuses, complaints on standard error."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.progress import Bar

FAILED: Final = 1
INTERRUPTED: Final = 130  # as shells count it: 128 and the number of SIGINT


class Parser(argparse.ArgumentParser):
    """Two lines for a mistake: what is wrong, and where help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\ntry: {self.prog} --help\n")


def status_of(command: str, work: Callable[[], None], bar: Bar, *, done: Callable[[], str]) -> int:
    """The exit status of ``work``; ``done`` says how far it came when somebody interrupts it."""
    try:
        work()
        return 0
    except InvalidScenario as error:
        bar.clear()
        print(f"pdscale {command}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        bar.clear()
        print(f"pdscale {command}: interrupted {done()}", file=sys.stderr)
        return INTERRUPTED


def check_writable(flag: str, file: Path | None) -> None:
    """Found out before minutes of work, not after them."""
    if file is not None and not os.access(file.parent, os.W_OK):
        raise InvalidScenario(f"{flag}: {file.parent} must be a folder that can be written to; make it first")
