"""Learns from what engines say whether a session's history can move from a decode to a prefill engine.

vLLM hands the parameters for that out at the end of a round, if both sides run with
``bidirectional_kv_xfer``; before 0.33 only in answers that were not streamed. Nothing in a configuration can
be trusted to know this: images are replaced one by one, and users replace commands. A placement that counts
on history that never comes computes it again on every remote round.

One round with parameters proves that they come. One without proves little, since an engine has reasons of its
own to keep them, so it takes a few in a row. Rounds that asked for none, or did not end well, say nothing.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_STREAMS_HAND_OUT: Final = (0, 33)
_SILENT_ROUNDS: Final = 3


class CapabilityReason(StrEnum):
    """Why history is believed to move, or not. They end up in a log line and a metric label."""

    NOT_SEEN_YET = "NotSeenYet"  # believed to move until shown otherwise
    HANDED_OUT = "HandedOut"
    SWITCHED_OFF = "SwitchedOff"  # by our own configuration
    VERSION_TOO_OLD = "VersionTooOld"
    STREAMS_SAY_NOTHING = "StreamsSayNothing"  # unstreamed answers do
    NEVER_HANDED_OUT = "NeverHandedOut"


@dataclass(slots=True)
class Capability:
    """``enabled`` is what the configuration wants; evidence can only take it away, and give it back."""

    enabled: bool = True
    _version: tuple[int, int] | None = None
    _silent: int = 0
    _streamed: bool = False
    _whole: bool = False

    @property
    def history_moves(self) -> bool:
        return self.reason in (CapabilityReason.NOT_SEEN_YET, CapabilityReason.HANDED_OUT)

    @property
    def reason(self) -> CapabilityReason:
        if not self.enabled:
            return CapabilityReason.SWITCHED_OFF
        if self._streamed:
            return CapabilityReason.HANDED_OUT
        if self._version is not None and self._version < _STREAMS_HAND_OUT:
            return CapabilityReason.VERSION_TOO_OLD
        if self._silent < _SILENT_ROUNDS:
            return CapabilityReason.HANDED_OUT if self._whole else CapabilityReason.NOT_SEEN_YET
        return CapabilityReason.STREAMS_SAY_NOTHING if self._whole else CapabilityReason.NEVER_HANDED_OUT

    def version(self, text: str) -> None:
        """What ``/version`` says, as ``0.33.0`` or ``0.11.1rc2.dev5+gabc``; anything else is no evidence.

        A version other than the last one is another engine: what was seen of the old one does not count.
        """
        found = re.match(r"v?(\d+)\.(\d+)", text.strip())
        if found is None:
            return
        version = (int(found[1]), int(found[2]))
        if self._version is not None and version != self._version:
            self._silent, self._streamed, self._whole = 0, False, False
        self._version = version

    def round_ended(self, *, asked: bool, streamed: bool, handed_out: bool) -> None:
        """A round that ended well. ``asked``: its request carried transfer parameters of any form."""
        if handed_out:
            self._silent = 0
            self._streamed |= streamed
            self._whole |= not streamed
        elif asked:
            self._note_silence(streamed=streamed)

    def _note_silence(self, *, streamed: bool) -> None:
        """A silent answer in one piece tells of both forms, a silent stream of streams only."""
        self._silent += 1
        if self._silent >= _SILENT_ROUNDS:
            self._streamed = False
            self._whole &= streamed
