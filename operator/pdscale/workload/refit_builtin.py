"""Where the coefficients of `perf.builtin` come from: ``python -m pdscale.workload.refit_builtin FOLDER``.

Fits every ``grid_*.csv.gz`` of a folder whose engine is known, and prints the pieces as `perf.builtin` writes
them, with the errors that its sources state.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pdscale.perf.builtin import GRIDS
from pdscale.perf.profile import Segment
from pdscale.perf.refit import Fit
from pdscale.workload.load import load_fit


def refit(folder: Path) -> Iterator[tuple[str, Fit]]:
    """(built-in name, fit) for each known grid in the folder."""
    for grid, name in GRIDS.items():
        path = folder / f"grid_{grid}.csv.gz"
        if path.exists():
            yield name, load_fit(path)


def described(fit: Fit) -> str:
    """Errors on the points that the fit had not seen, and of mixed steps, which no fit sees."""
    held = fit.held_out
    return "; ".join(
        f"{kind} {error.median:.1%} / {error.p90:.1%}"
        for kind, error in (("prefill", held.prefill), ("decode", held.decode), ("mixed", held.mixed))
        if error
    )


def _row(segment: Segment) -> str:
    figures = (segment.fixed * 1e3, segment.per_item * 1e6, segment.per_pair * 1e9)
    return f"({segment.up_to:g}, {', '.join(f'{x:.6g}' for x in figures)}),"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m pdscale.workload.refit_builtin FOLDER_OF_GRIDS", file=sys.stderr)
        return 2
    for name, fit in refit(Path(arguments[0])):
        print(f"{name}: {described(fit)}")
        for kind, pieces in (("prefill", fit.profile.prefill), ("decode", fit.profile.decode)):
            print(f"  {kind}", *map(_row, pieces))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
