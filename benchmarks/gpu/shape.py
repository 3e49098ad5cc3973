"""The shape of a Llama model, of which only the first layers are timed.

All layers of such a model do the same work on weights of the same size, so the time of a pass is that of
a few layers times what is left out, plus embedding's and head's own. Nothing else of a pass depends on
the depth.
"""

from dataclasses import dataclass
from typing import Final

_NUMBER: Final = 2  # bytes in bf16


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    layers: int
    vocabulary: int

    @property
    def kv_bytes_of_layer(self) -> int:
        """Keys and values of one token."""
        return 2 * self.kv_heads * self.head_size * _NUMBER

    @property
    def kv_bytes_per_token(self) -> int:
        return self.layers * self.kv_bytes_of_layer

    @property
    def weights_of_layer(self) -> int:
        attention = self.hidden * self.head_size * (2 * self.heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden * self.feed_forward

    @property
    def weight_bytes(self) -> int:
        """8.03e9 numbers, 16 GB, for Llama-3.1-8B: layers, embedding and head."""
        return _NUMBER * (self.layers * self.weights_of_layer + 2 * self.vocabulary * self.hidden)

    def whole(self, layers_seconds: float, head_seconds: float, *, timed: int) -> float:
        """Seconds of all layers and the head, from those of ``timed`` layers."""
        if not 1 <= timed <= self.layers:
            raise ValueError(f"timed layers must be 1 to {self.layers}, got {timed}")
        return layers_seconds * self.layers / timed + head_seconds


LLAMA_8B: Final = Shape(
    name="llama-3.1-8b",
    hidden=4096,
    feed_forward=14336,
    heads=32,
    kv_heads=8,
    head_size=128,
    layers=32,
    vocabulary=128256,
)
