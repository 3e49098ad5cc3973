"""How much of a finished round's KV a later prompt is sure to begin with.

A prefill engine that is given a session's parameters pulls ``remote_num_tokens`` tokens of KV into the places
of the new prompt's first tokens, and files them in its prefix cache under that prompt's words. Nobody
compares (vLLM 0.33, ``pull_scheduler.py``; seen on real engines: another answer than one engine alone gives,
and the same wrong answer later to whoever sends that prompt to that engine). The parameters cover the round's
prompt and the answer to it. The prompt comes again; the answer need not: clients edit it, templates drop its
reasoning, and text does not always become the tokens that it was made of.

So what is handed on ends with the prompt, less the ``_GENERATION_PROMPT``: some templates open the answer
with words that they leave out once it is history. It ends with a whole block, since numbers of blocks and of
tokens must match: with more block ids than tokens, engines pair them off wrongly.

How many tokens a block holds is not said. Sizes are powers of two, and a request may hold a few blocks more
than its tokens fill; from ``_FEWEST`` blocks on only one size fits. Shorter histories are computed anew, as
are those of models whose layers keep different histories, and of engines that share one among several.
"""

from collections.abc import Mapping
from typing import Any, Final

from pdscale.model.units import Tokens

_GENERATION_PROMPT: Final = 16
_FEWEST: Final = 8
_SPARE: Final = 2  # blocks for tokens that were yet to come
_SIZES: Final = (8, 16, 32, 64, 128, 256)


def only_the_prompt(params: Mapping[str, Any], prompt: Tokens) -> Mapping[str, Any] | None:
    """Parameters for the first whole blocks of ``prompt`` tokens; ``None`` if there is nothing to hand on."""
    tokens, groups = params.get("remote_num_tokens"), params.get("remote_block_ids")
    if not isinstance(tokens, int) or not isinstance(groups, list) or len(groups) != 1:
        return None
    if params.get("dcp_size", 1) != 1 or not isinstance(groups[0], list):
        return None
    size = block_size(tokens, len(groups[0]))
    if size is None:
        return None
    kept = int(min(prompt - _GENERATION_PROMPT, tokens) // size)
    if kept < 1:
        return None
    return {**params, "remote_num_tokens": kept * size, "remote_block_ids": [groups[0][:kept]]}


def block_size(tokens: int, blocks: int) -> int | None:
    """The one size with which so many tokens fill so many blocks; 339 tokens in 11 blocks: 32."""
    if blocks < _FEWEST:
        return None
    fitting = [size for size in _SIZES if blocks - _SPARE <= -(-tokens // size) <= blocks]
    return fitting[0] if len(fitting) == 1 else None
