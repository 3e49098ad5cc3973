"""How much one engine holds and takes at a time."""

from dataclasses import dataclass

from pdscale.perf.profile import Profile


@dataclass(frozen=True, slots=True)
class Limits:
    """``answer_length`` is the mean length at which the model ends an answer itself; 0 is never."""

    kv_blocks: int
    block_size: int = 16
    max_batched_tokens: int = 8192
    max_sequences: int = 256
    max_model_len: int = 32768
    by_priority: bool = False
    speed: float = 1.0
    answer_length: int = 256

    def __post_init__(self) -> None:
        for name, least in (
            ("kv_blocks", 1),
            ("block_size", 1),
            ("max_batched_tokens", 1),
            ("max_sequences", 1),
            ("max_model_len", 2),
            ("answer_length", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.speed > 0:
            raise ValueError(f"speed must be above 0, got {self.speed}")
        if self.max_model_len > self.kv_tokens:
            raise ValueError(
                f"max_model_len must be at most the KV capacity of {self.kv_tokens} tokens, so that "
                f"one request always fits, got {self.max_model_len}"
            )

    @property
    def kv_tokens(self) -> int:
        return self.kv_blocks * self.block_size

    @staticmethod
    def of(profile: Profile, *, block_size: int = 16) -> "Limits":
        """The profile's own; a context of at most 32768 tokens."""
        blocks = int(profile.kv_capacity) // block_size
        return Limits(
            kv_blocks=blocks,
            block_size=block_size,
            max_batched_tokens=profile.max_batched_tokens,
            max_sequences=profile.max_sequences,
            max_model_len=min(32768, blocks * block_size),
        )
