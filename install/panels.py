"""What a dashboard of Grafana is made of: panels in rows of three, and three variables.

What Grafana exports is pages of defaults around a few queries; here only what somebody decided is written.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

_PER_ROW: Final = 3
_WIDTH, _HEIGHT = 8, 8  # of 24 columns
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_STEPS: Final = [{"color": "red", "value": None}, {"color": "green", "value": 1}]
_LOOKS: Final[Mapping[str, Json]] = {
    "timeseries": {"min": 0, "custom": {"fillOpacity": 8, "showPoints": "never", "spanNulls": False}},
    "state-timeline": {"thresholds": {"mode": "absolute", "steps": _STEPS}},
}


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture. ``queries`` maps a legend, where ``{{label}}`` stands for a label's value, to PromQL."""

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    text: str = ""
    kind: str = "timeseries"

    def document(self, number: int) -> Json:
        """As Grafana reads it, in the place of this ``number`` from 0 on."""
        row, column = divmod(number, _PER_ROW)
        targets = [
            {"refId": chr(ord("A") + i), "expr": query, "legendFormat": legend}
            for i, (legend, query) in enumerate(self.queries.items())
        ]
        return {
            "id": number + 1,
            "type": self.kind,
            "title": self.title,
            "description": self.text,
            "datasource": _SOURCE,
            "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
            "fieldConfig": {"defaults": {"unit": self.unit, **_LOOKS[self.kind]}, "overrides": []},
            "targets": targets,
        }


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels; ``name`` is that of its file, and with ``pdscale-`` its address in Grafana."""

    name: str
    title: str
    panels: Sequence[Panel]

    def text(self) -> str:
        document = {
            "uid": f"pdscale-{self.name}",
            "title": f"pdscale / {self.title}",
            "tags": ["pdscale"],
            "schemaVersion": 39,
            "editable": True,
            "refresh": "30s",
            "time": {"from": "now-3h", "to": "now"},
            "templating": {"list": _VARIABLES},
            "panels": [panel.document(number) for number, panel in enumerate(self.panels)],
        }
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _variable(name: str, query: str) -> Json:
    return {"name": name, "type": "query", "datasource": _SOURCE, "query": query, "refresh": 2, "sort": 1}


_VARIABLES: Final = [
    {"name": "datasource", "type": "datasource", "query": "prometheus"},
    _variable("namespace", "label_values(pdscale_operator_desired_replicas, namespace)"),
    _variable("name", 'label_values(pdscale_operator_desired_replicas{namespace="$namespace"}, name)'),
]
