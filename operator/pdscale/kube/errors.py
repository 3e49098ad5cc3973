"""What can go wrong with the API server, in the words of this project.

Foreign exceptions end here. ``retry_helps`` says whether the same call may succeed later without
anybody doing anything.
"""

import json
from typing import Any, ClassVar, Final

from pdscale.model.units import Seconds

_NOT_CONVERTED: Final = "request to convert CR to an invalid group/version: autoscaling/v1"


class KubeError(Exception):
    """The API server did not do what it was asked to."""

    retry_helps: ClassVar[bool] = False


class NotFound(KubeError):
    """The object, or its whole kind, is not there."""


class Conflict(KubeError):
    """Somebody else owns the field, or changed the object since it was read.

    ``owners`` are the field managers that the server names, empty for a stale resource version.
    """

    def __init__(self, message: str, owners: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.owners = owners


class Forbidden(KubeError):
    """The operator's ServiceAccount may not do this, or has no valid token: the cluster's owner must act."""


class Terminating(KubeError):
    """The namespace is being deleted: nothing can be made in it any more, and nothing needs to be."""


class NotLeading(KubeError):
    """Another process may be writing by now, so this one must not; nothing was sent."""


class Invalid(KubeError):
    """The server understood the request and refused its content."""


class CannotApply(KubeError):
    """The server has found no conflict, and cannot apply: so it is with the scale of every custom resource.

    What it merged is a Scale, and only the custom resource's own group is known where it is to be converted
    back (Kubernetes 1.36). A merge patch of the same is understood.
    """


class ApiUnavailable(KubeError):
    """No answer in time, no connection, or an answer that says that the server is in trouble.

    ``retry_after`` is how long it wants to be left alone, where it says so.
    """

    retry_helps: ClassVar[bool] = True

    def __init__(self, message: str, *, retry_after: Seconds | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def from_answer(status: int, body: bytes, call: str, *, retry_after: str = "") -> KubeError:
    """The error behind a status code of 400 and above. ``call`` is like ``GET /api/v1/pods``.

    ``retry_after`` is the header of that name, which API servers write in whole seconds.
    """
    answer = _parse(body)
    text = f"{call}: {status} {answer.get('message') or body[:200].decode(errors='replace')}"
    match status:
        case 404:
            return NotFound(text)
        case 409:
            return Conflict(text, _owners(answer))
        case 403 if "NamespaceTerminating" in _reasons(answer):
            return Terminating(text)
        case 401 | 403:
            return Forbidden(text)
        case 500 if _NOT_CONVERTED in text:
            return CannotApply(text)
        case _ if status == 429 or status >= 500:
            return ApiUnavailable(text, retry_after=_wait(answer, retry_after))
        case _:
            return Invalid(text)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}  # a proxy in between speaks HTML
    return answer if isinstance(answer, dict) else {}


def _owners(answer: dict[str, Any]) -> tuple[str, ...]:
    """Managers in a server-side apply conflict: the message is ``conflict with "NAME" using ...``."""
    named = [c["message"].split('"') for c in _causes(answer) if c.get("reason") == "FieldManagerConflict"]
    return tuple(sorted({parts[1] for parts in named if len(parts) > 1}))


def _wait(answer: dict[str, Any], header: str) -> Seconds | None:
    said = str((answer.get("details") or {}).get("retryAfterSeconds") or header)
    return float(said) if said.isdecimal() else None


def _reasons(answer: dict[str, Any]) -> set[str]:
    return {c.get("reason", "") for c in _causes(answer)}


def _causes(answer: dict[str, Any]) -> list[dict[str, str]]:
    return (answer.get("details") or {}).get("causes") or []
