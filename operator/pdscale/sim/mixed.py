"""One iteration of a decode replica that computes prompts beside its streams.

It gives every stream a token and takes the prompts' next chunks in the order of their arrival, as many tokens
as the budget leaves: all of it, or only so much that the streams keep their pace (`Chunking`).
"""

from collections.abc import Sequence

from pdscale.model.units import Seconds
from pdscale.perf.noise import Noise
from pdscale.sim.limits import Chunking, EngineSetup, paced_chunk
from pdscale.sim.request import Request

Chunk = tuple[Request, int]


class Mixed:
    """``chunks`` of the iteration under way, (prompt, tokens); none between two of them."""

    __slots__ = ("_budget", "_engine", "_model", "_noise", "_noisy", "_paced", "_tpot", "chunks")

    def __init__(self, engine: EngineSetup, noise: Noise, *, tpot: Seconds) -> None:
        self.chunks: list[Chunk] = []
        self._engine, self._tpot = engine, tpot
        self._noise, self._noisy = noise, noise.cv > 0
        self._model, self._budget = engine.model, engine.batched_tokens
        self._paced = engine.chunking is Chunking.PACED

    def plan(self, prompts: Sequence[Request], *, batch: int, context: int) -> Seconds:
        """Choose the chunks; how long the iteration takes."""
        left = self._budget - batch
        if self._paced and batch:
            left = self._paced_budget(left, prompts[0].done, batch, context)
        chunks, work = self.chunks, []
        for request in prompts:
            done = request.done
            tokens = min(request.target - done, left)
            chunks.append((request, tokens))
            work.append((tokens, done))
            left -= tokens
            if left <= 0:
                break
        seconds = self._model.iteration_seconds(work, batch=batch, context=context)
        return seconds * self._noise.factor() if self._noisy else seconds

    def take(self) -> list[Chunk]:
        """The iteration is over."""
        chunks, self.chunks = self.chunks, []
        return chunks

    def _paced_budget(self, most: int, done: int, batch: int, context: int) -> int:
        least = min(most, self._engine.least_chunk)
        return paced_chunk(
            self._model, most=most, least=least, done=done, batch=batch, context=context, limit=self._tpot
        )
