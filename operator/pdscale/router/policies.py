"""From the names in the custom resource to the objects that decide. Pure, so that a test bed builds the same.

Who feeds the objects: whoever runs a round tells its ``Correction`` when the first token came, whoever runs a
gate asks its ``Admission``.
"""

from enum import StrEnum
from typing import Final

from pdscale.model.slo import SLO
from pdscale.model.units import Tokens
from pdscale.perf.profile import Profile
from pdscale.placement.admission import Admission
from pdscale.placement.ampd import AMPD
from pdscale.placement.baselines import AlwaysLocal, AlwaysRemote, ConServe, Threshold
from pdscale.placement.correction import Correction
from pdscale.placement.cost import CostBased
from pdscale.placement.fewest_late import FewestLate
from pdscale.placement.ordering import FCFS, AMPDWindow, Queue, ShortestRemaining, Sorted
from pdscale.placement.policy import PlacementPolicy
from pdscale.placement.table import Table, table_of


class PolicyName(StrEnum):
    COST_BASED = "CostBased"
    AMPD = "AMPD"
    ALWAYS_LOCAL = "AlwaysLocal"
    ALWAYS_REMOTE = "AlwaysRemote"
    THRESHOLD = "Threshold"
    CONSERVE = "ConServe"
    TABLE = "Table"


class QueueOrder(StrEnum):
    FCFS = "FCFS"
    AMPD_WINDOW = "AMPDWindow"
    SHORTEST_REMAINING = "ShortestRemaining"
    FEWEST_LATE = "FewestLate"


# Peers set 256 (vllm-router's design), 1000 and 2048 (Dynamo). 512 is the one that the headroom study ran.
THRESHOLD_TOKENS: Final = 512
ADMIT: Final = 2
NEED_A_PROFILE: Final = (PolicyName.COST_BASED, PolicyName.AMPD, PolicyName.TABLE)


def placement_policy(
    name: PolicyName,
    *,
    slo: SLO,
    profile: Profile | None = None,
    threshold_tokens: Tokens = THRESHOLD_TOKENS,
    table: Table | None = None,
    correction: Correction | None = None,
) -> PlacementPolicy:
    """``table`` replaces the one that the profile gives. Only ``CostBased`` looks at ``correction``."""
    match name:
        case PolicyName.ALWAYS_LOCAL:
            return AlwaysLocal()
        case PolicyName.ALWAYS_REMOTE:
            return AlwaysRemote()
        case PolicyName.CONSERVE:
            return ConServe()
        case PolicyName.THRESHOLD:
            return Threshold(threshold_tokens)
    if name is PolicyName.TABLE and table is not None:
        return table
    if profile is None:
        raise ValueError(f"placement {name} needs a profile")
    match name:
        case PolicyName.TABLE:
            return table_of(profile)
        case PolicyName.AMPD:
            return AMPD(profile, slo)
        case PolicyName.COST_BASED:
            return CostBased(profile, slo, correction or Correction())


def queue_of(order: QueueOrder) -> Queue:
    match order:
        case QueueOrder.FCFS:
            return Sorted(FCFS())
        case QueueOrder.AMPD_WINDOW:
            return AMPDWindow()
        case QueueOrder.SHORTEST_REMAINING:
            return Sorted(ShortestRemaining())
        case QueueOrder.FEWEST_LATE:
            return FewestLate()


def admission_of(order: QueueOrder, *, admit: int = ADMIT, reject_late: bool = False) -> Admission:
    return Admission(queue_of(order), at_once=admit, reject_late=reject_late)
