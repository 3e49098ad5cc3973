"""The validating webhook: who claims what somebody scales already is refused, and nobody else."""

import asyncio
import io
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fakes.kube import PLURAL, Fault
from fakes.operator import Bench
from fakes.serving import serving
from pdscale.controller import admin
from pdscale.controller.admission import Admission, NotAReview
from pdscale.controller.webhook import CERTIFICATE, KEY, PATH, Certificates, NoCertificate, application
from pdscale.kube.rivals import Rivals
from pdscale_e2e.cluster.pki import Authority

Json = dict[str, Any]
Ask = Callable[..., Any]
CREW = {"apiVersion": "gangs.example.com/v1", "kind": "Gang", "name": "crew"}
DECODE = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat-decode"}


@pytest.fixture
def told() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def ask(it: Bench, told: list[tuple[str, str]]) -> Ask:
    admission = Admission(Rivals(it.kube, lambda: it.now), lambda kind, verdict: told.append((kind, verdict)))

    async def asked(new: Json, old: Json | None = None, *, kind: str = "ServingDeployment") -> Json:
        answer = await admission.review(review(new, old, kind=kind))
        response: Json = answer["response"]
        assert response["uid"] == "u-1"
        return response

    return asked


def review(new: Json, old: Json | None = None, *, kind: str = "ServingDeployment") -> bytes:
    request = {"uid": "u-1", "kind": {"kind": kind}, "namespace": "default", "object": new, "oldObject": old}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "request": request}).encode()


def named(name: str, *, mode: str = "Auto", **spec: Any) -> Json:
    body = serving(scaling={"mode": mode}, **spec)
    return {**body, "metadata": {"name": name, "uid": f"uid-of-{name}", "generation": 1}}


def autoscaler(target: Json) -> Json:
    return {"metadata": {"name": "cpu"}, "spec": {"scaleTargetRef": target, "maxReplicas": 4}}


def there(it: Bench, body: Json) -> None:
    it.fake.store.create(PLURAL, "default", body)


def on_crew(name: str, **more: Any) -> Json:
    return named(name, decode={"scaleTargetRef": CREW}, **more)


async def test_a_second_object_on_one_target_is_refused_with_the_first_ones_name(it: Bench, ask: Ask) -> None:
    there(it, on_crew("before"))
    answer = await ask(on_crew("chat"))
    assert not answer["allowed"]
    assert answer["status"] == {
        "code": 403,
        "message": "decode: Gang crew is decode of ServingDeployment before, which was there before; "
        "name another target, or delete either",
    }


async def test_an_edit_may_not_take_a_target_over_from_a_younger_object(it: Bench, ask: Ask) -> None:
    there(it, named("chat"))
    there(it, on_crew("younger"))
    assert not (await ask(on_crew("chat"), named("chat")))["allowed"]


async def test_an_edit_that_claims_nothing_new_passes_though_a_conflict_is_stored(
    it: Bench, ask: Ask
) -> None:
    there(it, on_crew("before"))
    there(it, on_crew("chat"))
    it.fake.store.create("horizontalpodautoscalers", "default", autoscaler(CREW))
    assert (await ask(on_crew("chat", gpuBudget=9), on_crew("chat")))["allowed"]


async def test_an_object_that_is_going_passes(it: Bench, ask: Ask) -> None:
    there(it, on_crew("before"))
    going = on_crew("chat")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert (await ask(going, named("chat")))["allowed"]


@pytest.mark.parametrize("mode", ["Auto", "Approve", "Paused"])
async def test_leaving_recommend_is_a_claim(it: Bench, ask: Ask, mode: str) -> None:
    there(it, on_crew("before"))
    only_shown = on_crew("chat", mode="Recommend")
    assert (await ask(only_shown))["allowed"]
    assert not (await ask(on_crew("chat", mode=mode), only_shown))["allowed"]


async def test_who_only_recommends_is_in_nobodys_way(it: Bench, ask: Ask) -> None:
    there(it, on_crew("before", mode="Recommend"))
    assert (await ask(on_crew("chat")))["allowed"]
    assert (await ask(autoscaler(CREW), kind="HorizontalPodAutoscaler"))["allowed"]


async def test_one_target_for_both_roles_is_refused(it: Bench, ask: Ask) -> None:
    both = named("chat", prefill={"scaleTargetRef": CREW}, decode={"scaleTargetRef": CREW})
    assert "got Gang crew twice" in (await ask(both))["status"]["message"]


async def test_an_object_whose_pool_an_autoscaler_scales_is_refused(it: Bench, ask: Ask) -> None:
    it.fake.store.create("horizontalpodautoscalers", "default", autoscaler(DECODE))
    message = (await ask(named("chat")))["status"]["message"]
    assert message.startswith("decode: HorizontalPodAutoscaler cpu scales Deployment chat-decode, too;")
    assert (await ask(named("other")))["allowed"]


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "ScaledObject"])
async def test_an_autoscaler_on_a_pool_is_refused_with_the_objects_name(
    it: Bench, ask: Ask, kind: str
) -> None:
    there(it, named("chat"))
    answer = await ask(autoscaler({"name": "chat-decode"}), kind=kind)
    assert answer["status"]["message"] == (
        "scaleTargetRef must be what nobody else scales, got Deployment chat-decode, which is decode of "
        "ServingDeployment chat: delete that, or set its scaling.mode to Recommend"
    )
    assert (await ask(autoscaler({"name": "web"}), kind=kind))["allowed"]
    stored = autoscaler(DECODE)
    assert (await ask({**stored, "metadata": {"name": "cpu", "labels": {"a": "b"}}}, stored, kind=kind))[
        "allowed"
    ]


@pytest.mark.parametrize(
    "target",
    [
        pytest.param({**DECODE, "kind": "StatefulSet"}, id="another kind"),
        pytest.param({**DECODE, "apiVersion": "mine/v1"}, id="another group"),
    ],
)
async def test_a_name_alone_is_no_conflict(it: Bench, ask: Ask, target: Json) -> None:
    there(it, named("chat"))
    assert (await ask(autoscaler(target), kind="HorizontalPodAutoscaler"))["allowed"]


async def test_what_cannot_be_looked_up_is_admitted_with_a_warning(
    it: Bench, ask: Ask, told: list[tuple[str, str]]
) -> None:
    there(it, on_crew("before"))
    it.fake.faults.append(Fault(lambda call: call.path.endswith(PLURAL), status=500))
    answer = await ask(on_crew("chat"))
    assert answer["allowed"]
    assert answer["warnings"][0].startswith("pdscale could not look for who else scales this")
    it.fake.faults.clear()
    await ask(on_crew("chat"))
    assert told == [("ServingDeployment", "unknown"), ("ServingDeployment", "refused")]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", review(named("chat")).replace(b"/v1", b"/v1beta1", 1)])
async def test_what_is_no_review_is_said_to_be_none(it: Bench, body: bytes) -> None:
    with pytest.raises(NotAReview, match=r"must be an AdmissionReview of admission\.k8s\.io/v1"):
        await Admission(Rivals(it.kube, lambda: it.now)).review(body)


def certificate(folder: Path, issuer: Path, *, age: float = 0.0) -> bytes:
    """A certificate for ``webhook``, written as a Secret is mounted; the PEM of its issuer."""
    authority = Authority.create(issuer)
    made = authority.issue("leaf", user="webhook", names=["DNS:webhook"])
    for file, source in ((CERTIFICATE, made.certificate), (KEY, made.key)):
        (folder / file).write_bytes(source.read_bytes())
        if age:
            os.utime(folder / file, (1e9 - age, 1e9 - age))
    return authority.pair.certificate.read_bytes()


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """What is mounted."""
    folder = tmp_path / "served"
    folder.mkdir()
    return folder


@pytest.fixture
def first(served: Path, tmp_path: Path) -> bytes:
    """Who is to be trusted for the certificate that the server starts with."""
    return certificate(served, tmp_path / "first", age=60)


@pytest.fixture
async def post(it: Bench, served: Path, first: bytes) -> AsyncIterator[Callable[..., Any]]:
    """``post(body, pem)``: the status and the text of an answer over TLS that trusts ``pem`` alone."""
    app, tls = application(Admission(Rivals(it.kube, lambda: it.now))), Certificates.of(served).context()

    async def posted(body: bytes, pem: bytes) -> tuple[int, str]:
        trust = ssl.create_default_context(cadata=pem.decode())
        url = f"{address}{PATH}"
        async with aiohttp.ClientSession() as session:
            sent = session.post(url, data=io.BytesIO(body), ssl=trust, server_hostname="webhook")
            async with sent as answer:
                return answer.status, await answer.text()

    async with admin.serving(app, host="127.0.0.1", port=0, tls=tls) as address:
        yield posted


async def test_a_renewed_certificate_counts_from_the_next_handshake_on(
    post: Callable[..., Any], served: Path, first: bytes, tmp_path: Path
) -> None:
    asked = review(named("chat"))
    status, text = await post(asked, first)
    assert status == 200
    assert json.loads(text)["response"]["allowed"]
    second = certificate(served, tmp_path / "second")
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await post(asked, first)
    assert (await post(asked, second))[0] == 200


async def test_a_certificate_that_went_leaves_the_former_one(
    post: Callable[..., Any], served: Path, first: bytes
) -> None:
    (served / KEY).unlink()
    assert (await post(review(named("chat")), first))[0] == 200


async def test_the_server_refuses_what_is_no_review_and_what_is_too_large(
    post: Callable[..., Any], first: bytes
) -> None:
    status, text = await post(b"{}", first)
    assert (status, text.split(":")[0]) == (400, "the body must be an AdmissionReview of admission.k8s.io/v1")
    assert (await post(b" " * (8 * 2**20 + 1), first))[0] == 413


async def test_a_request_that_stops_in_the_middle_does_not_hold_up_the_end(
    it: Bench, served: Path, first: bytes
) -> None:
    app, tls = application(Admission(Rivals(it.kube, lambda: it.now))), Certificates.of(served).context()
    trust = ssl.create_default_context(cadata=first.decode())
    async with admin.serving(app, host="127.0.0.1", port=0, tls=tls) as address:
        port = int(address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trust, server_hostname="webhook"
        )
        head = (
            "POST /validate HTTP/1.1\r\nHost: webhook\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
        )
        writer.write(head.encode())
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")  # it waits for the body
        begun = time.monotonic()
    assert time.monotonic() - begun < admin.SHUTDOWN + 5
    writer.close()


def test_a_directory_without_a_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoCertificate, match=f"{tmp_path} must have tls.crt and tls.key"):
        Certificates.of(tmp_path)
