"""What keeps a tick from its end in expected ways: the condition that says so, and when to look again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pdscale.api.translate import InvalidSpec
from pdscale.controller import conditions
from pdscale.controller.children import NameTaken
from pdscale.controller.room import NoRoomYet
from pdscale.controller.sharing import NoSharedBudget
from pdscale.kube.errors import ApiUnavailable, Forbidden, Invalid, KubeError
from pdscale.kube.status import Condition
from pdscale.kube.targets import TargetUnusable
from pdscale.model.units import Seconds

SETTLING: Final[Seconds] = 5.0  # while pods come and go, look again soon: freed GPUs are wanted elsewhere
WAITING_FOR_USER: Final[Seconds] = 60.0  # an edit of the spec wakes the daemon at once
RETRY: Final[Seconds] = 10.0
LONGEST_RETRY: Final[Seconds] = 60.0  # however long an API server wants to be left alone

Told = InvalidSpec | NoRoomYet | NoSharedBudget | TargetUnusable | NameTaken | Invalid | Forbidden
TOLD: Final = (InvalidSpec, NoRoomYet, NoSharedBudget, TargetUnusable, NameTaken, Invalid, Forbidden)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing was changed. ``result`` is for the metric of ticks."""

    result: str
    found: Sequence[Condition]
    next_in: Seconds


def refusal(error: Told) -> Refusal:
    """What to tell of a failure that somebody has to act on, or wait for."""
    match error:
        case InvalidSpec():
            return Refusal("invalid_spec", conditions.invalid(str(error)), WAITING_FOR_USER)
        case NoRoomYet():
            return _blocked("WaitingForGPUs", error, SETTLING)
        case NoSharedBudget():
            return _blocked("SharedBudgetUnknown", error)
        case TargetUnusable():
            return _blocked(error.reason, error)
        case NameTaken():
            return _blocked("NameTaken", error)
        case Invalid():
            return _blocked("ApiRefusedInvalid", error)
        case Forbidden():
            return _blocked("ApiRefusedForbidden", error)


def next_try(error: KubeError) -> Seconds:
    """After an API server that did not do its part; it may ask to be left alone, within bounds."""
    asked = error.retry_after if isinstance(error, ApiUnavailable) else None
    return min(max(RETRY, asked or 0.0), LONGEST_RETRY)


def _blocked(reason: str, error: Exception, next_in: Seconds = RETRY) -> Refusal:
    return Refusal("blocked", conditions.blocked(reason, str(error)), next_in)
