"""A plan that waits for a person: proposed, approved or not, and then carried out in steps.

A proposal does not change while somebody reads it. It ends when it is reached, when nothing has to change
any more, when the spec is edited, or when it expires unanswered; then the plan of that moment is proposed.
One that was approved does not expire: it was somebody's decision. While nothing is known of the load the plan
is to stay, so the proposal ends: what was approved on figures is not carried out without any.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pdscale.api.status import ProposalStatus
from pdscale.kube.status import timestamp
from pdscale.model.plan import Plan
from pdscale.model.pools import Targets
from pdscale.model.units import Seconds
from pdscale.scaling.autoscaler import Observation, limited
from pdscale.scaling.policy import Policy


@dataclass(frozen=True, slots=True)
class Proposal:
    """Replicas that somebody is asked about. ``generation`` is the spec's that they were planned for."""

    id: str
    targets: Targets
    expires: Seconds
    generation: int
    approved: bool = False

    @classmethod
    def stored(cls, status: Mapping[str, Any]) -> "Proposal | None":
        found = status.get("proposal")
        if not found:
            return None
        return cls(
            id=found["id"],
            targets=Targets(found["prefill"], found["decode"]),
            expires=datetime.fromisoformat(found["expires"]).timestamp(),
            generation=found["generation"],
            approved=found["approved"],
        )

    @property
    def status(self) -> ProposalStatus:
        return ProposalStatus(
            id=self.id,
            prefill=self.targets.prefill,
            decode=self.targets.decode,
            expires=timestamp(self.expires),
            generation=self.generation,
            approved=self.approved,
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """What a proposal is judged by: where the pools are, where the plan wants them, and the spec."""

    current: Targets
    wanted: Targets
    generation: int
    now: Seconds


def proposal(before: Proposal | None, moment: Moment, *, approved: str, lifetime: Seconds) -> Proposal | None:
    """What is proposed now. ``approved`` is the id that a person has named last."""
    if moment.wanted == moment.current:
        return None
    if before is not None and _stands(before, moment):
        return replace(before, approved=before.approved or before.id == approved)
    made = datetime.fromtimestamp(moment.now, UTC).strftime("%Y%m%d%H%M%S")
    name = f"{moment.wanted.prefill}p{moment.wanted.decode}d-{made}"
    return Proposal(name, moment.wanted, moment.now + lifetime, moment.generation)


def _stands(before: Proposal, moment: Moment) -> bool:
    if before.generation != moment.generation or before.targets == moment.current:
        return False
    return before.approved or moment.now < before.expires


def steps(approved: Proposal, policy: Policy, observation: Observation) -> Targets:
    """How far an approved proposal may go now: bounds and budget hold for what people want, too."""
    _, step = limited(Plan(approved.targets), policy, observation)
    return step.targets
