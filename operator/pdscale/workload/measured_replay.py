"""What a real engine did with a trace: the yardstick for a simulator's fidelity.

arrival_s, input_tokens, output_tokens, queue_s, ttft_s, e2e_s, tpot_ms
"""

from array import array
from dataclasses import dataclass
from typing import Final

from pdscale.perf.table import Table
from pdscale.workload.trace import Trace, open_trace

NEEDED: Final = ("arrival_s", "input_tokens", "output_tokens", "queue_s", "ttft_s", "e2e_s", "tpot_ms")


@dataclass(frozen=True, slots=True)
class MeasuredReplay:
    """Requests, and what each took in seconds: queue, first token, each further token, all of it."""

    trace: Trace
    queue: "array[float]"
    ttft: "array[float]"
    tpot: "array[float]"
    total: "array[float]"


def read_measured_replay(table: Table) -> MeasuredReplay:
    """Parse a replay; its rows must be in order of arrival."""
    table.require(*NEEDED)
    at = table.floats("arrival_s")
    for i in range(1, len(at)):
        if at[i] < at[i - 1]:
            raise table.wrong(i, "arrival_s", f"at least {at[i - 1]:g}, the arrival before")
    trace = open_trace(
        table.source, at, table.integers("input_tokens", least=1), table.integers("output_tokens", least=1)
    )
    return MeasuredReplay(
        trace=trace,
        queue=table.floats("queue_s"),
        ttft=table.floats("ttft_s"),
        tpot=array("d", (t * 1e-3 for t in table.floats("tpot_ms"))),
        total=table.floats("e2e_s"),
    )
