"""How several ServingDeployments share a cap on GPUs, by priority: pure functions of what all members say.

Each member is *entitled* to a part of the cap: first what its ``minReplicas`` hold, then what it wants beyond
that, each in the order of priority, ties by name. It may *hold* its part only as far as there is room beside
the claims of all others: what their pods hold or their scales say, whichever is more. So a member that has
to give something back does so first, by its drain, and only then does another one grow.

With a cap of 8 GPUs, ``a`` (priority 1) wanting 6 and ``b`` wanting 6, both with a minimum of 1, ``a`` is
entitled to 6 and ``b`` to 2. If ``b`` holds 5 and ``a`` 3, ``b`` may hold 2 from now on, and ``a`` 3 until
the first pod of ``b`` is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """One ServingDeployment of several; all but the first two are GPUs.

    ``least`` is what its ``minReplicas`` hold, ``wanted`` what its traffic needs, ``claim`` the larger one of
    what its pods hold and what its scales say.
    """

    name: str
    priority: int
    least: int
    wanted: int
    claim: int


def entitled(cap: int, members: Sequence[Member]) -> dict[str, int]:
    """GPUs that each member should have in the end, by name; together never more than ``cap``.

    What is left when all wants are met stays with those who hold more: nobody has to give back for nothing.
    """
    order = sorted(members, key=lambda m: (-m.priority, m.name))
    left, given = cap, dict.fromkeys((m.name for m in order), 0)
    for asked in ([m.least for m in order], [m.wanted for m in order], [m.claim for m in order]):
        for name, upto in zip(given, asked, strict=True):
            more = min(left, max(0, upto - given[name]))
            given[name] += more
            left -= more
    return given


def allowance(cap: int, members: Sequence[Member], name: str) -> int:
    """GPUs that one of the members may hold now; below its claim it has to give some back.

    What nobody else claims or is entitled to is anybody's, whatever was wanted a moment ago.
    """
    me, parts = next(m for m in members if m.name == name), entitled(cap, members)
    others = [m for m in members if m.name != name]
    free = cap - sum(max(m.claim, parts[m.name]) for m in others)
    if me.claim >= parts[name]:
        return max(parts[name], free)
    room = cap - sum(m.claim for m in others)
    return max(me.claim, min(parts[name], room))
