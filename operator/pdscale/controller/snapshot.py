"""One object as it is at the start of a tick.

kopf hands a daemon live views that change under running code; a tick must reason about one state. So the
body is copied once, and everything after that looks at the copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from pdscale.api.v1alpha1 import GROUP, KIND, VERSION
from pdscale.kube.events import Subject


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A ServingDeployment as stored: not yet judged, its spec may be anything."""

    body: Mapping[str, Any]

    @classmethod
    def of(cls, view: Mapping[str, Any]) -> Self:
        lean = cls(view).lean().body
        return cls({key: _copied(lean[key]) for key in lean})

    def lean(self) -> Self:
        """Without ``managedFields``, which are half of an object and which nobody here reads."""
        meta = {key: value for key, value in self.body["metadata"].items() if key != "managedFields"}
        return replace(self, body={**self.body, "metadata": meta})

    @property
    def namespace(self) -> str:
        return str(self.body["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.body["metadata"]["uid"])

    @property
    def generation(self) -> int:
        return int(self.body["metadata"]["generation"])

    @property
    def version(self) -> int:
        """Resource versions of one object may be compared since Kubernetes 1.35, and could be before."""
        text = str(self.body["metadata"].get("resourceVersion") or "")
        return int(text) if text.isdecimal() else 0

    @property
    def status(self) -> Mapping[str, Any]:
        return self.body.get("status") or {}

    @property
    def subject(self) -> Subject:
        return Subject(f"{GROUP}/{VERSION}", KIND, self.namespace, self.name, self.uid)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def _copied(value: Any) -> Any:
    """A copy in plain dicts and lists: kopf's views are mappings but not dicts, and do not copy."""
    if isinstance(value, Mapping):
        return {k: _copied(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_copied(v) for v in value]
    return value
