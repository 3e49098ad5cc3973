"""What the router's figures rest on: the mock engine's rules, the clients' reading, the kernel's counters."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from time import monotonic_ns

import pytest
from benchmarks.router.accounting import resident_bytes, spent, tree
from benchmarks.router.connection import LoadFailed, Wire
from benchmarks.router.engine import Conversation, Engine, Transfers
from benchmarks.router.load import Asker, Crowd, Tally
from benchmarks.router.messages import chat, request, spliced
from hypothesis import given
from hypothesis import strategies as st


@asynccontextmanager
async def engines(transfers: Transfers) -> AsyncIterator[dict[str, int]]:
    loop, servers, ports = asyncio.get_running_loop(), [], {}
    for role in ("prefill", "decode"):
        engine = Engine(role, transfers, pace=0.001)
        servers.append(await loop.create_server(partial(Conversation, engine), "127.0.0.1", 0))
        ports[role] = servers[-1].sockets[0].getsockname()[1]
    try:
        yield ports
    finally:
        for server in servers:
            server.close()


async def ask(
    port: int, prefill: int | None, message: bytes, *, clients: int, rounds: int, apart: float = 0.0
) -> Tally:
    tally = Tally()
    crowd = Crowd(clients, tally)
    try:
        await crowd.open(port, prefill)
        crowd.start([lambda: message] * clients, rounds=rounds, apart=apart)
        await crowd.calm(within=10)
    finally:
        crowd.close()
    return tally


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="no-flag"),
        pytest.param({"do_remote_prefill": True, "do_remote_decode": True}, id="both-flags"),
        pytest.param({"do_remote_prefill": True, "do_remote_decode": False}, id="no-blocks"),
        pytest.param(
            {"do_remote_prefill": True, "remote_block_ids": [[1]], "remote_request_id": "x"}, id="unknown"
        ),
    ],
)
def test_parameters_that_would_harm_an_engine_are_refused(params: dict[str, object]) -> None:
    assert Transfers().use(params)


def test_parameters_are_good_for_one_use() -> None:
    transfers = Transfers()
    told = transfers.hand_out(prefilled=True)
    assert transfers.use(told) == ""
    assert "used before" in transfers.use(told)


async def test_every_token_of_every_stream_is_seen() -> None:
    message = request(chat(size=166, stream=True, tokens=5), "s")
    async with engines(Transfers()) as ports:
        tally = await ask(ports["decode"], None, message, clients=4, rounds=3)
    assert (tally.requests, tally.tokens, len(tally.ttft)) == (12, 60, 12)
    assert min(tally.transit) > 0


async def test_clients_that_begin_apart_are_all_heard_to_the_end() -> None:
    message = request(chat(size=166, stream=True, tokens=5), "s")
    async with engines(Transfers()) as ports:
        tally = await ask(ports["decode"], None, message, clients=4, rounds=2, apart=0.001)
    assert (tally.requests, tally.tokens, len(tally.ttft)) == (8, 40, 8)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_direct_run_of_a_split_stack_keeps_the_pull_contract(stream: bool) -> None:
    transfers = Transfers()
    message = request(chat(size=400, stream=stream, tokens=3), "s")
    async with engines(transfers) as ports:
        tally = await ask(ports["decode"], ports["prefill"], message, clients=2, rounds=2)
    assert tally.requests == 4
    assert transfers.seen == {"prefill": 4, "decode": 4}


async def test_a_refused_request_is_a_failure_of_the_run() -> None:
    broken = spliced(request(chat(size=166, stream=False, tokens=3), "s"), b'"kv_transfer_params":{},')
    async with engines(Transfers()) as ports:
        with pytest.raises(LoadFailed, match="400"):
            await ask(ports["decode"], None, broken, clients=1, rounds=1)


def test_a_body_has_the_size_that_was_asked_for() -> None:
    assert [len(chat(size=n, stream=False, tokens=8)) for n in (166, 200_000)] == [166, 200_000]


class Heard:
    def __init__(self) -> None:
        self.payload, self.ends = b"", 0

    def piece(self, payload: bytes) -> None:
        self.payload += payload

    def ended(self, status: int) -> None:
        self.ends += 1

    def lost(self) -> None:
        raise AssertionError


@given(st.sets(st.integers(1, 150)))
def test_an_answer_is_read_alike_however_it_is_cut(cuts: set[int]) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n15\r\n\r\n0\r\n\r\n or what not..\r\n0\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast"
    )
    heard = Heard()
    wire = Wire(heard)
    ends = answer.index(b"HTTP", 10)
    at = [0, *sorted(c for c in cuts | {ends} if c < len(answer)), len(answer)]
    for start, end in pairwise(at):
        wire.data_received(answer[start:end])
    assert (heard.payload, heard.ends) == (b"abc\r\n0\r\n\r\n or what not..last", 2)


def test_a_gap_counts_only_as_far_as_the_engine_did_not_make_it() -> None:
    tally = Tally()
    asker = Asker(tally, lambda: None)
    for behind in (0, 1_000_000, 30_000_000):
        asker.piece(b'"content":"@%019d "' % (monotonic_ns() - behind))
    assert tally.stalls == 1
    assert tally.worst_gap == pytest.approx(29_000_000, abs=2_000_000)


def test_cpu_time_of_children_is_counted() -> None:
    program = "import sys; sum(range(3_000_000)); print(flush=True); sys.stdin.read()"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = tree([child.pid])
        assert len(found) == 2
        assert spent(found).cpu > spent([child.pid]).cpu > 0
        assert resident_bytes(found) > resident_bytes([child.pid])
        child.communicate()
    assert os.getpid() not in found
