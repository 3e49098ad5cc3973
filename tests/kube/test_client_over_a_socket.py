"""The client against an API server that speaks the real protocol: errors, timeouts, ownership."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.kube import FakeKube, Fault, serving_kube
from pdscale.kube.client import Kube, path_of
from pdscale.kube.errors import ApiUnavailable, Conflict, Forbidden, Invalid, KubeError, NotFound
from pdscale.kube.events import Event, Kind, Recorder, Subject
from pdscale.kube.scale import (
    Direction,
    Owned,
    ScaleWrite,
    apply_scale,
    deployment_at,
    hand_over,
    send,
    template_owns_replicas,
    writes,
)
from pdscale.model.pools import Role, Targets

WEB = path_of("apps/v1", "Deployment", "default", "web")
AT = deployment_at("default", "web")
SPEC = {"template": {"spec": {"image": "a"}}}
TEMPLATE = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": SPEC,
}


@pytest.fixture
async def fake() -> AsyncIterator[FakeKube]:
    async with serving_kube() as server:
        yield server


@pytest.fixture
async def kube(fake: FakeKube, tmp_path: Path) -> AsyncIterator[Kube]:
    client = await Kube.connect(fake.kubeconfig(tmp_path / "config"), patience=2.0)
    yield client
    await client.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (422, Invalid),
        (429, ApiUnavailable),
        (500, ApiUnavailable),
        (503, ApiUnavailable),
    ],
)
async def test_each_refusal_has_its_own_name(
    fake: FakeKube, kube: Kube, status: int, error: type[KubeError]
) -> None:
    fake.faults.append(Fault(lambda _: True, status=status))
    with pytest.raises(error, match=rf"GET {WEB}: {status} the test wants it so"):
        await kube.get(WEB)


async def test_silence_ends_with_the_patience(fake: FakeKube, tmp_path: Path) -> None:
    impatient = await Kube.connect(fake.kubeconfig(tmp_path / "config"), patience=0.05)
    fake.faults.append(Fault(lambda _: True, silent=True))
    with pytest.raises(ApiUnavailable, match=r"no answer within 0\.05s"):
        await impatient.get(WEB)
    await impatient.close()


async def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    client = await Kube.connect(FakeKube(address="http://127.0.0.1:1").kubeconfig(tmp_path / "config"))
    with pytest.raises(ApiUnavailable, match=r"127\.0\.0\.1"):
        await client.get(WEB)
    await client.close()


async def test_a_missing_kubeconfig_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match="nowhere"):
        await Kube.connect(str(tmp_path / "nowhere"))


async def test_a_list_is_narrowed_by_labels(fake: FakeKube, kube: Kube) -> None:
    for name, tier in (("a", "x"), ("b", "y")):
        fake.store.create("pods", "default", {"metadata": {"name": name, "labels": {"tier": tier}}})
    found = await kube.list_items(path_of("v1", "Pod", "default"), selector="tier=y")
    assert [p["metadata"]["name"] for p in found] == ["b"]


def test_a_kind_that_is_not_ours_has_no_path() -> None:
    with pytest.raises(ValueError, match="got v1 Secret"):
        path_of("v1", "Secret", "default")


async def test_an_apply_repairs_what_others_changed(kube: Kube) -> None:
    await kube.apply(WEB, TEMPLATE, force=True)
    await kube.merge(WEB, {"spec": {"template": {"spec": {"image": "b"}}}})
    found = await kube.apply(WEB, TEMPLATE, force=True)
    assert found["spec"]["template"]["spec"]["image"] == "a"


async def test_an_apply_that_changes_nothing_leaves_the_version(kube: Kube) -> None:
    first = await kube.apply(WEB, TEMPLATE, force=True)
    second = await kube.apply(WEB, TEMPLATE, force=True)
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_dropping_the_seed_without_handing_over_resets_the_replicas(kube: Kube) -> None:
    """The trap that ``hand_over`` is there for."""
    await kube.apply(WEB, {**TEMPLATE, "spec": {**SPEC, "replicas": 3}}, force=True)
    assert (await kube.apply(WEB, TEMPLATE, force=True))["spec"]["replicas"] == 1


async def test_after_the_hand_over_the_template_no_longer_owns_the_replicas(kube: Kube) -> None:
    seeded = await kube.apply(WEB, {**TEMPLATE, "spec": {**SPEC, "replicas": 3}}, force=True)
    assert template_owns_replicas(seeded)
    await hand_over(kube, seeded)
    found = await kube.apply(WEB, TEMPLATE, force=True)
    assert found["spec"]["replicas"] == 3
    assert not template_owns_replicas(found)


async def test_our_own_scale_writes_do_not_stand_in_each_others_way(kube: Kube) -> None:
    await kube.apply(WEB, TEMPLATE, force=True)
    for count in (2, 5, 0):
        await apply_scale(kube, AT, count)
        assert (await kube.get(WEB))["spec"]["replicas"] == count


async def test_replicas_that_nobody_has_claimed_are_ours_to_take(fake: FakeKube, kube: Kube) -> None:
    await kube.apply(WEB, TEMPLATE, force=True)
    with pytest.raises(Conflict, match="before-first-apply"):
        await kube.apply(f"{WEB}/scale", {"spec": {"replicas": 3}}, force=False)
    await apply_scale(kube, AT, 3)
    fake.store.scale(("deployments", "default", "web"), 4, manager="pdscale", operation="Update")
    await apply_scale(kube, AT, 5)
    assert (await kube.get(WEB))["spec"]["replicas"] == 5


async def test_a_second_writer_is_named_and_not_overruled(fake: FakeKube, kube: Kube) -> None:
    await kube.apply(WEB, TEMPLATE, force=True)
    await apply_scale(kube, AT, 2)
    hpa = "kube-controller-manager"
    fake.store.scale(("deployments", "default", "web"), 4, manager=hpa, operation="Update")
    write = ScaleWrite(Role.PREFILL, 4, 6)
    refusal = await send(kube, write, AT)
    assert isinstance(refusal, Owned)
    assert refusal.owners == (hpa,)
    assert (await kube.get(WEB))["spec"]["replicas"] == 4


def test_shrinking_comes_before_growing() -> None:
    assert writes(Targets(2, 6), Targets(4, 3)) == (
        ScaleWrite(Role.DECODE, 6, 3),
        ScaleWrite(Role.PREFILL, 2, 4),
    )
    assert writes(Targets(4, 3), Targets(2, 6))[0].direction is Direction.DOWN
    assert writes(Targets(1, 1), Targets(1, 1)) == ()


SUBJECT = Subject("pdscale.io/v1alpha1", "ServingDeployment", "default", "chat", "u-1")


async def test_the_same_event_is_told_once_in_ten_minutes(fake: FakeKube, kube: Kube) -> None:
    recorder = Recorder(kube, "pod-0")
    event = Event(Kind.NORMAL, "Scaled", "prefill 1 -> 2")
    for now in (0.0, 15.0, 599.0):
        await recorder.record(SUBJECT, event, now=now)
    assert len(fake.events()) == 1
    await recorder.record(SUBJECT, event, now=601.0)
    await recorder.record(SUBJECT, Event(Kind.NORMAL, "Scaled", "prefill 2 -> 3"), now=601.0)
    assert len(fake.events()) == 3
    stored = fake.events()[0]
    assert (stored["regarding"]["uid"], stored["reason"], stored["type"]) == ("u-1", "Scaled", "Normal")


async def test_an_event_that_cannot_be_written_stops_nobody(
    fake: FakeKube, kube: Kube, caplog: pytest.LogCaptureFixture
) -> None:
    fake.faults.append(Fault(lambda c: c.method == "POST", status=403))
    await Recorder(kube, "pod-0").record(SUBJECT, Event(Kind.WARNING, "X", "y" * 5000), now=0)
    assert "event X not recorded" in caplog.text
