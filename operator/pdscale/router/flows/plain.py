"""Requests that are passed to the engine as they are, and what clients are told when that does not work."""

from pdscale.engines.answers import StreamReader, read_json
from pdscale.placement.exchange import Failure
from pdscale.placement.policy import BusyReason
from pdscale.router.flows.tools import Tools
from pdscale.router.hop.inbound import REFUSED_HEADER, Inbound
from pdscale.router.hop.legs import LegFailed
from pdscale.router.hop.outlet import Outlet


async def pass_to_engine(tools: Tools, inbound: Inbound, outlet: Outlet) -> int:
    """Whatever is not a round of a session, unplaced; transfer parameters are still kept from the client."""
    answer = None
    try:
        answer = await tools.legs.open(
            tools.own.url,
            inbound.target,
            method=inbound.method,
            headers=inbound.headers,
            content=inbound.content,
            replay=True,
        )
        if not answer.streams:
            outlet.whole(answer.status, answer.headers, read_json(await answer.whole()).content)
            return answer.status
        reader = StreamReader()
        outlet.begin(answer.status, answer.headers)
        await answer.relay(lambda piece: outlet.write(reader.feed(piece)), outlet)
    except LegFailed as error:
        return lost(outlet, error)
    finally:
        if answer is not None:
            answer.close()
    outlet.write(reader.flush())
    outlet.end()
    return answer.status


def lost(outlet: Outlet, error: LegFailed) -> int:
    """Tell the client of a lost engine, in the head or, too late for that, in the stream."""
    status = 504 if error.failure is Failure.TIMED_OUT else 502
    if outlet.begun:
        outlet.cut(f"the engine was lost while it answered: {error.failure}", status=status)
    else:
        outlet.error(status, f"the engine gave no answer: {error.failure}", kind=error.failure)
    return status


def refuse(outlet: Outlet, reason: BusyReason, *, status: int = 503) -> int:
    """A refusal that another replica may not repeat: the caller is told so by a header."""
    own = f"Retry-After: 1\r\n{REFUSED_HEADER}: {reason}\r\n".encode()
    outlet.error(status, f"this replica takes no such work now: {reason}", kind=reason, own=own)
    return status
