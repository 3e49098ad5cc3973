"""What becomes of a plan: the autoscaler decides what is wanted, people decide how much of it is written."""

from dataclasses import dataclass

from pdscale.api.v1alpha1 import Scaling
from pdscale.controller.approval import Moment, Proposal, proposal, steps
from pdscale.controller.say import Say
from pdscale.controller.snapshot import Snapshot
from pdscale.model.pools import Targets
from pdscale.model.units import Seconds, parse_duration
from pdscale.scaling.autoscaler import Decision, Observation
from pdscale.scaling.policy import Policy


@dataclass(frozen=True, slots=True)
class Ruling:
    """``apply`` is what may be written now, if anything.

    ``takes``: the replicas of both pools are made ours first, as somebody has just asked for; ``took`` is the
    request that was obeyed last. ``asks``: plans wait for approval. ``shared`` says who else scales what this
    object scales: then nothing is written and nothing taken.
    """

    apply: Targets | None
    said: Say
    proposal: Proposal | None = None
    asks: bool = False
    takes: bool = False
    took: str = ""
    shared: str = ""


def rule(
    seen: Snapshot,
    scaling: Scaling,
    policy: Policy,
    observation: Observation,
    decision: Decision,
    *,
    now: Seconds,
    shared: str = "",
) -> Ruling:
    said, apply = Say.of(seen.body), decision.apply
    before = str(seen.status.get("tookReplicas") or "")
    takes = said.take not in ("", before) and not shared
    asks, proposed = scaling.mode == "Approve", None
    if asks:
        moment = Moment(observation.current, decision.wanted, seen.generation, now)
        lifetime = parse_duration(scaling.approval_timeout)
        proposed = proposal(Proposal.stored(seen.status), moment, approved=said.approved, lifetime=lifetime)
        goes = proposed is not None and proposed.approved
        apply = steps(proposed, policy, observation) if proposed is not None and goes else None
    return Ruling(
        apply=None if shared else said.permits(apply, observation.current),
        said=said,
        proposal=proposed,
        asks=asks,
        takes=takes,
        took=said.take if takes else before,
        shared=shared,
    )
