"""Commands of people about one object: explain, approve, take. Also as ``kubectl pdscale``.

Each needs what its verb says and nothing else: ``get`` to explain, ``patch`` of the object to approve or
take. The operator itself is not spoken to: it may be anywhere, or down.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from kubernetes.aio.config import ConfigException, list_kube_config_contexts

from pdscale.api.v1alpha1 import GROUP, PLURAL, VERSION
from pdscale.controller.explain import explained
from pdscale.controller.explain_text import text
from pdscale.controller.questions import DASHBOARD, INTERRUPTED, QUESTIONS, SHOWS
from pdscale.controller.say import APPROVE, TAKE
from pdscale.kube.client import Kube, Object, collection
from pdscale.kube.errors import KubeError, NotFound

MANAGER: Final = "pdscale-cli"
PLUGIN: Final = "kubectl pdscale"


class Refused(Exception):
    """What was asked for makes no sense for the object as it is."""


def plugin() -> int:
    """``kubectl-pdscale`` on the path is ``kubectl pdscale``: these, and the dashboard."""
    arguments = sys.argv[1:]
    if arguments[:1] != [DASHBOARD]:
        return main(arguments, program=PLUGIN)
    from pdscale.controller.dashboard import main as show  # a web server, which no answer here needs

    try:
        return show(arguments, program=PLUGIN)
    except KeyboardInterrupt:
        return INTERRUPTED


def main(arguments: Sequence[str], *, program: str = "pdscale") -> int:
    given = parser(program).parse_args(arguments)
    try:
        told = asyncio.run(answer(given))
    except (Refused, KubeError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    print(told, end="")
    return 0


def parser(program: str) -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog=program)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in QUESTIONS.items():
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        command.add_argument("name", metavar="NAME", help="the ServingDeployment")
        command.add_argument("-n", "--namespace", help="its namespace (default: the kubeconfig's)")
        command.add_argument("--kubeconfig", metavar="FILE", help="(default: KUBECONFIG, or ~/.kube/config)")
        if name == "explain":
            command.add_argument("-o", "--output", choices=("text", "json"), default="text")
        if name == "approve":
            command.add_argument("--proposal", metavar="ID", help="only this one (default: what is proposed)")
    commands.add_parser(DASHBOARD, help=SHOWS, add_help=False)
    return top


async def answer(given: argparse.Namespace) -> str:
    """What is printed; raises ``Refused`` or ``KubeError``."""
    namespace = given.namespace or _namespace(given.kubeconfig)
    path = collection(f"{GROUP}/{VERSION}", PLURAL, namespace, given.name)
    kube = await Kube.connect(given.kubeconfig)
    try:
        try:
            body = await kube.get(path)
        except NotFound as error:
            raise Refused(f"no ServingDeployment {given.name} in namespace {namespace}") from error
        match given.command:
            case "approve":
                return await _approve(kube, path, body, given.proposal)
            case "take":
                return await _take(kube, path, body)
            case _:
                parts = explained(body)
                return text(parts) if given.output == "text" else json.dumps(parts, indent=2) + "\n"
    finally:
        await kube.close()


async def _approve(kube: Kube, path: str, body: Object, wanted: str | None) -> str:
    proposal = (body.get("status") or {}).get("proposal")
    if proposal is None:
        mode = (body["spec"].get("scaling") or {}).get("mode", "Auto")
        raise Refused(f"nothing is proposed for {body['metadata']['name']}; scaling.mode is {mode}")
    if wanted not in (None, proposal["id"]):
        raise Refused(f"proposal {wanted} does not wait; {proposal['id']} does")
    await _annotate(kube, path, APPROVE, proposal["id"])
    return (
        f"approved {proposal['id']}: {proposal['prefill']} prefill and {proposal['decode']} decode replicas\n"
    )


async def _take(kube: Kube, path: str, body: Object) -> str:
    value = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    await _annotate(kube, path, TAKE, value)
    return f"asked the operator to take the replicas of {body['metadata']['name']}\n"


async def _annotate(kube: Kube, path: str, name: str, value: str) -> None:
    await kube.merge(path, {"metadata": {"annotations": {name: value}}}, manager=MANAGER)


def _namespace(kubeconfig: str | None) -> str:
    """That of the kubeconfig's current context, as kubectl takes it."""
    try:
        _, current = list_kube_config_contexts(kubeconfig)  # type: ignore[no-untyped-call]
    except ConfigException:
        return "default"
    return str(current["context"].get("namespace") or "default")
