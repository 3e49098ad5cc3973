"""The time that KV takes from one vLLM to another, from the outside.

A prompt is prefilled by one engine and handed to the other with the router's own words, for one token.
That takes the transfer, a pass over one block, and HTTP. The same prompt once more, now in the second
engine's prefix cache, takes all of that but the transfer. The difference is what a router's client waits
for: side-channel handshakes and scheduling between both are in it, and a first transfer between two
engines is not counted.
"""

from typing import Final

from pdscale.engines.vllm import VLLM, usable_for_decode
from pdscale.model.quantiles import quantile
from pdscale.model.units import Seconds
from pdscale.perf.measurements import TransferPoint
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.profiling.client import Engine
from pdscale.scenarios.profiling.meeting import Subject
from pdscale.scenarios.profiling.prompts import Prompts

_PARAMS: Final = "kv_transfer_params"
_SHARES: Final = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
_MOST: Final = 16384  # tokens


def sizes(longest: int) -> list[int]:
    """Tokens of the prompts that are moved."""
    return [max(1, int(share * min(longest, _MOST))) for share in _SHARES]


async def transfers(
    prefill: Engine, decode: Engine, subject: Subject, prompts: Prompts, *, repeats: int
) -> list[TransferPoint]:
    """A point per size, of the repeat with the median time; the first transfer of all opens connections."""
    if not subject.bounds.remembers:
        raise InvalidScenario("--prefill-url: needs engines with a prefix cache that report cached tokens")
    lengths = sizes(subject.bounds.prompt)
    await _moved(prefill, decode, subject, prompts.words(subject.scale.words(lengths[0])))
    points = []
    for tokens in lengths:
        words = subject.scale.words(tokens)
        found = [await _moved(prefill, decode, subject, prompts.words(words)) for _ in range(repeats)]
        seconds = quantile(sorted(s for _, s in found), 0.5)
        if seconds > 0:
            size = found[0][0] * subject.described.kv_bytes_per_token
            points.append(TransferPoint(size, seconds))
    return points


async def _moved(prefill: Engine, decode: Engine, subject: Subject, prompt: str) -> tuple[int, Seconds]:
    """Tokens of the prompt, and how much longer it takes to fetch their KV than to have it."""
    vllm, dialect = VLLM(), subject.dialect
    body = dict(dialect.body(prompt, tokens=1))
    leg = await prefill.whole(dialect.path, vllm.prefill_leg(body, None))
    params = leg.body.get(_PARAMS)
    if not isinstance(params, dict) or not usable_for_decode(params):
        raise InvalidScenario(
            f"--prefill-url: {prefill.url} hands out no {_PARAMS}; start it with a --kv-transfer-config"
        )
    remote = await decode.whole(dialect.path, vllm.decode_leg(body, params))
    local = await decode.whole(dialect.path, body)
    return leg.prompt, remote.seconds - local.seconds
