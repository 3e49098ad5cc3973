"""The two writes that a node makes to a pod: its status, and its end."""

import asyncio
import logging
from typing import Final

from pdscale_e2e.nodes.client import STRATEGIC, Client, Json, Refused, Unreachable

# Gone, or another pod of the same name: either way no longer ours to write to.
_NOT_OURS: Final = (404, 409)
_RETRY_AFTER: Final = 0.5
_log = logging.getLogger(__name__)


class PodApi:
    """Writes for the pods of all nodes; few at a time, so that thousands do not become a flood."""

    def __init__(self, client: Client, at_once: int = 32) -> None:
        self._client = client
        self._turns = asyncio.Semaphore(at_once)

    async def report(self, pod: Json, status: Json) -> bool:
        """Write the status; tries until it is written, or until the pod is no more (``False``)."""
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        while True:
            try:
                async with self._turns:
                    await self._client.patch(f"{_path(pod)}/status", body, STRATEGIC)
                return True
            except Refused as error:
                if error.status in _NOT_OURS:
                    return False
                _log.warning("status of pod %s: %s", name_of(pod), error)
            except Unreachable as error:
                _log.info("status of pod %s: %s", name_of(pod), error)
            await asyncio.sleep(_RETRY_AFTER)

    async def remove(self, pod: Json) -> None:
        """Let the object go, now that nothing of the pod is left."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": pod["metadata"]["uid"]},
        }
        while True:
            try:
                async with self._turns:
                    await self._client.delete(_path(pod), options)
                return
            except Refused as error:
                if error.status in _NOT_OURS:
                    return
                _log.warning("removal of pod %s: %s", name_of(pod), error)
            except Unreachable as error:
                _log.info("removal of pod %s: %s", name_of(pod), error)
            await asyncio.sleep(_RETRY_AFTER)


def name_of(pod: Json) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _path(pod: Json) -> str:
    metadata = pod["metadata"]
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
