"""A Llama-shaped stack of layers with random bf16 weights and a KV cache, in plain PyTorch.

One call is one forward pass over several parts (see `sweeps`): all their tokens go through the linear
layers together, as engines batch them; attention is taken part by part. What is left out: sampling,
paging (a part's cache is contiguous), tensor parallelism. The cache holds no number that was computed; no
time depends on it.

Grouped queries are given to ``scaled_dot_product_attention`` without a copy of keys: key heads are its
batch. One new token: the group's queries become one query of so many rows, which needs no mask. Several:
keys are expanded over the group with a stride of 0, and the mask is causal from the lower right, since
the newest token sees all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu

from benchmarks.gpu.shape import Shape
from benchmarks.gpu.sweeps import Part

Tensor = torch.Tensor
_SCALE = 0.02  # of weights, so that activations neither vanish nor overflow


@dataclass(frozen=True, slots=True)
class Layer:
    """``qkv`` and ``gate_up`` are fused, as engines have them."""

    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values of one part in one layer: (batch, kv heads, tokens, head size)."""

    keys: Tensor
    values: Tensor


class Stack:
    """``count`` layers and the head of ``shape``."""

    def __init__(self, shape: Shape, count: int, *, device: str, dtype: torch.dtype) -> None:
        self.shape, self.device, self.dtype = shape, device, dtype
        heads = shape.heads + 2 * shape.kv_heads
        self.layers = [
            Layer(
                self._random(heads * shape.head_size, shape.hidden),
                self._random(shape.hidden, shape.heads * shape.head_size),
                self._random(2 * shape.feed_forward, shape.hidden),
                self._random(shape.hidden, shape.feed_forward),
            )
            for _ in range(count)
        ]
        self.embedding = self._random(shape.vocabulary, shape.hidden)
        self.unembedding = self._random(shape.vocabulary, shape.hidden)

    def _random(self, *size: int) -> Tensor:
        return torch.randn(*size, device=self.device, dtype=self.dtype).mul_(_SCALE)

    def caches(self, parts: Sequence[Part]) -> list[list[Cache]]:
        """Per layer, per part; room for the new tokens too."""
        return [[self._cache(part) for part in parts] for _ in self.layers]

    def _cache(self, part: Part) -> Cache:
        size = (part.batch, self.shape.kv_heads, part.history + part.new, self.shape.head_size)
        return Cache(self._random(*size), self._random(*size))

    def tokens(self, parts: Sequence[Part]) -> Tensor:
        """One id for each new token, part after part."""
        count = sum(part.batch * part.new for part in parts)
        return torch.randint(self.shape.vocabulary, (count,), device=self.device)

    def hidden(self, parts: Sequence[Part]) -> Tensor:
        """What layers are given: a row for each new token."""
        return self._random(sum(part.batch * part.new for part in parts), self.shape.hidden)

    def rotation(self, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
        """Cosines and sines (tokens, 1, half a head) of rotary embeddings at the new tokens' positions."""
        places = [
            torch.arange(part.history, part.history + part.new, device=self.device).repeat(part.batch)
            for part in parts
        ]
        half = self.shape.head_size // 2
        rates = 500_000.0 ** (-torch.arange(half, device=self.device, dtype=torch.float32) / half)
        angles = (torch.cat(places).float()[:, None] * rates)[:, None, :]
        return angles.cos().to(self.dtype), angles.sin().to(self.dtype)

    def through(
        self,
        x: Tensor,
        parts: Sequence[Part],
        caches: Sequence[Sequence[Cache]],
        rotation: tuple[Tensor, Tensor],
    ) -> Tensor:
        """All layers, with the new tokens' keys and values written behind each part's history."""
        for layer, own in zip(self.layers, caches, strict=True):
            x = x + linear(self._attention(_normed(x), layer, parts, own, rotation), layer.out)
            gate, up = linear(_normed(x), layer.gate_up).chunk(2, dim=-1)
            x = x + linear(silu(gate) * up, layer.down)
        return x

    def embedded(self, tokens: Tensor) -> Tensor:
        return self.embedding[tokens]

    def head(self, x: Tensor, parts: Sequence[Part]) -> Tensor:
        """Logits of each sequence's last token."""
        ends, at = [], 0
        for part in parts:
            rows = x[at : at + part.batch * part.new].view(part.batch, part.new, -1)
            ends.append(rows[:, -1])
            at += part.batch * part.new
        return linear(_normed(torch.cat(ends)), self.unembedding)

    def _attention(
        self,
        x: Tensor,
        layer: Layer,
        parts: Sequence[Part],
        caches: Sequence[Cache],
        rotation: tuple[Tensor, Tensor],
    ) -> Tensor:
        s = self.shape
        rows = linear(x, layer.qkv).view(-1, s.heads + 2 * s.kv_heads, s.head_size)
        queries, keys, values = rows.split([s.heads, s.kv_heads, s.kv_heads], dim=1)
        queries, keys = _rotated(queries, rotation), _rotated(keys, rotation)
        out, at = [], 0
        for part, cache in zip(parts, caches, strict=True):
            here = slice(at, at + part.batch * part.new)
            _append(cache, part, keys[here], values[here])
            out.append(attended(queries[here], cache, part, s.kv_heads))
            at = here.stop
        return torch.cat(out)


def attended(queries: Tensor, cache: Cache, part: Part, kv_heads: int) -> Tensor:
    """(tokens, heads, head size) against a part's cache -> (tokens, heads x head size)."""
    size = queries.shape[-1]
    group = queries.shape[1] // kv_heads
    rows = queries.view(part.batch, part.new, kv_heads, group, size)
    folded = part.batch * kv_heads
    keys, values = (kv.view(folded, 1, -1, size) for kv in (cache.keys, cache.values))
    if part.new == 1:
        asked = rows.reshape(folded, 1, group, size)
        found = scaled_dot_product_attention(asked, keys, values)
        return found.reshape(part.batch, -1)
    asked = rows.permute(0, 2, 3, 1, 4).reshape(folded, group, part.new, size)
    keys, values = (kv.expand(-1, group, -1, -1) for kv in (keys, values))
    mask = causal_lower_right(part.new, part.history + part.new)
    found = scaled_dot_product_attention(asked, keys, values, attn_mask=mask)
    found = found.view(part.batch, kv_heads, group, part.new, size).permute(0, 3, 1, 2, 4)
    return found.reshape(part.batch * part.new, -1)


def _append(cache: Cache, part: Part, keys: Tensor, values: Tensor) -> None:
    for kv, new in ((cache.keys, keys), (cache.values, values)):
        kv[:, :, part.history :] = new.view(part.batch, part.new, *new.shape[1:]).transpose(1, 2)


def _normed(x: Tensor) -> Tensor:
    return rms_norm(x, (x.shape[-1],))


def _rotated(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosines, sines = rotation
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cosines - right * sines, right * cosines + left * sines), dim=-1)
