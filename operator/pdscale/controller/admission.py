"""Cross-object checks before an object is stored: what would else be told by a condition of the next tick.

Who is there keeps what it scales, and whoever claims it anew is refused: a ServingDeployment, or somebody
else's autoscaler. An edit that claims nothing new always passes, a finalizer's removal included. Two claims
at the same moment do not see each other, and what cannot be looked up is admitted with a warning: the tick
judges again in any case.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError

from pdscale.api.v1alpha1 import KIND
from pdscale.controller.conflicts import Body, claims, with_autoscalers, with_itself, with_objects
from pdscale.kube.errors import KubeError
from pdscale.kube.rivals import AUTOSCALERS, Rivals, Scaled

API_VERSION: Final = "admission.k8s.io/v1"
FORBIDDEN: Final = 403  # not 409: clients take that for a stale resource version, and try again
_AUTOSCALERS: Final = frozenset(kind for _, _, kind in AUTOSCALERS)

Tell = Callable[[str, str], None]  # hears of each review: the object's kind, and what became of it


class NotAReview(ValueError):
    """What was sent is not an AdmissionReview of the one version that we speak."""


class Kind(BaseModel):
    """The kind of the object in question."""

    kind: str


class Request(BaseModel):
    """What is asked, as far as we read it. ``old`` is absent for an object that is new."""

    uid: str
    kind: Kind
    namespace: str
    name: str = ""
    new: dict[str, Any] = Field(alias="object")
    old: dict[str, Any] | None = Field(default=None, alias="oldObject")


class Review(BaseModel):
    """An AdmissionReview that asks."""

    version: Literal["admission.k8s.io/v1"] = Field(alias="apiVersion")
    request: Request


@dataclass(frozen=True, slots=True)
class Admission:
    """Answers AdmissionReviews. Every process may: nothing is written, and nothing remembered."""

    rivals: Rivals
    tell: Tell = lambda kind, verdict: None

    async def review(self, asked: bytes) -> dict[str, Any]:
        """The AdmissionReview that answers the JSON in ``asked``; raises ``NotAReview``."""
        try:
            request = Review.model_validate_json(asked).request
        except ValidationError as error:
            raise NotAReview(f"the body must be an AdmissionReview of {API_VERSION}: {error}") from None
        warnings: list[str] = []
        try:
            refusal = await self._refusal(request)
        except KubeError as error:
            refusal = ""
            warnings.append(f"pdscale could not look for who else scales this, and will again: {error}")
        self.tell(request.kind.kind, "refused" if refusal else "unknown" if warnings else "admitted")
        answer: dict[str, Any] = {"uid": request.uid, "allowed": not refusal, "warnings": warnings}
        if refusal:
            answer["status"] = {"code": FORBIDDEN, "message": refusal}
        return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": answer}

    async def _refusal(self, asked: Request) -> str:
        """Why the object must not be stored; empty if it may."""
        if asked.new["metadata"].get("deletionTimestamp"):
            return ""
        if asked.kind.kind == KIND:
            return await self._of_serving(asked)
        return await self._of_autoscaler(asked) if asked.kind.kind in _AUTOSCALERS else ""

    async def _of_serving(self, asked: Request) -> str:
        before = set(claims(asked.old).values()) if asked.old else set[Scaled]()
        mine = {role: scaled for role, scaled in claims(asked.new).items() if scaled not in before}
        if not mine:
            return ""
        uid, others = asked.new["metadata"].get("uid"), await self.rivals.all_objects(asked.namespace)
        told = [
            *with_autoscalers(mine, await self.rivals.all_autoscalers(asked.namespace)),
            *with_itself(claims(asked.new)),
            *with_objects(mine, others, keeps=lambda other, _: other["metadata"].get("uid") != uid),
        ]
        return "; ".join(told)

    async def _of_autoscaler(self, asked: Request) -> str:
        scaled = _target(asked.new)
        if scaled is None or scaled == _target(asked.old or {}):
            return ""
        for other in await self.rivals.all_objects(asked.namespace):
            for role, theirs in claims(other).items():
                if theirs == scaled:
                    owner = f"{role} of {KIND} {other['metadata']['name']}"
                    return (
                        f"scaleTargetRef must be what nobody else scales, got {scaled}, which is {owner}: "
                        "delete that, or set its scaling.mode to Recommend"
                    )
        return ""


def _target(autoscaler: Body) -> Scaled | None:
    ref = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    return Scaled.of(ref) if ref.get("name") else None
