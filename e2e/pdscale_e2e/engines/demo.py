"""``make demo ENGINE=vllm``: real engines on a CPU, a dozen live sessions, and a decode pool that grows.

Times are those of a tiny model on a busy CPU and say nothing about GPUs; all the rest is the real thing.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from rich.console import Console

from pdscale.model.units import parse_duration
from pdscale_e2e.cluster import ClusterUnavailable
from pdscale_e2e.demo.report import Facts, Run, rows, write
from pdscale_e2e.demo.stage import Stage
from pdscale_e2e.demo.view import Voice, table
from pdscale_e2e.demo.watch import Watcher
from pdscale_e2e.engines.command import NoEngine, find_vllm
from pdscale_e2e.engines.figures import figures
from pdscale_e2e.engines.patience import patient
from pdscale_e2e.engines.stage import RealDeployment, real_deployment
from pdscale_e2e.engines.talk import CHAT, Conversation, read_answer
from pdscale_e2e.engines.talk import Client as Asking
from pdscale_e2e.engines.weights import with_weights
from pdscale_e2e.replay.client import Outcome
from pdscale_e2e.replay.run import Replay

NAME = "elastic"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo ENGINE=vllm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=150, help="length of the traffic (default 150)")
    parser.add_argument("--sessions", type=int, default=12, help="sessions at a time (default 12)")
    parser.add_argument("--report", type=Path, default=Path("build/demo/engines.html"), help="where it goes")
    args = parser.parse_args(argv)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    say = Voice(console)
    try:
        with TemporaryDirectory() as model, TemporaryDirectory() as launcher:
            vllm = patient(with_weights(find_vllm(), Path(model)), Path(launcher))
            say("starting a cluster, the operator, and two real engines (a minute or two)")
            scaling = {"mode": "Auto", "interval": "3s", "scaleDownWindow": "15s"}
            forecast = {"history": "2m", "step": "2s"}
            # Both ways through the engines are to be seen; by costs, so short prompts would all stay local.
            router = {"placement": "Threshold", "thresholdTokens": 250}
            parts: dict[str, dict[str, Any]] = {"scaling": scaling, "forecast": forecast, "router": router}
            with real_deployment(vllm, NAME, **parts) as deployment:
                run, facts = asyncio.run(_play(console, say, deployment, args))
                _tell_of_engines(say, deployment)
    except (NoEngine, ClusterUnavailable) as error:
        console.print(f"demo: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    write(args.report, [run], facts)
    for measure, cells in rows([run], facts):
        console.print(f"{measure:34}{cells[run.name]}", markup=False)
    say(f"report: {args.report}")
    for outcome in run.replay.failed[:5]:
        console.print(f"failed at {outcome.at:.1f}s: {outcome.error}", style="red", markup=False)
    return 1 if run.replay.failed else 0


@dataclass(slots=True)
class Live:
    """Sessions of four to eight rounds, one after another; ``book`` keeps what became of each round."""

    book: Replay
    started: float
    seconds: float

    async def session(self, number: int) -> None:
        chance, count = random.Random(number), 0
        async with aiohttp.ClientSession() as http:
            while time.monotonic() - self.started < self.seconds:
                count += 1
                talk = Conversation(f"live-{number}-{count}", CHAT, True, chance, 24)
                for _ in range(chance.randint(4, 8)):
                    if not await self._round(Asking(http), talk):
                        break
                    await asyncio.sleep(chance.uniform(0.2, 2.0))  # a person reads

    async def _round(self, asking: Asking, talk: Conversation) -> bool:
        body = talk.next_body(many=random.Random(len(talk.messages)).randint(5, 60))
        self.book.sent += 1
        began = time.monotonic()
        outcome = Outcome(at=began - self.started)
        pieces = []
        try:
            async with asking.open(self.book.url, CHAT, body, session=talk.name) as reply:
                async for line in reply.content:
                    pieces.append(line)
                    if b'"content":"' in line and b'"content":""' not in line:
                        self._note(outcome, began)
            answer = read_answer(reply.status, b"".join(pieces).decode())
            outcome.error = "" if answer.ended_well else f"HTTP {reply.status}: {answer.text[-200:]}"
            talk.heard(answer)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            outcome.error = repr(error)
        self.book.outcomes.append(outcome)
        return not outcome.error

    def _note(self, outcome: Outcome, began: float) -> None:
        """One more token is here."""
        now = time.monotonic() - began
        if outcome.tokens:
            outcome.gaps.append(now - outcome.total)
        else:
            outcome.ttft = now
        outcome.total, outcome.tokens = now, outcome.tokens + 1


async def _play(
    console: Console, say: Voice, deployment: RealDeployment, args: argparse.Namespace
) -> tuple[Run, Facts]:
    spec = deployment.manifest["spec"]
    limits = (parse_duration(spec["slo"]["ttft"]), parse_duration(spec["slo"]["tpot"]))
    book = Replay(url=deployment.url, model=spec["model"])
    objects = deployment.objects
    stage = Stage(deployment.cluster, objects.api, objects.prometheus, [deployment.manifest])
    watcher, started = Watcher(stage, [NAME]), time.monotonic()
    watching = asyncio.create_task(watcher.run(started))
    live = Live(book, started, args.seconds)
    talking = asyncio.gather(*(live.session(number) for number in range(args.sessions)))
    say(f"{args.sessions} sessions; after a third of the time the decode pool is told to have two replicas")
    grown = False
    while not talking.done():
        await asyncio.wait([talking], timeout=10)
        now = time.monotonic() - started
        if not grown and now > args.seconds / 3:
            grown = True
            await asyncio.to_thread(objects.patch, NAME, decode={"minReplicas": 2})
        console.print(table({NAME: book}, watcher.samples, now=now, limits=limits))
    await talking
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    facts = Facts("live sessions on real engines", args.seconds, 0, *limits, 0.95)
    return Run(NAME, book, watcher.samples.get(NAME, [])), facts


def _tell_of_engines(say: Voice, deployment: RealDeployment) -> None:
    """Where each engine's prompt tokens came from, by its own counters."""
    for role in ("prefill", "decode"):
        for pod in deployment.objects.pods(NAME, role):
            tokens: dict[str, Any] = {}
            try:
                found = figures(f"http://{pod.status.pod_ip}:8000")
            except OSError:
                continue  # it has just been started
            for source in ("local_compute", "local_cache_hit", "external_kv_transfer"):
                tokens[source] = int(found.total("vllm:prompt_tokens_by_source_total", source=source))
            told = ", ".join(f"{count} {source}" for source, count in tokens.items())
            say(f"{pod.metadata.name}: prompt tokens {told}")


if __name__ == "__main__":
    sys.exit(main())
