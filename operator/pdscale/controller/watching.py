"""How kopf's watch goes on where an API server answers to it what kopf does not expect.

kopf (1.45) survives connections that fail, 429, and an ``ERROR`` event of code 410. A *status* of 410 or 404,
an ``ERROR`` event of another code or a line that is no JSON end its watching task, and so do 403 and 5xx once
its back-offs are used up; with that task ends the whole operator. The Deployment starts another, but every
time after a longer pause, and nobody looks at the pools meanwhile. So, in the session that kopf is given:

- A refused watch is asked for at once without its resource version, be that too old (410) or of a history
  that a restored etcd does not know (504). The API server begins such a watch with every object that there is
  ("get state and start at most recent" in Kubernetes' *API concepts*), so nothing is missed.
- Every other refusal that would end the task is to kopf a connection that failed: it asks again, and, by
  ``handlers.configure``, without end. A page of a list that is too old is a list that broke off, and is
  asked for anew.

What the stream itself says is left to kopf: an error in it of another code does end the process.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
from aiohttp import ClientRequest, ClientResponse

from pdscale.api.v1alpha1 import PLURAL

GONE: Final = 410
SURVIVED: Final = (401, 403, 429)  # kopf logs in again, or asks again


async def lives_on(
    request: ClientRequest, handler: Callable[[ClientRequest], Awaitable[ClientResponse]]
) -> ClientResponse:
    """A middleware of the session that kopf lists and watches with."""
    answer = await handler(request)
    if request.method != "GET" or not request.url.path.endswith(f"/{PLURAL}"):
        return answer
    if _refused(answer) and "resourceVersion" in request.url.query:
        answer.release()
        request.url = request.url.without_query_params("resourceVersion")
        answer = await handler(request)
    if not _refused(answer) or answer.status >= 500:
        return answer
    answer.release()
    said = f"{request.url.path}: answered {answer.status}"
    if answer.status == GONE and "continue" in request.url.query:
        raise aiohttp.ClientPayloadError(said)
    raise aiohttp.ClientConnectionError(said)


def _refused(answer: ClientResponse) -> bool:
    return answer.status >= 400 and answer.status not in SURVIVED
