"""The prefill replicas that take work, with a figure or two of each in columns, from one view to the next.

Whoever decides sees a new view with every load report, and mostly nothing but a few replicas' loads is new in
it. So columns are kept, and what has changed is found by identity: endpoints never change, they are replaced.
The least of a column is then found without a step of Python for each replica, which was most of what a
decision among hundreds cost. Rows are in order of names, as in the view, so that chance comes from the caller
only.
"""

import random
from collections.abc import Callable, Sequence
from itertools import compress
from operator import is_not

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import Role

Figures = Callable[[Load], tuple[float, ...]]


class Prefills:
    """``columns`` has a list for each of the ``figures`` of a load, of which there are as many as ``width``;
    ``rows`` says which row of them is a name's."""

    __slots__ = ("_figures", "_followed", "columns", "endpoints", "rows")

    def __init__(self, figures: Figures, *, width: int) -> None:
        self._figures = figures
        self._followed: tuple[Endpoint, ...] = ()
        self.endpoints: list[Endpoint] = []
        self.rows: dict[str, int] = {}
        self.columns: tuple[list[float], ...] = tuple([] for _ in range(width))

    def of(self, view: ClusterView, *, without: str) -> "Prefills":
        """Those of this view. Columns are good until the next call."""
        new, known = view.endpoints, self._followed
        if new is not known and not (len(new) == len(known) and self._renewed(new, known)):
            self._follow(new)
        if without not in self.rows:
            return self
        rest = Prefills(self._figures, width=len(self.columns))
        rest._follow(tuple(e for e in new if e.name != without))  # it was a prefill replica a moment ago
        return rest

    def _renewed(self, new: tuple[Endpoint, ...], known: tuple[Endpoint, ...]) -> bool:
        """Take over new loads; false if more than loads has changed."""
        rows, figures = self.rows, self._figures
        for at in compress(range(len(new)), map(is_not, new, known)):
            now, before = new[at], known[at]
            name = now.name
            if not (
                name == before.name
                and now.role is before.role
                and now.ready is before.ready
                and now.draining is before.draining
            ):
                return False
            row = rows.get(name)
            if row is not None:
                self.endpoints[row] = now
                for column, figure in zip(self.columns, figures(now.load), strict=True):
                    column[row] = figure
        self._followed = new
        return True

    def _follow(self, endpoints: tuple[Endpoint, ...]) -> None:
        self._followed = endpoints
        self.endpoints = [e for e in endpoints if e.role is Role.PREFILL and e.ready and not e.draining]
        self.rows = {e.name: row for row, e in enumerate(self.endpoints)}
        figures = [self._figures(e.load) for e in self.endpoints]
        self.columns = tuple([each[n] for each in figures] for n in range(len(self.columns)))


def least_row(column: Sequence[float], rng: random.Random) -> int:
    """Which row of a column is the least; of equals, chance says which."""
    least = min(column)
    if column.count(least) == 1:
        return column.index(least)
    return any_of([row for row, figure in enumerate(column) if figure == least], rng)


def any_of(rows: Sequence[int], rng: random.Random) -> int:
    """Each of n with probability 1/n, as if one had come after the other."""
    found = rows[0]
    for alike, row in enumerate(rows[1:], start=2):
        if rng.random() * alike < 1:
            found = row
    return found
