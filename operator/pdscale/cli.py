"""The command line: one name, one sub-command for each process, and each imports only what it runs.

The router's image has neither kopf nor pydantic, so nothing of theirs may be imported here at the top. What
a router or an emulator is told is parsed by themselves.
"""

import argparse
import asyncio
import dataclasses
import os
import runpy
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Final, NoReturn

from pdscale import __version__
from pdscale.controller.questions import DASHBOARD, INTERRUPTED, QUESTIONS, SHOWS

DELEGATES: Final = {
    "router": (
        "pdscale.router",
        "route requests: in front, beside a decode engine, or as a prefill gate",
    ),
    "emulator": (
        "pdscale.emulator",
        "serve like an engine, timed by a performance profile, without a GPU",
    ),
}
STUDIES: Final = {
    "simulate": ("pdscale.scenarios.command", "replay a trace on simulated pools, without a GPU"),
    "compare": ("pdscale.scenarios.command", "the same trace under several placement and scaling rules"),
    "plan": (
        "pdscale.scenarios.plans.command",
        "profiles and replicas that meet an SLO on a trace with the fewest GPUs",
    ),
    "profile": ("pdscale.scenarios.profiling.command", "measure an engine, and write its profile"),
    "forecast": (
        "pdscale.scenarios.forecasts.command",
        "what load will come, from a Prometheus or a file; nothing needs to be installed",
    ),
    "backtest": (
        "pdscale.scenarios.forecasts.command",
        "what forecasts of that load would have been worth",
    ),
}
VIEWS: Final = {DASHBOARD: ("pdscale.controller.dashboard", SHOWS)}


class _Parser(argparse.ArgumentParser):
    """Says what was wrong and where help is, in two lines and not a page."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\ntry: {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    _check_command(arguments[:1])
    try:
        if arguments and arguments[0] in DELEGATES:
            return _delegate(arguments[0], arguments[1:])
        if arguments and arguments[0] in {**STUDIES, **VIEWS}:
            return _imported(arguments)
        if arguments and arguments[0] in QUESTIONS:
            return _ask(arguments)
        return _own(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def _check_command(first: Sequence[str]) -> None:
    known = ("operator", "crd", *DELEGATES, *STUDIES, *VIEWS, *QUESTIONS)
    for word in first:
        near = get_close_matches(word, known, n=1)
        if word not in known and near:
            parser().error(f"{word!r} is not a command; did you mean {near[0]}?")


def _delegate(command: str, arguments: Sequence[str]) -> int:
    """As ``python -m`` does it: the program reads ``sys.argv`` and ends with ``SystemExit``."""
    sys.argv = [f"pdscale {command}", *arguments]
    runpy.run_module(DELEGATES[command][0], run_name="__main__", alter_sys=True)
    return 0


def _imported(arguments: Sequence[str]) -> int:
    module, _ = {**STUDIES, **VIEWS}[arguments[0]]
    return int(import_module(module).main(arguments))


def _ask(arguments: Sequence[str]) -> int:
    from pdscale.controller.asking import main as ask

    return ask(arguments)


def _own(arguments: Sequence[str]) -> int:
    given = parser().parse_args(arguments)
    if given.command == "crd":
        from pdscale.api.crdgen import rendered

        print(rendered(), end="")
        return 0
    return _operator(given.namespace)


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="pdscale", description="Elastic prefill/decode pools for LLM serving on Kubernetes.")
    top.add_argument("--version", action="version", version=f"pdscale {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    operator = commands.add_parser(
        "operator",
        help="run the operator",
        description="Run the operator until a signal comes. Everything else is set by PDSCALE_* variables: "
        "ROUTER_IMAGE, ROUTER_CLUSTER_ROLE, NAMESPACES, ADMIN_HOST, ADMIN_PORT, LOG_LEVEL, LOG_FORMAT, "
        "KUBECONFIG, SCRAPE_INTERVAL, LEASE, PROMETHEUS_URL, WEBHOOK_CERTIFICATES, WEBHOOK_PORT.",
    )
    operator.add_argument(
        "--namespace",
        action="append",
        default=[],
        metavar="NS",
        help="watch only this namespace; may be repeated (default: PDSCALE_NAMESPACES, or all)",
    )
    for name, (_, what) in {**DELEGATES, **STUDIES, **VIEWS}.items():
        commands.add_parser(name, help=what, add_help=False)
    for name, what in QUESTIONS.items():
        commands.add_parser(name, help=what, add_help=False)
    commands.add_parser("crd", help="print the CustomResourceDefinition, for kubectl apply --server-side")
    return top


def _operator(namespaces: Sequence[str]) -> int:
    from pdscale.settings import InvalidSettings, from_environment
    from pdscale.telemetry import set_up_logs

    try:
        settings = from_environment(os.environ)
    except InvalidSettings as error:
        return _failed(error)
    if namespaces:
        settings = dataclasses.replace(settings, namespaces=tuple(sorted(set(namespaces))))
    set_up_logs(settings.log_level, settings.log_format)

    from pdscale.controller.wiring import CannotStart, run
    from pdscale.kube.errors import KubeError

    try:
        asyncio.run(run(settings))
    except (CannotStart, KubeError) as error:
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    print(f"pdscale: {error}", file=sys.stderr)
    return 1
