"""Roles, bounds, targets, and what is known of a pool's pods."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    PREFILL = "prefill"
    DECODE = "decode"

    @property
    def other(self) -> "Role":
        return Role.DECODE if self is Role.PREFILL else Role.PREFILL


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least and most replicas that a pool may have."""

    least: int
    most: int

    def __post_init__(self) -> None:
        if self.least < 0:
            raise ValueError(f"minReplicas must be at least 0, got {self.least}")
        if self.most < self.least:
            raise ValueError(f"maxReplicas must be at least minReplicas ({self.least}), got {self.most}")

    def clamp(self, replicas: int) -> int:
        return min(max(replicas, self.least), self.most)


@dataclass(frozen=True, slots=True)
class Targets:
    """Replicas of both pools."""

    prefill: int
    decode: int

    def __post_init__(self) -> None:
        if self.prefill < 0 or self.decode < 0:
            raise ValueError(f"targets must be at least 0, got {self.prefill}P+{self.decode}D")

    def of(self, role: Role) -> int:
        return self.prefill if role is Role.PREFILL else self.decode

    def __str__(self) -> str:
        return f"{self.prefill}P+{self.decode}D"


@dataclass(frozen=True, slots=True)
class GpusPerReplica:
    """What one replica of each role holds."""

    prefill: int
    decode: int

    def __post_init__(self) -> None:
        for role in Role:
            if self.of(role) < 1:
                raise ValueError(f"{role}.gpusPerReplica must be at least 1, got {self.of(role)}")

    def of(self, role: Role) -> int:
        return self.prefill if role is Role.PREFILL else self.decode

    def held_by(self, targets: Targets) -> int:
        return self.prefill * targets.prefill + self.decode * targets.decode


@dataclass(frozen=True, slots=True)
class PoolState:
    """Pods of one pool as seen at one instant.

    ``desired`` is what the Deployment's scale says; the others count pods. ``starting`` pods are
    bound to a node but not ready, ``unschedulable`` ones found no room, ``terminating`` ones still
    hold their GPUs.
    """

    desired: int
    ready: int = 0
    starting: int = 0
    unschedulable: int = 0
    terminating: int = 0

    @property
    def holding(self) -> int:
        """Pods that hold GPUs, or will as soon as the scheduler finds them."""
        return max(self.desired, self.ready + self.starting + self.unschedulable) + self.terminating
