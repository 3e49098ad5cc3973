"""What a table of times does not say about its engine: memory, network and the limits of a pass."""

from dataclasses import dataclass

from pdscale.model.units import Seconds, Tokens
from pdscale.perf.profile import Profile


@dataclass(frozen=True, slots=True)
class Engine:
    """One replica apart from its times. ``kv_capacity`` in tokens, ``transfer_bandwidth`` in bytes/s."""

    name: str
    kv_capacity: Tokens
    kv_bytes_per_token: float
    transfer_bandwidth: float
    transfer_fixed: Seconds = 0.005
    max_batched_tokens: int = 8192
    max_sequences: int = 256

    @classmethod
    def of(cls, profile: Profile) -> "Engine":
        """The engine that a profile describes."""
        return cls(
            name=profile.name,
            kv_capacity=profile.kv_capacity,
            kv_bytes_per_token=profile.kv_bytes_per_token,
            transfer_bandwidth=profile.transfer_bandwidth,
            transfer_fixed=profile.transfer_fixed,
            max_batched_tokens=profile.max_batched_tokens,
            max_sequences=profile.max_sequences,
        )

    def transfer_seconds(self, tokens: Tokens) -> Seconds:
        if tokens <= 0:
            return 0.0
        return self.transfer_fixed + tokens * self.kv_bytes_per_token / self.transfer_bandwidth
