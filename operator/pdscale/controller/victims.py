"""Which replicas a smaller pool does without, and how far it may shrink now: the drain contract, without I/O.

Marked, a replica gets no new session, and those that live there move at their next round. It goes when it
has nothing open any more, or after the deadline. Until then the pool's scale still counts it, so that all of
it can be undone by taking the marks off: nothing was deleted yet. Somebody else's mark tells no time: there
the deadline counts from when the pod was first to go. Who is deleted finishes by itself what is still open,
within its grace period.

With three replicas of 9, 2 and 5 live sessions and a target of 1, those of 2 and 5 are marked. As soon as
that of 2 has nothing open, the scale may say 2, and the cost of deletion says which pod that takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pdscale.controller.replica_figures import ReplicaFigures
from pdscale.kube.marks import GOING, GOING_FIRST, Replica
from pdscale.model.units import Seconds

Figures = Mapping[str, ReplicaFigures]


@dataclass(frozen=True, slots=True)
class Shrinking:
    """``allowed`` is what the scale may say now. ``mark`` and ``unmark`` name pods to write to.

    ``costs`` are costs of deletion to write: those of pods to mark, and those other than what a pod says.
    ``drains`` names those that are marked afterwards. ``drained`` are those of our marks that have nothing to
    wait for; ``unfit`` so many that go are not ready, or somebody else wants them to go.
    """

    allowed: int
    mark: tuple[str, ...] = ()
    unmark: tuple[str, ...] = ()
    costs: tuple[tuple[str, int], ...] = ()
    drains: tuple[str, ...] = ()
    drained: tuple[str, ...] = ()
    unfit: int = 0


def shrinking(
    replicas: Sequence[Replica],
    figures: Figures,
    *,
    desired: int,
    target: int,
    now: Seconds,
    deadline: Seconds,
    flips: bool = False,
) -> Shrinking:
    """One step of a pool from ``desired``, what its scale says, to ``target``; safe to repeat.

    Where no replica tells anything the choice is left to Kubernetes, and the drain to the pods; not so if the
    other pool is to get one (``flips``): a pod that nobody deletes must be chosen, and told to drain.
    """
    chosen = victims(replicas, figures, max(0, len(replicas) - target))
    ours = tuple(r.name for r in replicas if r.mark.since is not None)
    if not any(r.name in figures for r in replicas) and not flips and not (ours and chosen):
        return Shrinking(target, unmark=ours)
    done = {r.name for r in chosen if _over(r, figures, now=now, deadline=deadline)}
    ready = [r for r in chosen if r.ready]
    costs = {r.name: GOING_FIRST if r.name in done else GOING for r in ready}
    names = {r.name for r in chosen}
    mark = tuple(r.name for r in ready if r.mark.since is None)
    said = {r.name: None if r.name in mark else r.mark.cost for r in ready}
    return Shrinking(
        allowed=target if target >= desired else min(desired, max(target, len(replicas) - len(done))),
        mark=mark,
        unmark=tuple(name for name in ours if name not in names),
        costs=tuple((name, cost) for name, cost in costs.items() if said[name] != cost),
        drains=tuple(r.name for r in ready),
        drained=tuple(r.name for r in ready if r.name in done and not r.mark.foreign),
        unfit=sum(not r.ready or r.mark.foreign for r in chosen),
    )


def victims(replicas: Sequence[Replica], figures: Figures, count: int) -> tuple[Replica, ...]:
    """Those with the least to lose: not ready, already draining, fewest sessions, least KV, fewest open.

    A figure that one ready replica lacks is nobody's reason. Of equal ones the youngest goes first, as in
    Kubernetes.
    """
    told = [figures.get(r.name) for r in replicas if r.ready]
    by_sessions = all(f is not None for f in told)
    by_kv = by_sessions and all(f is not None and f.kv is not None for f in told)

    def worth(replica: Replica) -> tuple[float, ...]:
        known = figures.get(replica.name) if by_sessions else None
        sessions, kv, requests = (0.0, None, 0.0) if known is None else (known.sessions, known.kv, known.open)
        return replica.ready, not replica.mark.drains, sessions, (kv or 0.0) if by_kv else 0.0, requests

    ordered = sorted(replicas, key=lambda r: r.name)
    ordered.sort(key=lambda r: r.created, reverse=True)
    return tuple(sorted(ordered, key=worth)[:count])


def _over(replica: Replica, figures: Figures, *, now: Seconds, deadline: Seconds) -> bool:
    """Whether nothing is gained by waiting. A mark that was set just now has not been heard yet."""
    if not replica.ready:
        return True
    since = replica.mark.since
    if since is None:  # not marked, or by somebody else: routers may have heard of that long ago
        return replica.mark.foreign and _idle(replica, figures)
    return now - since >= deadline or _idle(replica, figures)


def _idle(replica: Replica, figures: Figures) -> bool:
    known = figures.get(replica.name)
    return known is not None and known.open == 0
