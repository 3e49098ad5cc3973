"""``pdscale dashboard``: the operator's page on this machine, by the rights of whoever looks.

Objects are listed through the kubeconfig, so nobody sees more here than ``kubectl get`` shows. What only the
leading operator knows of them is asked of its pod by way of the API server, which takes ``get`` of
``pods/proxy`` in the operator's namespace. Without it, or with the operator outside of the cluster, the page
shows the stored objects and says so.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from aiohttp import web

from pdscale.api.v1alpha1 import GROUP, PLURAL, VERSION
from pdscale.controller.admin import serving
from pdscale.controller.questions import DASHBOARD
from pdscale.controller.view import pages
from pdscale.controller.view.state import Json, state, stored
from pdscale.kube.client import Kube, collection
from pdscale.kube.errors import KubeError

HOST: Final = "127.0.0.1"
OURS: Final = (HOST, "localhost")


@dataclass(frozen=True, slots=True)
class Objects:
    """ServingDeployments of one namespace, or of all; ``operators`` is the operator's own namespace."""

    kube: Kube
    namespace: str | None = None
    operators: str = "pdscale-system"
    port: int = 9090

    async def state(self) -> Json:
        """The page's JSON; raises ``KubeError`` where objects cannot be listed."""
        path = f"/apis/{GROUP}/{VERSION}/{PLURAL}"
        if self.namespace is not None:
            path = collection(f"{GROUP}/{VERSION}", PLURAL, self.namespace)
        bodies = await self.kube.list_items(path)
        known = await self._known(bodies)
        told = [known.get(_key(b["metadata"])) or stored(b) for b in bodies]
        source: Final = "objects" if bodies and not known else "operator"
        return state(told, source=source, at=time.time(), leads=True)

    async def _known(self, bodies: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Json]:
        """What the operators that wrote these objects have in memory, as far as one may ask them."""
        found: dict[tuple[str, str], Json] = {}
        for holder in sorted(
            {((b.get("status") or {}).get("writer") or {}).get("holder", "") for b in bodies}
        ):
            pod = holder.rpartition("_")[0]
            where = f"{quote(pod, safe='')}:{self.port}/proxy{pages.STATE}"
            try:
                if pod:
                    told = await self.kube.get(f"{collection('v1', 'pods', self.operators)}/{where}")
                    found |= {_key(o): o for o in told["objects"]}
            except (KubeError, ValueError):
                pass  # the page says that it shows stored objects
        return found


def _key(named: Mapping[str, Any]) -> tuple[str, str]:
    return named["namespace"], named["name"]


def main(arguments: Sequence[str], *, program: str = "pdscale") -> int:
    given = parser(program).parse_args(arguments[1:])
    try:
        asyncio.run(_serve(given))
    except (KubeError, OSError) as error:
        print(f"{program} {DASHBOARD}: {error}", file=sys.stderr)
        return 1
    return 0


def parser(program: str) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog=f"{program} {DASHBOARD}", description="Serve the operator's page on this machine until Ctrl-C."
    )
    found.add_argument("-n", "--namespace", help="show only this one (default: all)")
    found.add_argument("--kubeconfig", metavar="FILE", help="(default: KUBECONFIG, or ~/.kube/config)")
    found.add_argument("--port", type=int, default=8090, help="of this machine (default: %(default)s)")
    found.add_argument(
        "--operator-namespace", default="pdscale-system", metavar="NS", help="(default: %(default)s)"
    )
    found.add_argument(
        "--operator-port",
        type=int,
        default=9090,
        metavar="PORT",
        help="its admin port (default: %(default)s)",
    )
    return found


async def _serve(given: argparse.Namespace) -> None:
    kube = await Kube.connect(given.kubeconfig)
    try:
        objects = Objects(kube, given.namespace, given.operator_namespace, given.operator_port)
        await objects.state()  # what cannot be listed is said at once, and here
        async with serving(application(objects), host=HOST, port=given.port) as address:
            print(f"{address}/ui (Ctrl-C ends it)", flush=True)
            await asyncio.Event().wait()
    finally:
        await kube.close()


def application(objects: Objects) -> web.Application:
    async def told() -> Json:
        try:
            return await objects.state()
        except KubeError as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from error

    app = web.Application(middlewares=[_only_from_here])
    app.add_routes(pages.routes(told))
    return app


@web.middleware
async def _only_from_here(request: web.Request, handler: Any) -> web.StreamResponse:
    """A foreign page whose name was made to lead to this machine asks under that name: it gets nothing."""
    if urlsplit(f"//{request.host}").hostname not in OURS:
        raise web.HTTPForbidden(text=f"this page is served as {' or '.join(OURS)}, got {request.host}")
    answer: web.StreamResponse = await handler(request)
    return answer
