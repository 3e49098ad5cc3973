"""How kopf reaches the API server: as our own client does, and its writes are fenced as ours are."""

from typing import Any

import aiohttp
import kopf

from pdscale.controller.watching import lives_on
from pdscale.kube.client import Fence, configuration
from pdscale.kube.errors import NotLeading
from pdscale.settings import Settings


async def credentials(settings: Settings) -> kopf.ConnectionInfo:
    """The same server and identity that our own client has; asked again when the token is refused."""
    found = await configuration(settings.kubeconfig)
    header = await found.get_api_key_with_prefix("BearerToken")
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert,
        ca_data=found.ca_cert_data,
        insecure=not found.verify_ssl,
        username=found.username or None,
        password=found.password or None,
        scheme="Bearer" if header else None,
        token=header.split(" ", 1)[-1] if header else None,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
    )


def session(found: kopf.ConnectionInfo, fence: Fence | None = None) -> kopf.AiohttpSession:
    """Watches live on in it, and kopf's own writes, the finalizer's, stop with ours. kopf closes it."""

    async def refuse(_: aiohttp.ClientSession, __: Any, call: aiohttp.TraceRequestStartParams) -> None:
        if fence is not None and call.method != "GET" and fence() <= 0:
            raise NotLeading(f"{call.method} {call.url.path}: not sent, the Lease was not renewed in time")

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(refuse)
    made = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context()),
        headers=found.as_http_headers(),
        trace_configs=[trace],
        middlewares=(lives_on,),
    )
    return kopf.AiohttpSession(server=found.server, aiohttp_session=made)
