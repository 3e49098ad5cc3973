"""Two operators and one Lease on an API server over a socket; leases of a second, so that they run out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fakes.kube import PLURAL, FakeKube, Fault, serving_kube
from fakes.serving import SteadyMetrics, serving
from pdscale.controller import leading
from pdscale.controller.election import Tenure
from pdscale.controller.leading import Leading, Lingering, boot_clock
from pdscale.controller.login import credentials, session
from pdscale.controller.snapshot import Snapshot
from pdscale.controller.under_kopf import kopf_operator
from pdscale.controller.wiring import Operator, wire
from pdscale.kube.client import Kube
from pdscale.kube.errors import NotLeading
from pdscale.kube.lease import LeaseStore
from pdscale.settings import Settings

PATIENCE = 15.0


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  what is waited for is state of a server, not an event of ours
            await asyncio.sleep(0.02)


@dataclass(slots=True)
class Clock:
    """A clock that a test can put forward for one candidate, as if its machine had slept."""

    slept: float = 0.0

    def __call__(self) -> float:
        return boot_clock() + self.slept


@dataclass(slots=True)
class Candidate:
    """One operator process, as far as the election is concerned."""

    kube: Kube
    name: str
    clock: Clock = field(default_factory=Clock)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    terms: int = 0
    working: bool = False
    leading: Leading = field(init=False)
    task: "asyncio.Task[None]" = field(init=False)

    def __post_init__(self) -> None:
        tenure = Tenure(self.clock, self.name)
        store = LeaseStore(self.kube, "system", "operator")
        self.leading = Leading(store, tenure, seconds=1, look=0.05, renew=0.1)

    def start(self) -> "Candidate":
        self.task = asyncio.create_task(self.leading.lead(self._work, stop=self.stop))
        return self

    async def _work(self, over: asyncio.Event) -> None:
        self.terms, self.working = self.terms + 1, True
        await over.wait()
        self.working = False

    async def end(self) -> None:
        self.stop.set()
        await self.task

    async def crash(self) -> None:
        """No chance to give the Lease back."""
        self.leading._held = None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def fake() -> AsyncIterator[FakeKube]:
    async with serving_kube() as server:
        yield server


@pytest.fixture
async def kube(fake: FakeKube, tmp_path: Path) -> AsyncIterator[Kube]:
    connected = await Kube.connect(fake.kubeconfig(tmp_path / "config"), patience=0.5)
    yield connected
    await connected.close()


def holder(fake: FakeKube) -> str:
    if not fake.has("leases", "operator", "system"):
        return ""
    return str(fake.get("leases", "operator", "system")["spec"]["holderIdentity"])


async def test_of_two_that_start_at_once_one_works_and_the_other_waits(fake: FakeKube, kube: Kube) -> None:
    both = [Candidate(kube, "a").start(), Candidate(kube, "b").start()]
    await eventually(lambda: any(c.working for c in both))
    looks = len(fake.calls)
    await eventually(lambda: len(fake.calls) > looks + 40)
    assert sorted(c.terms for c in both) == [0, 1]
    for candidate in both:
        await candidate.end()


async def test_who_ends_in_order_gives_the_lease_back_at_once(fake: FakeKube, kube: Kube) -> None:
    first, second = Candidate(kube, "a").start(), Candidate(kube, "b")
    await eventually(lambda: first.working)
    second.leading.seconds = 3600
    await first.end()
    assert holder(fake) == ""
    second.start()
    await eventually(lambda: second.working)
    assert fake.get("leases", "operator", "system")["spec"]["leaseTransitions"] == 1
    await second.end()


async def test_a_holder_that_died_is_followed_when_its_lease_has_run_out(fake: FakeKube, kube: Kube) -> None:
    first, second = Candidate(kube, "a").start(), Candidate(kube, "b").start()
    await eventually(lambda: first.working or second.working)
    dead, heir = (first, second) if first.working else (second, first)
    await dead.crash()
    died = boot_clock()
    assert holder(fake) == dead.name
    await eventually(lambda: heir.working)
    assert boot_clock() - died >= 1 - 0.1 - 0.05, (
        "not before the lease is over, counted from the last renewal"
    )
    await heir.end()


async def test_a_process_that_was_frozen_beyond_its_lease_writes_nothing_more(
    fake: FakeKube, kube: Kube
) -> None:
    candidate = Candidate(kube, "a").start()
    await eventually(lambda: candidate.working)
    fenced = kube.fenced(candidate.leading.tenure.left)
    await fenced.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "before"}})
    candidate.clock.slept = 0.7  # of one second: its last third is not for new requests
    calls = len(fake.calls)
    with pytest.raises(NotLeading, match="configmaps: not sent, the Lease was not renewed in time"):
        await fenced.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "after"}})
    assert len(fake.calls) == calls
    await eventually(lambda: candidate.terms == 2)  # nobody else came: it leads again
    await candidate.end()


async def test_an_api_server_that_refuses_ends_the_work_and_not_the_process(
    fake: FakeKube, kube: Kube
) -> None:
    candidate = Candidate(kube, "a").start()
    await eventually(lambda: candidate.working)
    fault = Fault(lambda c: "/leases/" in c.path, status=500)
    fake.faults.append(fault)
    await eventually(lambda: not candidate.working)
    assert candidate.leading.tenure.left() <= 0
    fault.times = 0
    await eventually(lambda: candidate.working)
    await candidate.end()


async def test_a_lease_that_was_taken_by_force_or_deleted_ends_the_work(fake: FakeKube, kube: Kube) -> None:
    candidate = Candidate(kube, "a").start()
    await eventually(lambda: candidate.working)
    patch = {"spec": {"holderIdentity": "b", "renewTime": "now"}}
    fake.store.patch(("leases", "system", "operator"), patch, subresource="", manager="x", is_json=False)
    await eventually(lambda: candidate.terms == 2)
    assert fake.get("leases", "operator", "system")["spec"]["leaseTransitions"] == 1
    await candidate.end()


async def test_an_answer_that_was_lost_is_no_loss_of_the_lease(fake: FakeKube, kube: Kube) -> None:
    """The renewal was stored, its answer never came: the next one names an old version."""
    candidate = Candidate(kube, "a").start()
    await eventually(lambda: candidate.working)
    patch = {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}
    fake.store.patch(("leases", "system", "operator"), patch, subresource="", manager="a", is_json=False)
    calls = len(fake.calls)
    await eventually(lambda: len(fake.calls) > calls + 20)
    assert (candidate.terms, candidate.working) == (1, True)
    await candidate.end()


async def test_work_that_does_not_stop_ends_the_process(
    fake: FakeKube, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "ENDING", 0.1)
    candidate = Candidate(kube, "a")

    async def stubborn(_: asyncio.Event) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(candidate.leading.lead(stubborn, stop=candidate.stop))
    await eventually(lambda: holder(fake) == "a")
    candidate.stop.set()
    with pytest.raises(Lingering):
        await task


async def test_two_operators_serve_one_object_and_who_has_led_writes_nothing_more(
    fake: FakeKube, kube: Kube, tmp_path: Path
) -> None:
    config = Settings(kubeconfig=fake.kubeconfig(tmp_path / "config"))
    both, loops = [Candidate(kube, "a"), Candidate(kube, "b")], []
    for candidate in both:
        candidate.leading.seconds = 5
        tenure = candidate.leading.tenure
        operator = wire(config, kube, lambda _: SteadyMetrics(), tenure=tenure)

        async def work(over: asyncio.Event, it: Operator = operator, tenure: Tenure = tenure) -> None:
            await kopf_operator(it.loop, config, stop=over, started=asyncio.Event(), fence=tenure.left)

        candidate.task = asyncio.create_task(candidate.leading.lead(work, stop=candidate.stop))
        loops.append(operator.loop)
    fake.store.create(PLURAL, "default", serving())

    def writer() -> dict[str, object]:
        found: dict[str, object] = fake.get(PLURAL, "chat").get("status", {}).get("writer", {})
        return found

    await eventually(lambda: "holder" in writer())
    first, second = sorted(both, key=lambda c: c.name != writer()["holder"])
    assert writer() == {"holder": first.name, "term": 0}
    await first.end()
    await eventually(lambda: writer() == {"holder": second.name, "term": 1})
    await second.end()
    fake.patch_status((PLURAL, "default", "chat"), {"status": {"conditions": []}})
    fake.calls.clear()
    for loop in loops:  # as if a tick had been frozen before its first write
        await loop.tick(Snapshot.of(fake.get(PLURAL, "chat")))
    assert fake.calls
    assert fake.writes() == []


async def test_kopfs_own_writes_are_fenced_as_ours_are(fake: FakeKube, tmp_path: Path) -> None:
    found = await credentials(Settings(kubeconfig=fake.kubeconfig(tmp_path / "config")))
    left = 1.0
    own = session(found, lambda: left).aiohttp_session
    async with own:
        async with own.patch(f"{fake.address}/api/v1/namespaces/default/pods/x", json={}) as answer:
            assert answer.status == 404
        left = 0.0
        with pytest.raises(NotLeading, match="PATCH /api/v1/namespaces/default/pods/x: not sent"):
            await own.patch(f"{fake.address}/api/v1/namespaces/default/pods/x", json={})
        async with own.get(f"{fake.address}/api") as answer:
            assert answer.status == 200
    assert len(fake.writes()) == 1
