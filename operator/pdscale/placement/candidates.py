"""Who may be considered at all.

One pass over the view, which is in order of names, so that chance comes from the caller only. Rules that
compare figures of each replica keep them in columns instead (``prefills``).
"""

from collections.abc import Collection

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role


def taking_work(view: ClusterView, role: Role, *, without: Collection[str] = ()) -> tuple[Endpoint, ...]:
    """Endpoints of a role that are ready and not draining."""
    return tuple(
        [e for e in view.endpoints if e.role is role and e.ready and not e.draining and e.name not in without]
    )


def still_serving(view: ClusterView, role: Role, *, without: Collection[str] = ()) -> tuple[Endpoint, ...]:
    """Endpoints of a role that drain: they serve on for a moment, so they are better than nobody.

    Of one that is gone already a call is refused at once. Whoever is merely not ready might hang.
    """
    return tuple([e for e in view.endpoints if e.role is role and e.draining and e.name not in without])
