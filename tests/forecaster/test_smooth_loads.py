"""How strongly lines are pulled towards the last value: by a tenth where differences of changes tell."""

import numpy as np
import pytest

from pdscale_forecaster.gaps import Values
from pdscale_forecaster.models import QuantileLines, quantile_lines

SEEN = 500


def smooth() -> Values:
    """A load whose change goes on, and whose change of change goes on too."""
    found = np.random.default_rng(1).normal(0.0, 0.002, 2 * SEEN)
    for goes_on in (0.97, 0.9, 0.8):
        for now in range(1, len(found)):
            found[now] += goes_on * found[now - 1]
    return np.asarray(100.0 * np.exp(found))


def noisy() -> Values:
    return np.random.default_rng(1).gamma(50, 2.0, 2 * SEEN)


def missed(values: Values) -> float:
    said = QuantileLines(1).fit(values[:SEEN]).predict(values)
    return float(np.abs(values[SEEN:] - said[SEEN - 1 : -1]).mean())


def test_a_smooth_load_is_foretold_better_than_with_the_whole_pull(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = missed(smooth())
    monkeypatch.setattr(quantile_lines, "_LIGHTER", 1.0)
    assert chosen < 0.98 * missed(smooth())


def test_noise_is_foretold_with_the_whole_pull(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = missed(noisy())
    monkeypatch.setattr(quantile_lines, "_LIGHTER", 1.0)
    assert chosen == missed(noisy())
