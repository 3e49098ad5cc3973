"""A prefill leg on another replica: sent to its gate, read whole, judged.

There is one deadline for all of it, since a leg that hangs costs the client its first token; whatever
becomes of it, the round goes on elsewhere.
"""

from dataclasses import dataclass
from typing import Final

import orjson

from pdscale.engines.answers import handed_out
from pdscale.engines.dialects import Body, usable_for_decode
from pdscale.model.units import Tokens
from pdscale.placement import exchange as x
from pdscale.placement.exchange import Failure
from pdscale.router.fleet.loads import LOAD_HEADER, hear
from pdscale.router.fleet.peers import Peer
from pdscale.router.flows.tools import Tools
from pdscale.router.hop.inbound import HISTORY_HEADER, LEG_HEADER, PREFILL_LEG, TOKENS_HEADER, Inbound
from pdscale.router.hop.legs import Answer, LegFailed, failure_of

_LEG: Final = LEG_HEADER.encode()
_PREFILL: Final = PREFILL_LEG.encode()
_TOKENS: Final = TOKENS_HEADER.encode()
_HISTORY: Final = HISTORY_HEADER.encode()


@dataclass(frozen=True, slots=True)
class Prefilled:
    """A prefill leg's answer, good or bad, read to its end."""

    answer: Answer
    content: bytes


async def prefill(
    tools: Tools, inbound: Inbound, leg: Body, *, endpoint: str, new_tokens: Tokens, history: Tokens
) -> x.PrefillDone | x.PrefillFailed:
    peer = tools.roster.peer(endpoint)
    if peer is None:
        return x.PrefillFailed(Failure.UNREACHABLE)
    content = orjson.dumps(leg)
    found = await ask_gate(tools, inbound, content, peer=peer, new_tokens=new_tokens, history=history)
    if isinstance(found, Failure):
        return x.PrefillFailed(found)
    failure = failure_of(found.answer.status)
    if failure is not None:
        return x.PrefillFailed(failure)
    params = handed_out(found.content)
    if params is None or not usable_for_decode(params):
        return x.PrefillFailed(Failure.NO_PARAMS)
    return x.PrefillDone(params)


async def ask_gate(
    tools: Tools,
    inbound: Inbound,
    content: bytes,
    *,
    peer: Peer,
    new_tokens: Tokens,
    history: Tokens = 0.0,
) -> Prefilled | Failure:
    """Send a leg as it is, and note what the replica tells of itself. ``history`` moves along with it."""
    lengths = (_TOKENS, round(new_tokens), _HISTORY, round(history))
    marks = b"%b: %b\r\n%b: %d\r\n%b: %d\r\n" % (_LEG, _PREFILL, *lengths)
    try:
        answer = await tools.legs.open(
            peer.url,
            inbound.target,
            method="POST",
            headers=inbound.headers + marks,
            content=content,
            within=tools.prefill_timeout,
        )
        try:
            whole = await answer.whole()
        finally:
            answer.close()
    except LegFailed as error:
        if error.failure is Failure.UNREACHABLE:
            tools.roster.suspect(peer.endpoint.name, now=tools.clock())
        return error.failure
    told = answer.header(LOAD_HEADER)
    if told is not None:
        hear(tools.roster, peer.endpoint.name, told, now=tools.clock())
    return Prefilled(answer, whole)
