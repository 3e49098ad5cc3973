"""The rules of v1alpha1 about whose pods a role has: the operator's own, or those of a ``scaleTargetRef``.

What describes our own pods is refused where nobody would read it, and what only our own pods need is not
asked of somebody who has none. As in ``rules``, each stands as CEL and as a check with the same message.
"""

from typing import Final, Protocol

from pdscale.api.fields import Rule


class _Engine(Protocol):
    type: str
    image: str | None


class _Ref(Protocol):
    kind: str
    name: str


class _Pool(Protocol):
    pod_template: object | None
    scale_target_ref: _Ref | None


class _Router(Protocol):
    replicas: int


class _Spec(Protocol):
    engine: _Engine
    prefill: _Pool
    decode: _Pool
    router: _Router


_BOTH_ARE_TARGETS: Final = "has(self.prefill.scaleTargetRef) && has(self.decode.scaleTargetRef)"


def _both_are_targets(s: _Spec) -> bool:
    return s.prefill.scale_target_ref is not None and s.decode.scale_target_ref is not None


def _needs_image(s: _Spec) -> str | None:
    if s.engine.type == "Emulated" or s.engine.image is not None or _both_are_targets(s):
        return None
    return f"engine.image is required for engine.type {s.engine.type}, got none"


ENGINE_NEEDS_IMAGE: Final = Rule(
    cel=f"self.engine.type == 'Emulated' || has(self.engine.image) || ({_BOTH_ARE_TARGETS})",
    says="'engine.image is required for engine.type ' + self.engine.type + ', got none'",
    check=_needs_image,
    field="engine.image",
)


def _router_needs_one(s: _Spec) -> str | None:
    if s.router.replicas >= 1 or _both_are_targets(s):
        return None
    return "router.replicas must be at least 1 unless both roles have a scaleTargetRef, got 0"


# Somebody else's pods may have somebody else's router in front of them; ours are reached through ours only.
ROUTER_NEEDS_ONE: Final = Rule(
    cel=f"self.router.replicas >= 1 || ({_BOTH_ARE_TARGETS})",
    says="'router.replicas must be at least 1 unless both roles have a scaleTargetRef, got %d'"
    ".format([self.router.replicas])",
    check=_router_needs_one,
    field="router.replicas",
)


def _targets_differ(s: _Spec) -> str | None:
    prefill, decode = s.prefill.scale_target_ref, s.decode.scale_target_ref
    if prefill is None or decode is None or (prefill.kind, prefill.name) != (decode.kind, decode.name):
        return None
    found = f"{decode.kind} {decode.name}"
    return f"decode.scaleTargetRef must differ from prefill.scaleTargetRef, got {found} twice"


# The version is left aside: one object may be served in several.
TARGETS_DIFFER: Final = Rule(
    cel=f"!({_BOTH_ARE_TARGETS}) || self.prefill.scaleTargetRef.kind != self.decode.scaleTargetRef.kind"
    " || self.prefill.scaleTargetRef.name != self.decode.scaleTargetRef.name",
    says="'decode.scaleTargetRef must differ from prefill.scaleTargetRef, got ' "
    "+ self.decode.scaleTargetRef.kind + ' ' + self.decode.scaleTargetRef.name + ' twice'",
    check=_targets_differ,
    field="decode.scaleTargetRef",
)


def _pod_template_or_target(p: _Pool) -> str | None:
    if p.pod_template is None or p.scale_target_ref is None:
        return None
    return "podTemplate must be absent where scaleTargetRef names somebody else's pods, got both"


POD_TEMPLATE_OR_TARGET: Final = Rule(
    cel="!has(self.podTemplate) || !has(self.scaleTargetRef)",
    says="'podTemplate must be absent where scaleTargetRef names somebody else\\'s pods, got both'",
    check=_pod_template_or_target,
    field="podTemplate",
)
