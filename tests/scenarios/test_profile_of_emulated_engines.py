"""What is measured over the endpoint of an engine of known performance is that performance.

Servers and clients speak over real sockets in one loop of virtual time, so that nothing but the method is
tested: on a loaded machine wake-ups come late by more than the errors that are looked for.
"""

import asyncio
import math
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

import pytest

from fakes.emulated import BIDIRECTIONAL, settings
from fakes.virtual_time import run
from pdscale.emulator.limits import Limits
from pdscale.emulator.openai import Served
from pdscale.emulator.server import EngineServer
from pdscale.emulator.settings import Protocol, Settings
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.fitting import relative_error
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.profiling import probes
from pdscale.scenarios.profiling.asked import asked
from pdscale.scenarios.profiling.client import Engine
from pdscale.scenarios.profiling.command import parser
from pdscale.scenarios.profiling.results import Result, fitted
from pdscale.scenarios.profiling.sweep import Found, measure

KNOWN: Final = BUILTIN["llama-3.1-70b-h100-tp4"]
SMALL: Final = ("--repeats", "1", "--steps", "6", "--max-batched-tokens", "4096", "--histories", "1024,4096")
STREAMS: Final = ("--batches", "1,2,4,8,16,24", "--contexts", "200,800,2400")
NEVER_ASKED: Final = [(n, h) for n in (48, 100, 300, 700, 1500, 3000) for h in (0, 500, 3000)]
NEVER_RUN: Final = [(b, b * c) for b in (3, 6, 12, 20) for c in (400, 1200)]


def engine(**changes: Any) -> Settings:
    limits = replace(Limits.of(KNOWN), answer_length=0)
    served = Served(("tiny",), limits.max_model_len, prompt_tokens_details=True)
    return settings(**{"profile": KNOWN, "limits": limits, "served": served, "transfer": None, **changes})


def measured(*flags: str, of: Settings, peer: Settings | None = None, saturated: float = math.inf) -> Result:
    """The sweep against ``of``; with ``peer`` transfers from that are timed. Client and engine share a
    thread, so whether the client is ``saturated`` says nothing here."""

    async def work() -> Result:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(EngineServer(of))
            words = ["--url", f"http://127.0.0.1:{server.port}", *flags]
            if peer is not None:
                other = await stack.enter_async_context(EngineServer(peer))
                words += ["--prefill-url", f"http://127.0.0.1:{other.port}/v1"]
            wanted, found = asked(vars(parser().parse_args(words))), Found()
            await measure(wanted, found, lambda done, total: None)
            await asyncio.sleep(1)
            assert not server.engine.running  # whatever was broken off
            return fitted(wanted, found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "SATURATED", saturated)
        result: Result = run(work())
    return result


@pytest.fixture(scope="module")
def whole() -> Result:
    return measured("--bandwidth", "25GB/s", *SMALL, *STREAMS, of=engine())


def test_the_times_of_prefills_that_were_not_measured_are_the_engines(whole: Result) -> None:
    found = [whole.profile.prefill_seconds(n, h) for n, h in NEVER_ASKED]
    error = relative_error(found, [KNOWN.prefill_seconds(n, h) for n, h in NEVER_ASKED])
    assert error.median < 0.01
    assert error.largest < 0.1


def test_the_times_of_steps_that_were_not_measured_are_the_engines(whole: Result) -> None:
    found = [whole.profile.step_seconds(b, c) for b, c in NEVER_RUN]
    error = relative_error(found, [KNOWN.step_seconds(b, c) for b, c in NEVER_RUN])
    assert error.median < 0.01
    assert error.largest < 0.1


def test_memory_is_the_engines_own_word(whole: Result) -> None:
    blocks = int(KNOWN.kv_capacity) // 16
    assert whole.profile.kv_capacity == blocks * 16
    assert whole.profile.kv_bytes_per_token == pytest.approx(KNOWN.kv_bytes_per_token, rel=1e-3)
    assert whole.profile.transfer_bandwidth == 25e9


def test_a_fit_is_judged_by_points_that_it_had_not_seen(whole: Result) -> None:
    seen, unseen = whole.fit.errors, whole.fit.held_out
    assert seen.prefill is not None
    assert seen.decode is not None
    assert unseen.prefill is not None
    assert unseen.decode is not None
    assert seen.prefill.points == len(whole.found.prefill) == 8 * 3
    assert seen.decode.points == len(whole.found.decode) == 6 * 3
    assert (unseen.prefill.points, unseen.decode.points) == (24 // 5, 18 // 5)
    assert f"prefill {unseen.prefill.median:.1%} / {unseen.prefill.p90:.1%}" in whole.profile.source


def test_lengths_are_those_that_the_engine_counts(whole: Result) -> None:
    histories = sorted({p.history for p in whole.found.prefill})
    assert histories == [0, 1024, 4096]
    assert {p.new for p in whole.found.prefill} == {32 * 2**i for i in range(8)}


def test_the_same_seed_measures_the_same_points_in_the_same_order() -> None:
    flags = ("--bandwidth", "1GB/s", *SMALL, "--batches", "1,2,3,4", "--contexts", "64,128", "--seed", "5")
    first, second = (measured(*flags, of=engine()) for _ in range(2))
    assert [p.new for p in first.found.prefill] == [p.new for p in second.found.prefill]
    assert first.profile == second.profile


def test_transfers_between_two_engines_are_timed() -> None:
    slow = replace(KNOWN, transfer_bandwidth=2e9, transfer_fixed=0.03)
    side = engine(profile=slow, transfer=BIDIRECTIONAL)
    few = ("--batches", "1,2,3,4", "--contexts", "64,128")
    result = measured(*SMALL, *few, of=side, peer=side)
    assert result.transfer is not None
    assert result.transfer.points == 5
    for tokens in (500, 3000, 12000):
        found = result.profile.transfer_seconds(tokens)
        assert found == pytest.approx(slow.transfer_seconds(tokens), rel=0.1)


def test_an_engine_without_a_connector_has_no_transfers_to_time() -> None:
    with pytest.raises(InvalidScenario, match="hands out no kv_transfer_params"):
        measured(*SMALL, *STREAMS, of=engine(transfer=BIDIRECTIONAL), peer=engine())


def test_without_reports_of_cached_tokens_only_whole_prompts_are_measured() -> None:
    silent = engine(served=Served(("tiny",), 32768, prompt_tokens_details=False))
    few = ("--bandwidth", "1GB/s", "--batches", "1,2,3,4", "--contexts", "64,128")
    result = measured(*SMALL, *few, of=silent)
    assert {p.history for p in result.found.prefill} == {0}
    assert len(result.found.prefill) == 3 * 7 + 1
    assert result.profile.prefill_seconds(1500) == pytest.approx(KNOWN.prefill_seconds(1500), rel=0.1)
    assert any("reports no cached tokens" in note for note in result.found.notes)


def test_sglang_is_measured_likewise() -> None:
    few = ("--batches", "1,2,3,4", "--contexts", "64,128", "--bandwidth", "1GB/s")
    result = measured(*SMALL, *few, "--kv-bytes-per-token", "327680", of=engine(protocol=Protocol.SGLANG))
    assert result.profile.kv_capacity == int(KNOWN.kv_capacity) // 16 * 16
    assert result.profile.kv_bytes_per_token == 327680
    assert result.profile.step_seconds(3, 300) == pytest.approx(KNOWN.step_seconds(3, 300), rel=0.02)


def test_what_a_budget_leaves_is_fitted_and_said() -> None:
    result = measured("--bandwidth", "1GB/s", "--budget", "16s", *SMALL, *STREAMS, of=engine())
    done = len(result.found.prefill) + len(result.found.decode)
    assert 16 <= done < 24 + 18
    assert f"the budget of 16s was over after {done} of 42 passes" in result.found.notes


def test_a_budget_that_leaves_too_little_is_refused_with_what_there_was() -> None:
    with pytest.raises(InvalidScenario, match=r"fit needs 8 of each; the budget of 500ms was over after"):
        measured("--bandwidth", "1GB/s", "--budget", "500ms", *SMALL, *STREAMS, of=engine())


def test_streams_that_never_run_together_make_no_point() -> None:
    narrow = engine(limits=replace(Limits.of(KNOWN), answer_length=0, max_sequences=4))
    flags = ("--bandwidth", "1GB/s", "--batches", "1,2,3,4,8", "--contexts", "64,128")
    result = measured(*SMALL, *flags, of=narrow)
    assert {p.batch for p in result.found.decode} == {1, 2, 3, 4}
    assert "8 streams of 64 did not run together for long enough" in result.found.notes


def test_steps_that_this_process_was_too_slow_to_read_make_no_point() -> None:
    few = ("--bandwidth", "1GB/s", "--batches", "1,2,3,4", "--contexts", "64,128")
    with pytest.raises(InvalidScenario, match=r" 0 decode points .* this process was too slow to read them"):
        measured(*SMALL, *few, of=engine(), saturated=0.0)


def test_a_busy_engine_is_refused_unless_somebody_insists() -> None:
    few = ("--batches", "1,2,3,4", "--contexts", "64,128", "--bandwidth", "1GB/s")

    async def beside(*flags: str) -> Found:
        async with EngineServer(engine()) as server:
            url = f"http://127.0.0.1:{server.port}"
            wanted, found = asked(vars(parser().parse_args(["--url", url, *few, *SMALL, *flags]))), Found()
            other = asyncio.create_task(_endless(url))
            while not server.engine.running:  # noqa: ASYNC110 - the engine has no event for it
                await asyncio.sleep(0.01)
            try:
                await measure(wanted, found, lambda done, total: None)
            finally:
                other.cancel()
                await asyncio.gather(other, return_exceptions=True)
            return found

    with pytest.raises(InvalidScenario, match="is busy with 1 request"):
        run(beside())
    assert run(beside("--anyway")).prefill


async def _endless(url: str) -> None:
    async with Engine(url, {}) as client:
        body = {"model": "tiny", "prompt": "once upon a time", "max_tokens": 30000, "ignore_eos": True}
        async for _ in client.arrivals("/v1/completions", body):
            pass
