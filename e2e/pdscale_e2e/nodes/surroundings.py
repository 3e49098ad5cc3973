"""What a pod's containers find around them: variables, volumes, address, GPU numbers."""

import logging
from dataclasses import dataclass
from pathlib import Path

from pdscale_e2e.nodes.allotments import Addresses, Devices, gpus_asked_for
from pdscale_e2e.nodes.client import Client, Json, Refused, Unreachable
from pdscale_e2e.nodes.environment import (
    CannotConfigure,
    PodFacts,
    build,
    command_line,
    inherited,
    references,
)
from pdscale_e2e.nodes.launch import Launch
from pdscale_e2e.nodes.podapi import PodApi, name_of
from pdscale_e2e.nodes.volumes import Volumes, fetch

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Host:
    """What a pod gets from its node and its agent. ``service`` is the API's host and port for pods."""

    client: Client
    api: PodApi
    addresses: Addresses
    devices: Devices
    backoff_cap: float
    work: Path
    logs: Path
    service: tuple[str, str]


class Surroundings:
    """Of one pod. Raises ``NothingLeft`` where the node has nothing left to give."""

    def __init__(self, pod: Json, host: Host) -> None:
        spec, uid = pod["spec"], pod["metadata"]["uid"]
        self._host = host
        self._uid = uid
        self._volumes = Volumes(host.client, host.work / uid / "volumes")
        self._gpus: dict[str, list[int]] = {}
        try:
            address = host.addresses.of(uid, pod.get("status", {}).get("podIP"))
            everyone = [*(spec.get("initContainers") or ()), *spec["containers"]]
            for name, count in gpus_asked_for(everyone):
                self._gpus[name] = host.devices.take(uid, count)
        except BaseException:
            self.give_back()
            raise
        self.facts = PodFacts(address, host.addresses.own)

    def give_back(self) -> None:
        """May be called more than once."""
        self._host.addresses.give_back(self._uid)
        self._host.devices.give_back(self._uid)
        self._volumes.remove()

    def follow_labels(self, pod: Json) -> None:
        self._volumes.follow_labels(pod, self.facts)

    async def refresh(self, pod: Json) -> None:
        """Bring ConfigMaps, Secrets and tokens up to date; what cannot be had stays as it was."""
        try:
            await self._volumes.prepare(pod, self.facts)
        except (CannotConfigure, Refused, Unreachable) as error:
            _log.info("volumes of pod %s stay as they are: %s", name_of(pod), error)

    async def launch(self, pod: Json, container: Json) -> Launch:
        """How to start the container now."""
        await self._volumes.prepare(pod, self.facts)
        found = await self._referred_to(pod, container)
        base = {**inherited(), **self._given(pod, container)}
        variables = build(container, pod, self.facts, found=found, base=base)
        scratch = self._host.work / self._uid / "root" / container["name"]
        scratch.mkdir(parents=True, exist_ok=True)
        return Launch(
            argv=command_line(container, variables),
            env=variables,
            cwd=container.get("workingDir") or "/",
            mounts=self._volumes.mounts_of(container),
            scratch=str(scratch),
        )

    async def _referred_to(self, pod: Json, container: Json) -> dict[tuple[str, str], dict[str, str]]:
        namespace = pod["metadata"]["namespace"]
        found = {}
        for reference in references(container):
            kind, name = reference.kind, reference.name
            entries = await fetch(self._host.client, namespace, kind, name)
            if entries is None and not reference.optional:
                raise CannotConfigure(f"{kind} {name!r} not found")
            texts = {key: value.decode(errors="replace") for key, value in (entries or {}).items()}
            found[(kind, name)] = texts
        return found

    def _given(self, pod: Json, container: Json) -> dict[str, str]:
        """Variables that every container gets without asking."""
        host, port = self._host.service
        given = {
            "HOSTNAME": pod["metadata"]["name"],
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
        }
        if gpus := self._gpus.get(container["name"]):
            given["NVIDIA_VISIBLE_DEVICES"] = ",".join(str(n) for n in gpus)
        return given
