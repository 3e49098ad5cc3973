"""One definition of a quantile for traces, fits and simulations, so that their figures can be compared."""

from collections.abc import Sequence


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the closest two of an ascending sequence that is not empty."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
