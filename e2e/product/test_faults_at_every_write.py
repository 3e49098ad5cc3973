"""The operator is killed before each of its writes, has each refused, and is told nothing by its watch.

Faults are put in by a proxy between the operator and the API server. Killed before a write is, for all that
is stored, killed after the one before it: counting up until a job is done without being hit covers every
boundary.
"""

import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Final

import pytest

from pdscale_e2e.fault_proxy import Answer, Call, Do, Effect, Fault, Mute
from pdscale_e2e.trial import Trial, departures
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.process_nodes, pytest.mark.disturbs("product")]

TWO_INTERVALS: Final = 2
OUR_SIGHT: Final = 2  # the first look of a process is no interval, and a test sees what was done a tick late
MAKING: Final = {
    "servingdeployments",  # the finalizer
    "serviceaccounts",
    "rolebindings",
    "services",
    "deployments",
    "deployments/scale",
    "servingdeployments/status",
}
RESIZING: Final = {"pods", "deployments/scale", "servingdeployments/status", "events"}
REFUSALS: Final = (409, 429, 403, 500)
RETRY: Final = 10.0  # seconds to the next tick after an API server that refused
READ_EVERY: Final = 60.0  # seconds after which it reads an object that its watch tells nothing about
SILENCE: Final = 75.0  # seconds after which it gives up a watch that tells nothing
A_LOOK: Final = 10.0  # seconds for a tick, pods and a test to follow


def before_a_resizes(number: int, effect: Effect, met: list[Call]) -> Fault:
    """Once, at that write, counted from 0; ``met`` ends with the call that was hit."""

    def counts(call: Call) -> bool:
        if call.writes and call.kind in RESIZING:
            met.append(call)
            return True
        return False

    return Fault(counts, effect, times=1, skip=number)


def before_a_new(effect: Effect, met: dict[tuple[str, int], str]) -> Fault:
    """Once, at the first write that no earlier life has met, which is then noted with its kind.

    Writes of a life are told apart by their path and how often it has been written to before: later lives
    find more in place and write less, so that their numbers do not tell.
    """
    seen = Counter[str]()

    def is_new(call: Call) -> bool:
        if not call.writes:
            return False
        seen[call.path] += 1
        write = (call.path, seen[call.path])
        if write in met:
            return False
        met[write] = call.kind
        return True

    return Fault(is_new, effect, times=1)


def survived(it: Trial, fault: Fault, done: Callable[[], bool]) -> bool:
    """Wait until the operator is killed or has done its job and has looked once more; whether it lives."""

    def over() -> bool:
        return fault.times == 0 or done()

    eventually(over, within=60, what="killed, or done")
    looks = it.ticks()
    eventually(lambda: fault.times == 0 or it.ticks() > looks, within=30, what="killed, or one more look")
    return fault.times != 0


def test_an_operator_killed_before_each_write_of_a_creation_goes_on_where_it_was(it: Trial) -> None:
    """Each life gets at least one write further than the one before."""
    it.killed()
    met: dict[tuple[str, int], str] = {}
    it.objects.create(it.manifest("chat", decode=2))
    with it.within_budget("chat"):
        lives = False
        while not lives:
            fault = before_a_new(Do(it.operator.kill), met)
            it.proxy.faults[:] = [fault]
            it.start()
            lives = survived(it, fault, lambda: it.is_settled("chat", 2))
            if not lives:
                it.operator.over()
    print(f"killed {len(met)} times, before {dict(Counter(met.values()))}")
    assert set(met.values()) >= MAKING


def test_an_operator_killed_before_each_write_of_a_resize_goes_on_where_it_was(it: Trial) -> None:
    """Up and down. Who starts is refused its first watches as too old."""
    it.deployed("chat", decode=1)
    boundaries = Counter[str]()
    with it.within_budget("chat"), departures(it, "chat") as gone:
        for number in count():
            killed = [killed_at(it, number, decode) for decode in (2, 1)]
            boundaries.update(kind for kind in killed if kind)
            if not any(killed):
                break
    print(f"killed {boundaries.total()} times, before {dict(boundaries)}")
    assert set(boundaries) >= RESIZING
    assert gone
    assert all(gone.values()), "every replica that went had been marked before"


def killed_at(it: Trial, number: int, decode: int) -> str:
    """Resize, with a kill before that write of it; before what that was, empty if there was no such write."""
    met: list[Call] = []
    fault = before_a_resizes(number, Do(it.operator.kill), met)
    too_old = Fault(lambda call: call.watches, Answer(410), times=0)
    it.proxy.faults[:] = [fault, too_old]
    it.bound("chat", decode)
    if survived(it, fault, lambda: it.is_settled("chat", decode)):
        return ""
    it.operator.over()
    too_old.times = 2
    it.start()
    it.settled("chat", decode)
    assert it.ticks() <= TWO_INTERVALS + OUR_SIGHT, met[-1]
    eventually(lambda: too_old.times == 0, within=30, what="the watch was refused twice")
    return met[-1].kind


@pytest.mark.parametrize(
    ("sizes", "kinds"),
    [
        pytest.param((1, 2), {"deployments/scale": 2, "servingdeployments/status": 1}, id="up"),
        pytest.param((2, 1), {"pods": 1, "deployments/scale": 1}, id="down"),
    ],
)
def test_a_resize_whose_writes_are_refused_is_done_within_two_intervals(
    it: Trial, sizes: tuple[int, int], kinds: dict[str, int]
) -> None:
    """Four objects side by side, one for each status, and so many times each kind of write."""
    names = {status: f"chat-{status}" for status in REFUSALS}
    before, after = sizes
    for name in names.values():
        it.objects.create(it.manifest(name, decode=before))
    for name in names.values():
        it.settled(name, before, within=60)
    with it.within_budget(*names.values()), departures(it, names[409]) as gone:
        it.proxy.faults[:] = [
            refused(name, status, kind, times)
            for status, name in names.items()
            for kind, times in kinds.items()
        ]
        for name in names.values():
            it.bound(name, after)
        eventually(all_refused(it), within=90, what="all was refused that should be")
        for name in names.values():
            it.settled(name, after, within=TWO_INTERVALS * RETRY + A_LOOK)
    assert all(gone.values()), "every replica that went had been marked before"


def refused(name: str, status: int, kind: str, times: int) -> Fault:
    return Fault(
        lambda call: call.writes and call.kind == kind and name in call.path, Answer(status), times=times
    )


def all_refused(it: Trial) -> Callable[[], bool]:
    def over() -> bool:
        it.tell()
        return not any(fault.times for fault in it.proxy.faults)

    return over


def test_what_changes_while_a_watch_is_silent_is_seen_when_it_is_given_up(it: Trial) -> None:
    """An edit is seen sooner, as objects are read once in a while."""
    for name in ("edited", "deleted"):
        it.deployed(name, decode=1)
    silent = [call for call in it.proxy.calls if call.watches]
    it.proxy.faults[:] = [Fault(lambda call: any(call is each for each in silent), Mute())]
    began = time.monotonic()
    it.objects.delete("deleted")
    it.objects.create(it.manifest("made", decode=1))
    with it.within_budget("edited"):
        it.bound("edited", 2)
        it.settled("edited", 2, within=READ_EVERY + A_LOOK)
        assert time.monotonic() - began > A_LOOK / 2, "the watch told nothing"
        left = began + SILENCE + A_LOOK - time.monotonic()
        eventually(lambda: not it.objects.exists("deleted"), within=left, what="what was deleted is gone")
        it.settled("made", 1, within=30)
