"""Events for people: ``kubectl describe`` shows them. Each is told once in a while, not every tick.

An Event is a courtesy. When it cannot be written, the duty that it tells of was done all the same, so the
failure is logged and nothing else.
"""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from pdscale.kube.client import Kube, Object, collection
from pdscale.kube.errors import KubeError, Terminating
from pdscale.model.units import Seconds

QUIET: Final[Seconds] = 600.0
LONGEST_NOTE: Final = 1024  # the API's limit
API: Final = "events.k8s.io/v1"
_log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What kubectl prints in the first column."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event speaks of."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. ``action`` is what was being done, in one CamelCase word."""

    kind: Kind
    reason: str
    note: str
    action: str = "Reconcile"


@dataclass(slots=True)
class Recorder:
    """Writes Events; the same reason and note of the same object only once in ten minutes."""

    kube: Kube
    instance: str
    _told: dict[tuple[str, str, str], Seconds] = field(default_factory=dict)

    async def record(self, subject: Subject, event: Event, *, now: Seconds) -> None:
        key = (subject.uid, event.reason, event.note)
        self._told = {k: at for k, at in self._told.items() if at > now - QUIET}
        if key in self._told:
            return
        self._told[key] = now
        try:
            path = collection(API, "events", subject.namespace)
            await self.kube.create(path, _manifest(subject, event, instance=self.instance, now=now))
        except Terminating:
            pass  # nobody will read it
        except KubeError as error:
            _log.warning(
                "%s/%s: event %s not recorded: %s", subject.namespace, subject.name, event.reason, error
            )


def _manifest(subject: Subject, event: Event, *, instance: str, now: Seconds) -> Object:
    note = event.note if len(event.note) <= LONGEST_NOTE else event.note[: LONGEST_NOTE - 1] + "…"
    return {
        "apiVersion": API,
        "kind": "Event",
        "metadata": {"generateName": f"{subject.name}-", "namespace": subject.namespace},
        "eventTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": "pdscale.io/operator",
        "reportingInstance": instance,
        "action": event.action,
        "reason": event.reason,
        "type": event.kind,
        "note": note,
        "regarding": {
            "apiVersion": subject.api_version,
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        },
    }
