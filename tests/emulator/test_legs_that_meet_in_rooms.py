"""SGLang's way of moving KV between pure engines, in virtual time."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.emulated import LIMITS, request
from fakes.emulated_rooms import RoomCluster, rooms
from pdscale.emulator.engine import Engine
from pdscale.emulator.modes import Mode, Patience
from pdscale.emulator.sequence import Finish

PROMPT = list(range(1000, 1050))


def pair(
    *, patience: Patience | None = None, decode_cache: bool = True
) -> tuple[RoomCluster, Engine, Engine]:
    cluster = RoomCluster()
    prefill = cluster.add_instance("p", Mode.PREFILL, patience=patience)
    decode = cluster.add_instance("d", Mode.DECODE, patience=patience, decode_cache=decode_cache)
    cluster.add("alone", transfer=None)
    return cluster, prefill, decode


def alone(cluster: RoomCluster, prompt: list[int], *, max_tokens: int = 4) -> list[int]:
    name = f"alone-{len(cluster.outputs)}"
    return cluster.ask("alone", request(name, prompt, max_tokens=max_tokens))[0]


def nothing_is_left(cluster: RoomCluster) -> bool:
    return all(e.idle and e.cache.usage == 0 for e in cluster.engines.values()) and not cluster.guests


@pytest.mark.parametrize("first", ["prefill", "decode"])
def test_legs_meet_whichever_comes_first(first: str) -> None:
    cluster, prefill, decode = pair()
    wanted = alone(cluster, PROMPT)
    for leg in ("prefill", "decode") if first == "prefill" else ("decode", "prefill"):
        if leg == "prefill":
            cluster.prefill(7, PROMPT)
        else:
            cluster.decode(7, PROMPT)
        cluster.turn(prefill)
        cluster.turn(decode)
    cluster.settle()
    assert cluster.said("decode-7") == wanted
    assert cluster.said("prefill-7") == wanted[:1]  # its answer is the first token, and nobody needs it
    assert nothing_is_left(cluster)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=6), st.booleans())
def test_a_session_says_what_one_engine_alone_says(rounds: list[tuple[int, int]], keeps: bool) -> None:
    cluster, _, decode = pair(decode_cache=keeps)
    session: list[int] = []
    for turn, (new, answer) in enumerate(rounds):
        session += range(10_000 * turn, 10_000 * turn + new)
        wanted = alone(cluster, session, max_tokens=answer)
        cluster.prefill(turn + 1, session)
        cluster.decode(turn + 1, session, max_tokens=answer)
        cluster.settle()
        assert cluster.said(f"decode-{turn + 1}") == wanted
        session += wanted
    assert nothing_is_left(cluster)
    assert decode.stats.failed_transfers == 0


@pytest.mark.parametrize(("keeps", "moved"), [(True, 50 + 13), (False, 50 + 109)])
def test_only_what_the_decode_engine_lacks_moves_if_it_keeps_prefixes(keeps: bool, moved: int) -> None:
    cluster, prefill, decode = pair(decode_cache=keeps)
    cluster.prefill(1, PROMPT)
    cluster.decode(1, PROMPT, max_tokens=49)
    cluster.settle()
    session = [*PROMPT, *cluster.said("decode-1"), *range(10)]
    cluster.prefill(2, session)
    cluster.decode(2, session)
    cluster.settle()
    # 98 tokens have KV on the decode engine after the first round, 96 of them in full blocks: 109 - 96 = 13.
    assert len(session) == 109
    assert decode.stats.transfer_bytes.total == pytest.approx(moved * 1000)
    # The prefill engine had the first prompt, and nothing of the answer.
    assert prefill.stats.prompt_tokens["local_cache_hit"] == 48
    assert cluster.outputs["decode-2"][-1].sequence.cached == 48


def test_a_prefill_leg_is_not_computed_before_its_decode_leg_has_memory() -> None:
    cluster, prefill, decode = pair()
    cluster.prefill(7, PROMPT)
    assert not cluster.turn(prefill)
    assert (rooms(prefill).hosting.bootstrapping, prefill.cache.usage) == (1, 0.0)
    cluster.decode(7, PROMPT)
    assert not cluster.turn(decode)
    assert (decode.loading, decode.wanting_kv) == (1, 0)
    assert cluster.turn(prefill)
    assert rooms(prefill).hosting.bootstrapping == 0


def test_a_prefill_leg_is_answered_when_its_kv_has_left() -> None:
    cluster, prefill, decode = pair()
    cluster.prefill(7, PROMPT)
    cluster.decode(7, PROMPT)
    cluster.turn(decode)
    cluster.turn(prefill)
    assert (cluster.outputs["prefill-7"], prefill.unsent) == ([], 1)
    assert prefill.cache.usage > 0
    cluster.pass_time(1)
    assert [o.finish for o in cluster.outputs["prefill-7"]] == [Finish.LENGTH]
    assert (prefill.unsent, prefill.cache.usage) == (0, 0.0)


def failed(cluster: RoomCluster, leg: str) -> bool:
    return [o.finish for o in cluster.outputs[leg]] == [Finish.ERROR]


def test_a_leg_that_is_left_alone_fails_when_its_patience_ends() -> None:
    cluster, prefill, decode = pair(patience=Patience(bootstrap=20, waiting=30))
    cluster.prefill(1, PROMPT)
    cluster.decode(2, PROMPT)
    cluster.turn(decode)
    cluster.pass_time(19)
    assert cluster.outputs == {"prefill-1": [], "decode-2": []}
    cluster.pass_time(2)
    assert failed(cluster, "prefill-1")
    cluster.pass_time(10)
    assert failed(cluster, "decode-2")
    assert nothing_is_left(cluster)
    assert decode.stats.failed_transfers == 1
    assert prefill.next_event is None


def test_a_prefill_leg_that_nobody_waits_for_any_more_leaves_its_decode_leg_waiting() -> None:
    cluster, prefill, decode = pair(patience=Patience(waiting=30))
    cluster.prefill(1, PROMPT)
    cluster.decode(1, PROMPT)
    cluster.turn(decode)
    prefill.abort("prefill-1", cluster.now)
    cluster.pass_time(29)
    assert cluster.outputs["decode-1"] == []
    assert decode.cache.usage > 0  # memory held for nothing: the router's duty to end it
    cluster.pass_time(2)
    assert failed(cluster, "decode-1")
    assert nothing_is_left(cluster)


@pytest.mark.parametrize("phase", ["in the queue", "computed", "sent"])
def test_a_decode_leg_that_leaves_takes_its_prefill_leg_along(phase: str) -> None:
    cluster, prefill, decode = pair()
    cluster.prefill(1, PROMPT)
    cluster.decode(1, PROMPT)
    cluster.turn(decode)
    if phase != "in the queue":
        cluster.record(prefill.advance(cluster.now))
        iteration = prefill.begin(cluster.now)
        assert iteration is not None
        if phase == "sent":
            prefill.end(iteration, cluster.now)
            cluster.run_errands(prefill)
    decode.abort("decode-1", cluster.now)
    cluster.run_errands(decode)
    cluster.pass_time(1)
    # Once the KV is on its way it goes to its end.
    assert failed(cluster, "prefill-1") is (phase != "sent")
    cluster.settle()
    assert nothing_is_left(cluster)


def test_a_client_that_leaves_while_kv_is_sent_frees_it_when_it_has_arrived() -> None:
    cluster, prefill, decode = pair()
    cluster.prefill(1, PROMPT)
    cluster.decode(1, PROMPT)
    cluster.turn(decode)
    cluster.turn(prefill)
    prefill.abort("prefill-1", cluster.now)
    assert prefill.cache.usage > 0
    cluster.settle()
    assert len(cluster.said("decode-1")) == 4
    assert nothing_is_left(cluster)


def test_a_prefill_engine_that_is_not_there_fails_the_decode_leg_at_once() -> None:
    cluster, _, decode = pair()
    cluster.unreachable.add("p")
    cluster.decode(1, PROMPT)
    cluster.turn(decode)
    cluster.turn(decode)
    assert failed(cluster, "decode-1")
    assert nothing_is_left(cluster)


def test_a_decode_leg_that_loses_its_memory_computes_its_prompt_again() -> None:
    cluster = RoomCluster()
    cluster.add_instance("p", Mode.PREFILL)
    tight = replace(LIMITS, kv_blocks=14, max_model_len=56)
    decode = cluster.add_instance("d", Mode.DECODE, limits=tight)
    cluster.add("alone", transfer=None)
    wanted = [alone(cluster, list(range(i, i + 8)), max_tokens=30) for i in range(3)]
    for i in range(3):
        cluster.prefill(i + 1, range(i, i + 8))
        cluster.decode(i + 1, range(i, i + 8), max_tokens=30)
    cluster.settle()
    assert decode.stats.preemptions > 0
    assert [cluster.said(f"decode-{i + 1}") for i in range(3)] == wanted
    assert nothing_is_left(cluster)


@pytest.mark.parametrize("change", [{"bootstrap": 0.0}, {"waiting": -1.0}])
def test_impossible_patience_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0s"):
        Patience(**change)
