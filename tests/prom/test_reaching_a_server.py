"""Credentials, certificates, clocks and limits: what stands between us and a metrics server's figures."""

import base64
import math
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.prometheus import Body, FakePrometheus, Status
from pdscale.prom.access import Access, Basic, Bearer, Tls
from pdscale.prom.client import PrometheusHistory
from pdscale.prom.errors import MetricsUnavailable
from pdscale.prom.servers import IDLE, MetricsServers
from pdscale.prom.transport import LONG, context_of
from pdscale_e2e.cluster.pki import Authority

PATIENCE = 20.0


async def _up(access: Access, *, most_bytes: int = 2**20) -> None:
    client = PrometheusHistory(access, most_bytes=most_bytes)
    try:
        await client.instant("up")
    finally:
        client.close()


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        pytest.param(Bearer("t0k3n"), "Bearer t0k3n", id="bearer"),
        pytest.param(Basic("me", "s:ecret"), "Basic " + base64.b64encode(b"me:s:ecret").decode(), id="basic"),
    ],
)
async def test_credentials_are_shown_and_never_printed(credentials: Bearer | Basic, header: str) -> None:
    async with FakePrometheus() as server:
        await _up(Access(server.url, credentials))
        assert server.asked[0].headers["authorization"] == header
    assert "t0k3n" not in repr(Access("http://p", credentials))
    assert "ecret" not in repr(Access("http://p", credentials))


@pytest.mark.parametrize(
    ("refuses", "methods"),
    [
        pytest.param(None, ["GET", "POST", "POST"], id="takes forms"),
        pytest.param(405, ["GET", "POST", "GET", "GET"], id="knows no forms"),
        pytest.param(403, ["GET", "POST", "GET", "GET"], id="lets readers GET only"),
    ],
)
async def test_a_long_query_goes_as_a_form_where_the_server_takes_one(
    refuses: int | None, methods: list[str]
) -> None:
    long = " or ".join(["up"] * LONG)
    async with FakePrometheus(instant=7.0, no_forms=refuses) as server:
        client = PrometheusHistory(Access(server.url, Bearer("t0k3n")))
        assert [await client.instant(query) for query in ("up", long, long)] == [7.0, 7.0, 7.0]
        client.close()
        assert [asked.method for asked in server.asked] == methods
        assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer t0k3n"}
        assert [asked.parameters["query"] for asked in server.asked[1:]] == [long] * (len(methods) - 1)


async def test_a_server_that_refuses_whoever_asks_is_asked_by_a_form_again() -> None:
    long = " or ".join(["up"] * LONG)
    async with FakePrometheus(instant=7.0, no_forms=403, fault=Status(403)) as server:
        client = PrometheusHistory(server.url)
        for _ in range(2):
            with pytest.raises(MetricsUnavailable, match="403"):
                await client.instant(long)
        client.close()
        assert [asked.method for asked in server.asked] == ["POST", "GET"] * 2


class _Certificates:
    """An authority, a server that asks for certificates of it, one that asks for none, a client's pair."""

    def __init__(self, folder: Path) -> None:
        authority = Authority.create(folder)
        self.ca = authority.pair.certificate.read_text()
        server = authority.issue("server", user="server", names=["IP:127.0.0.1"])
        client = authority.issue("client", user="pdscale")
        self.certificate, self.key = client.certificate.read_text(), client.key.read_text()
        self.public = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=self.ca)
        for context in (self.public, self.server):
            context.load_cert_chain(server.certificate, server.key)
        self.server.verify_mode = ssl.CERT_REQUIRED


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> _Certificates:
    return _Certificates(tmp_path_factory.mktemp("pki"))


async def test_both_sides_show_a_certificate(certificates: _Certificates) -> None:
    async with FakePrometheus(tls=certificates.server, instant=1.0) as server:
        await _up(Access(server.url, tls=Tls(certificates.ca, certificates.certificate, certificates.key)))
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "tls",
    [
        pytest.param(lambda c: None, id="an authority that nobody knows"),
        pytest.param(lambda c: Tls(ca=c.ca), id="no certificate of ours"),
    ],
)
async def test_without_the_right_certificates_nothing_is_asked(
    certificates: _Certificates, tls: Callable[[_Certificates], Tls | None]
) -> None:
    async with FakePrometheus(tls=certificates.server, instant=1.0) as server:
        with pytest.raises(MetricsUnavailable) as caught:
            await _up(Access(server.url, tls=tls(certificates), timeout=PATIENCE))
        assert server.asked == []
    assert server.url in caught.value.reason


async def test_an_authority_of_the_environment_is_trusted_as_openssl_trusts_it(
    certificates: _Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.crt").write_text(certificates.ca)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    async with FakePrometheus(tls=certificates.public, instant=1.0) as server:
        await _up(Access(server.url, timeout=PATIENCE))
        assert len(server.asked) == 1
        other = Authority.create(tmp_path / "other").pair.certificate.read_text()
        with pytest.raises(MetricsUnavailable, match="certificate verify failed"):
            await _up(Access(server.url, tls=Tls(ca=other), timeout=PATIENCE))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda: Tls(certificate="x"), "given together", id="certificate without key"),
        pytest.param(lambda: context_of(Tls(ca="x")), "the CA must be", id="no CA"),
        pytest.param(lambda: context_of(Tls(certificate="x", key="y")), "must be PEM", id="no certificate"),
        pytest.param(lambda: Bearer("two words"), "one word", id="token of two words"),
        pytest.param(lambda: Basic("a:b", "c"), "no colon, got 'a:b'", id="name with a colon"),
        pytest.param(lambda: Access("http://p", tls=Tls()), "need an https", id="certificates without TLS"),
    ],
)
def test_what_cannot_be_a_credential_is_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


async def test_an_answer_larger_than_the_limit_is_not_read_to_its_end() -> None:
    async with FakePrometheus(fault=Body(b" " * 300_000)) as server:
        with pytest.raises(MetricsUnavailable, match=r"larger than 0\.0625 MiB"):
            await _up(Access(server.url, timeout=PATIENCE), most_bytes=2**16)


@pytest.mark.parametrize("skew", [-600.0, 0.0, 600.0])
async def test_a_server_is_asked_by_its_own_clock(skew: float) -> None:
    """Whatever its clock says, the newest sample is the newest for us too."""

    def known_so_far(t: float) -> float | None:
        return 3.0 if t <= time.time() + skew else None

    async with FakePrometheus({"request_rate": known_so_far}, clock=lambda: time.time() + skew) as server:
        client = PrometheusHistory(Access(server.url, timeout=PATIENCE))
        now = time.time()
        history = await client.history(namespace="prod", name="chat", window=600, step=15, now=now)
        client.close()
    assert client.skew == pytest.approx(skew, abs=2.0)
    assert history.request_rate.known >= 39
    assert math.ceil(history.age(now)) <= 15 + 2


async def test_a_stored_answers_date_is_no_clock() -> None:
    async with FakePrometheus(clock=lambda: time.time() - 600, head="Age: 600\r\n") as server:
        client = PrometheusHistory(Access(server.url, timeout=PATIENCE))
        await client.instant("up")
        client.close()
    assert client.skew is None


def test_a_renewed_token_makes_another_client_and_the_old_one_is_closed_in_time() -> None:
    now = 0.0
    servers = MetricsServers(clock=lambda: now)
    old = servers.at(Access("http://p", Bearer("old")))
    new = servers.at(Access("http://p", Bearer("new")))
    assert old is not new
    now = IDLE
    assert servers.at(Access("http://p", Bearer("new"))) is new
    now = IDLE + 1
    servers.at(Access("http://p", Bearer("new")))
    assert servers.at(Access("http://p", Bearer("old"))) is not old
    servers.close()


def test_a_client_that_cannot_be_made_is_refused_and_disturbs_no_other() -> None:
    now = 0.0
    servers = MetricsServers(clock=lambda: now)
    with pytest.raises(ValueError, match="the CA must be certificates in PEM"):
        servers.at(Access("https://p", tls=Tls(ca="none")))
    other = servers.at("http://p")
    now = IDLE + 1
    assert servers.at("http://p") is not other
    servers.close()
