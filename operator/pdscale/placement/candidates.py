"""Who may be considered at all, in the view's order (by name): chance comes from the caller only."""

from collections.abc import Collection

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role


def taking_work(view: ClusterView, role: Role, *, without: Collection[str] = ()) -> tuple[Endpoint, ...]:
    """Endpoints of a role that are ready and not draining."""
    return tuple(e for e in view.of(role) if e.takes_new_work and e.name not in without)
