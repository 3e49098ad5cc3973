"""Runs in Dynamo's interpreter, where nothing of ours is installed: one replay a process, JSON lines.

Read first: {"trace": path, "records": path, "prefill": {...}, "decode": {...} (arguments of its mock
engines), "fleet": [p, d], "slo_ms": [ttft, itl], "planner": {...} or null, "samples": {...} or null,
"interval_ms": n or null}. With "planner", Dynamo's own decides, configured so; "samples" are forward passes
that its regressions are given before it begins, as its benchmark would. Without, each tick is written as
{"tick": {...}} and answered by [p, d] or null. Without "interval_ms" nobody decides.

Written last: {"report": {...}, "plan": [[seconds, p, d], ...]}, every target that differs from
what is there, whoever set it. Records of the requests are the simulator's own, a line each.
"""

import json
import os
import sys
from contextlib import ExitStack
from typing import Any, TextIO

Tick = dict[str, Any]


class Counted:
    """A scaling policy, and what it changed."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.plan: list[tuple[float, int, int]] = []

    def start(self) -> None:
        self.policy.start()

    def initial_tick_ms(self) -> float:
        first: float = self.policy.initial_tick_ms()
        return first

    def on_tick(self, tick: Tick) -> Tick:
        said: Tick = self.policy.on_tick(tick)
        there = (tick["non_draining_prefill_count"], tick["non_draining_decode_count"])
        wanted = (said["target_prefill"], said["target_decode"])
        p, d = (a if b is None else b for a, b in zip(there, wanted, strict=True))
        if (p, d) != there:
            self.plan.append((tick["now_ms"] / 1000, p, d))
        return said


class Asked:
    """Whoever listens on the other end of our standard output decides."""

    def __init__(self, interval_ms: float, answer: TextIO) -> None:
        self.interval_ms, self.answer = interval_ms, answer

    def start(self) -> None:
        pass

    def initial_tick_ms(self) -> float:
        return self.interval_ms

    def on_tick(self, tick: Tick) -> Tick:
        print(json.dumps({"tick": tick}), file=self.answer, flush=True)
        targets = json.loads(sys.stdin.readline()) or (None, None)
        return {
            "target_prefill": targets[0],
            "target_decode": targets[1],
            "next_tick_ms": tick["now_ms"] + self.interval_ms,
        }


def main() -> None:
    # The simulator's log goes where ours would: the answer gets a descriptor of its own.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("DYN_LOG", "error")
    given = json.loads(sys.stdin.readline())
    from dynamo._core import (  # type: ignore[import-not-found,unused-ignore]
        MockEngineArgs,
        run_mocker_trace_replay,
    )

    engines = {role: MockEngineArgs.from_json(json.dumps(given[role])) for role in ("prefill", "decode")}
    with ExitStack() as stack:
        policy = None
        if given["planner"] is not None:
            policy = Counted(stack.enter_context(_planner(given, engines)))
        elif given["interval_ms"] is not None:
            policy = Counted(Asked(given["interval_ms"], answer))
        report = run_mocker_trace_replay(
            [given["trace"]],
            prefill_engine_args=engines["prefill"],
            decode_engine_args=engines["decode"],
            num_prefill_workers=given["fleet"][0],
            num_decode_workers=given["fleet"][1],
            trace_block_size=given["block"],
            report_jsonl_path=given["records"],
            sla_ttft_ms=given["slo_ms"][0],
            sla_itl_ms=given["slo_ms"][1],
            scaling_policy=policy,
        )
    figures = {name: value for name, value in report.items() if isinstance(value, int | float)}
    plan = [] if policy is None else policy.plan
    print(json.dumps({"report": figures, "plan": plan}), file=answer, flush=True)


def _planner(given: dict[str, Any], engines: dict[str, Any]) -> Any:
    """As its own ``python -m dynamo.replay`` makes it. That one can bootstrap from a package that is not to
    be had (AIConfigurator's), so measured passes are installed the same way."""
    from dynamo.replay.main import (  # type: ignore[import-not-found,unused-ignore]
        _prepare_planner_replay,
    )

    adapter = _prepare_planner_replay(
        None, engines["prefill"], engines["decode"], json.dumps(given["planner"])
    )
    if given["samples"] is not None:
        adapter.install_benchmark_fpms(
            prefill_fpms=[_pass(*sample) for sample in given["samples"]["prefill"]],
            decode_fpms=[_pass(*sample) for sample in given["samples"]["decode"]],
        )
    return adapter


def _pass(prefills: int, tokens: int, streams: int, resident: int, seconds: float) -> Any:
    from dynamo.common.forward_pass_metrics import (  # type: ignore[import-not-found,unused-ignore]
        ForwardPassMetrics,
        ScheduledRequestMetrics,
    )

    return ForwardPassMetrics(
        wall_time=seconds,
        scheduled_requests=ScheduledRequestMetrics(
            num_prefill_requests=prefills,
            sum_prefill_tokens=tokens,
            num_decode_requests=streams,
            sum_decode_kv_tokens=resident,
        ),
    )


if __name__ == "__main__":
    main()
