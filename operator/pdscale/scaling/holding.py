"""How long a replica is kept that is not needed: a change must pay.

To keep it costs its time. To take it away, and to start it again when it is needed, costs a drain and a
start-up, in which GPUs are held and serve nobody new. Nobody knows when it will be needed again; keeping it
for exactly as long as the change would cost is never worse than twice the best choice in hindsight (the
rental problem; for servers Lin et al., INFOCOM 2011, and Lu, Chen and Andrew, TPDS 2013).

That counts GPUs alone. Whoever needs it again also waits for a start-up, less what a trend had announced, and
that is added: with start-ups of three minutes replicas went between two swings of a load, and each time
requests of two minutes were late.
"""

import math

from pdscale.model.units import Seconds
from pdscale.scaling.history import History
from pdscale.scaling.mix import LENGTHS_WINDOW, foreseen
from pdscale.scaling.policy import Policy
from pdscale.scaling.stabilization import Holds


def holds(policy: Policy, history: History) -> Holds:
    """As configured, or as long as each role's change costs."""
    if policy.scale_down_window is not None:
        return Holds(policy.scale_down_window, policy.scale_down_window)
    decode = policy.drain_decode if policy.drain_decode is not None else answering(history)
    prefill = policy.drain_prefill if policy.drain_prefill is not None else policy.slo.ttft
    young = settling(history)
    hold = _cost(policy.start_up_decode, decode)
    return Holds(
        _cost(policy.start_up_prefill, prefill), max(hold, young) if served(history) < young else hold
    )


def _cost(start_up: Seconds, drain: Seconds) -> Seconds:
    """Of a change: its start-up and drain, and what of the start-up no trend foresees.

    Starts in 60 s, drains in 20 s: 80 s. Starts in 180 s: 180 + 20 + 120 = 320 s.
    """
    return start_up + drain + start_up - foreseen(start_up)


def settling(history: History) -> Seconds:
    """How long a new load is not yet what it will be: three lives of a crowd.

    At first only short answers have ended, and streams still come faster than they go: reasoning of 100 s on
    6 replicas looked like work for 3 after two minutes.
    """
    return 3 * crowd_of(history)


def served(history: History) -> Seconds:
    """Since the first arrival that is known."""
    values = history.request_rate.values
    first = next((i for i, v in enumerate(values) if v > 0), len(values))
    return (len(values) - first) * history.request_rate.step


def answering(history: History) -> Seconds:
    """What streams take to end, by Little's law: 120 of them and 1.5 completions/s, 80 s. Zero if unknown."""
    recent = history.decode_streams.last(LENGTHS_WINDOW).values
    ended = history.completed.last(LENGTHS_WINDOW).values
    both = [(s, e) for s, e in zip(recent, ended, strict=True) if not math.isnan(s) and not math.isnan(e)]
    completions = math.fsum(e for _, e in both)
    return math.fsum(s for s, _ in both) / completions if completions > 0 else 0.0


def crowd_of(history: History) -> Seconds:
    """After which streams are others: E[S^2] / E[S], lives being as long as answers. Zero if unknown."""
    output = math.fsum(v for v in history.output_tokens.last(LENGTHS_WINDOW).values if not math.isnan(v))
    squared = math.fsum(
        v for v in history.output_tokens_squared.last(LENGTHS_WINDOW).values if not math.isnan(v)
    )
    ended = math.fsum(v for v in history.completed.last(LENGTHS_WINDOW).values if not math.isnan(v))
    variation = squared * ended / (output * output) if output > 0 else 1.0
    return answering(history) * max(1.0, variation)
