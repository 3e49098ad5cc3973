"""The chart, rendered by Helm's own library for any values; generators are found in the checkout."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

Json = dict[str, Any]
Render = Callable[..., list[Json]]


@pytest.fixture(scope="session")
def render() -> Render:
    """``render(crds={"manage": True})`` gives all manifests for these values, hooks included."""
    helm_python = pytest.importorskip("helm_python")

    def rendered(**values: Any) -> list[Json]:
        with helm_python.Chart.load(str(ROOT / "charts" / "pdscale")) as chart:
            chart.validate_schema(chart.merge_values(values))
            files = chart.render(values, name="pdscale", namespace="pdscale-system")
        texts = (text for name, text in sorted(files.items()) if name.endswith(".yaml"))
        return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]

    return rendered
