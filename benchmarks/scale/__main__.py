"""What one operator costs that serves many deployments: its loop, its memory, and its writes at rest.

    make bench-scale                                   500 deployments, 1,000 nodes, 5,000 pods
    make bench-scale BENCH_ARGS="--objects 20 --nodes 40"

The processor's time stands beside the clock's: on a machine that others use, too, only the former says what
the operator costs. Nobody wants another size and the load stands still: each write at rest is one too many.
"""

import argparse
import math
import os
import time
from collections import Counter
from typing import Final

from benchmarks.rows import Goal, Row, publish
from benchmarks.scale.figures import cpu_seconds, resident_mib, ticks, total
from benchmarks.scale.forecasters import growth_mib
from benchmarks.scale.stage import Size, Stage, stage
from pdscale_e2e.waiting import eventually

MEMORY: Final = Goal("<=", round(300e6 / 2**20))  # 300 MB
MOST: Final = "operator resident, most so far"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=500)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rest", type=float, default=180.0, help="seconds of nothing that are measured")
    parser.add_argument("--settle", type=float, default=120.0, help="seconds before, after all is ready")
    parser.add_argument("--within", type=float, default=900.0, help="seconds for all to become ready")
    given = parser.parse_args()
    size = Size(given.objects, given.nodes)
    config = f"{size.objects} ServingDeployments, {size.nodes} nodes, {size.pods} pods"
    with stage(size) as on:
        _say("nodes are ready")
        on.create(size.objects)
        _say("objects are created")
        rows = _start(on, size, within=given.within)
        time.sleep(given.settle)
        rows += _rest(on, seconds=given.rest, what="at rest")
        rows += _restart(on, size, within=given.within)
        cluster = sum(on.cluster.resident_bytes().values()) / 2**20
        rows.append(Row("control plane resident", cluster, "MiB"))
    _say("a day of forecasts")
    most = next(row.value for row in rows if row.metric == MOST)
    grown = most + growth_mib(size.objects)
    rows.append(Row("the most, and what forecasters remember after a day", grown, "MiB", goal=MEMORY))
    publish("scale", [Row(r.metric, r.value, r.unit, r.config or config, r.goal) for r in rows])


def _start(on: Stage, size: Size, *, within: float) -> list[Row]:
    """From an operator that is started to every deployment ready: all of them are new."""
    began, load = time.monotonic(), os.getloadavg()[0]
    on.operator.start()

    def all_ready() -> bool:
        on.operator.check_alive()
        found = on.ready()
        _say(f"{found} of {size.objects} are ready")
        return found == size.objects

    eventually(all_ready, within=within, what="all deployments are ready", every=5.0)
    took = time.monotonic() - began
    writes = Counter(on.writes())
    _say(f"writes: {writes.most_common(20)}")
    return [
        Row("all new deployments ready after", took, "s", f"load of the machine {load:.1f} at the start"),
        Row("processor time of the operator until then", cpu_seconds(on.operator.pid), "s"),
        Row("writes of the operator until then", writes.total(), "requests"),
        *ticks(on.told(), {}, "while all are made"),
    ]


def _rest(on: Stage, *, seconds: float, what: str) -> list[Row]:
    before, writes, cpu = on.told(), on.writes(), cpu_seconds(on.operator.pid)
    began = time.monotonic()
    time.sleep(seconds)
    took, after = time.monotonic() - began, on.told()
    new = Counter(on.writes()[len(writes) :])
    _say(f"writes {what}: {new.most_common(20)}")
    now, most = resident_mib(on.operator.pid)
    asked = total(after, "pdscale_operator_api_requests_total") - total(
        before, "pdscale_operator_api_requests_total"
    )
    load = f"load of the machine {os.getloadavg()[0]:.1f}"
    used = cpu_seconds(on.operator.pid) - cpu
    looks = total(after, "pdscale_operator_ticks_total") - total(before, "pdscale_operator_ticks_total")
    return [
        *ticks(after, before, what, goal=Goal("<=", 2.0)),
        Row(f"writes per minute {what}", new.total() / took * 60, "1/min", goal=Goal("<=", 50.0)),
        Row(f"requests to the API server {what}", asked / took, "1/s"),
        Row(f"processor of the operator {what}", used / took, "cores", load),
        Row(f"processor time of a tick {what}", used / looks * 1000 if looks else math.nan, "ms", load),
        Row(f"operator resident {what}", now, "MiB", goal=MEMORY),
        Row(MOST, most, "MiB", goal=MEMORY),
    ]


def _restart(on: Stage, size: Size, *, within: float) -> list[Row]:
    """From an operator that was killed to one look at every deployment."""
    writes = len(on.writes())
    on.operator.kill()
    began = time.monotonic()
    on.operator.start()

    def all_seen() -> bool:
        on.operator.check_alive()
        return on.told().get('pdscale_operator_ticks_total{result="ok"}', 0) >= size.objects

    eventually(all_seen, within=within, what="the restarted operator has looked at all", every=1.0)
    took = time.monotonic() - began
    written = Counter(on.writes()[writes:])
    _say(f"writes after a restart: {written.most_common(20)}")
    return [
        Row("restart -> every deployment looked at", took, "s"),
        Row(
            "processor time of the operator until then", cpu_seconds(on.operator.pid), "s", "after a restart"
        ),
        Row("writes after a restart", written.total(), "requests"),
    ]


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} scale: {what}", flush=True)


if __name__ == "__main__":
    main()
