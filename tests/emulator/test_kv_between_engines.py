"""The transfer contract between pure engines, in virtual time."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.emulated import BIDIRECTIONAL, LOCAL, Cluster, connector, prefill_leg, request
from pdscale.emulator.engine import Engine
from pdscale.emulator.sequence import Finish
from pdscale.emulator.transfer import OnFailure, TransferConfig
from pdscale.emulator.transfers import EngineDied


def pair(transfer: TransferConfig = BIDIRECTIONAL) -> tuple[Cluster, Engine, Engine]:
    cluster = Cluster()
    prefill, decode = cluster.add("p", transfer=transfer), cluster.add("d", transfer=transfer)
    cluster.add("alone", transfer=None)
    return cluster, prefill, decode


PROMPT = list(range(1000, 1050))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["local", "trick", "remote"]), st.integers(1, 30), st.integers(1, 9)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["same", "new"]),
)
def test_any_mix_of_placements_says_what_one_engine_alone_says(
    rounds: list[tuple[str, int, int]], prefills: str
) -> None:
    cluster, _, decode = pair()
    history = None
    session: list[int] = []
    for turn, (place, new, answer) in enumerate(rounds):
        session += range(10_000 * turn, 10_000 * turn + new)
        wanted, _ = cluster.ask("alone", request(f"alone{turn}", session, max_tokens=answer))
        params = None
        if place == "remote":
            name = "p" if prefills == "same" else f"p{turn}"
            if name not in cluster.engines:
                cluster.add(name)
            leg = request(f"p{turn}", session, max_tokens=1, params=prefill_leg(history))
            params = cluster.ask(name, leg)[1].params
        elif place == "trick":
            params = LOCAL
        tokens, last = cluster.ask("d", request(f"d{turn}", session, max_tokens=answer, params=params))
        assert tokens == wanted
        history = last.params
        session += tokens
    for engine in cluster.engines.values():
        assert engine.stats.failed_transfers == 0
    cluster.pass_time(1000)
    assert all(engine.cache.usage == 0 for engine in cluster.engines.values())
    assert decode.stats.late_notifications == 0


def test_a_remote_round_moves_only_what_the_decode_engine_lacks() -> None:
    cluster, prefill, decode = pair()
    answer, last = cluster.ask("d", request("first", PROMPT, max_tokens=7, params=LOCAL))
    session = [*PROMPT, *answer, *range(40)]
    leg = cluster.ask("p", request("leg", session, max_tokens=1, params=prefill_leg(last.params)))[1]
    assert prefill.stats.prompt_tokens == {
        "local_compute": 41, "local_cache_hit": 0, "external_kv_transfer": 56,
    }  # fmt: skip
    cluster.ask("d", request("second", session, params=leg.params))
    # 56 tokens have KV after the first round, all in full blocks of 4.
    assert decode.stats.prompt_tokens == {
        "local_compute": 50, "local_cache_hit": 56, "external_kv_transfer": 41,
    }  # fmt: skip
    assert decode.stats.transfer_bytes.total == 41 * 1000
    # What the decode leg reports to the client are the prefill leg's hits.
    assert cluster.outputs["second"][-1].sequence.cached == 56


def test_a_short_history_is_computed_and_its_blocks_freed() -> None:
    cluster, prefill, decode = pair(replace(BIDIRECTIONAL, recompute_threshold=100))
    answer, last = cluster.ask("d", request("first", PROMPT, params=LOCAL))
    assert decode.cache.usage > 0
    cluster.ask("p", request("leg", [*PROMPT, *answer, 1], max_tokens=1, params=prefill_leg(last.params)))
    assert prefill.stats.prompt_tokens["external_kv_transfer"] == 0
    assert decode.cache.usage == 0


def test_an_abandoned_prefill_leg_keeps_its_blocks_until_the_lease_ends() -> None:
    cluster, prefill, _ = pair()
    cluster.ask("p", request("leg", PROMPT, max_tokens=1, params=prefill_leg()))
    assert prefill.cache.usage == 13 / 256  # 50 tokens in blocks of 4
    assert prefill.next_event == pytest.approx(cluster.now + 30)
    cluster.pass_time(29)
    assert prefill.cache.usage > 0
    cluster.pass_time(2)
    assert prefill.cache.usage == 0
    assert prefill.stats.expired_leases == 1


def test_a_waiting_decode_leg_keeps_the_lease_alive() -> None:
    cluster, prefill, decode = pair()
    leg = cluster.ask("p", request("leg", PROMPT, max_tokens=1, params=prefill_leg()))[1]
    cluster.submit("d", request("decode", PROMPT, params=leg.params))  # queued: nobody turns the engine
    for _ in range(20):
        cluster.pass_time(5)
    assert cluster.beats == 20
    assert prefill.cache.usage > 0
    decode.abort("decode", cluster.now)
    cluster.run_errands(decode)
    assert prefill.cache.usage == 0
    cluster.pass_time(10)
    assert decode.next_event is None


def test_a_decode_engine_pins_the_session_for_its_own_time_to_live() -> None:
    cluster, _, decode = pair()
    leg = cluster.ask("p", request("leg", PROMPT, max_tokens=1, params=prefill_leg()))[1]
    last = cluster.ask("d", request("decode", PROMPT, params=leg.params))[1]
    assert last.params is not None
    assert last.params["remote_blocks_expiry_time"] == pytest.approx(cluster.now + 480)
    cluster.pass_time(479)
    assert decode.cache.usage > 0
    cluster.pass_time(2)
    assert decode.cache.usage == 0


def test_both_flags_false_pins_blocks_and_a_plain_round_does_not() -> None:
    cluster, _, decode = pair()
    flags = {"do_remote_decode": False, "do_remote_prefill": False}
    assert cluster.ask("d", request("plain", PROMPT))[1].params is None
    assert decode.cache.usage == 0
    assert cluster.ask("d", request("flags", PROMPT, params=flags))[1].params is not None
    assert decode.cache.usage > 0


def test_where_transfers_go_one_way_a_decode_leg_leaves_nothing() -> None:
    cluster, _, decode = pair(TransferConfig())
    leg = cluster.ask("p", request("leg", PROMPT, max_tokens=1, params=prefill_leg()))[1]
    tokens, last = cluster.ask("d", request("decode", PROMPT, params=leg.params))
    assert tokens == cluster.ask("alone", request("alone", PROMPT))[0]
    assert (last.params, decode.cache.usage) == (None, 0.0)


def test_an_engine_without_a_connector_ignores_the_parameters() -> None:
    cluster = Cluster()
    cluster.add("e", transfer=None)
    tokens, last = cluster.ask("e", request("r", PROMPT, params={"do_remote_prefill": True}))
    assert (len(tokens), last.params) == (4, None)


def test_a_used_dict_is_accepted_and_may_give_wrong_kv_and_so_wrong_text() -> None:
    cluster, prefill, _ = pair()
    wanted = cluster.ask("alone", request("alone", PROMPT))[0]
    leg = cluster.ask("p", request("leg", PROMPT, max_tokens=1, params=prefill_leg()))[1]
    assert cluster.ask("d", request("once", PROMPT, params=leg.params))[0] == wanted
    for i in range(30):  # the freed blocks go to others
        cluster.ask("p", request(f"other{i}", range(i * 100, i * 100 + 60), max_tokens=1))
    cluster.add("d2")
    tokens, last = cluster.ask("d2", request("again", PROMPT, params=leg.params))
    assert last.finish is Finish.LENGTH
    assert tokens != wanted
    assert prefill.stats.late_notifications == 0


def test_wanting_remote_kv_without_naming_blocks_kills_the_engine() -> None:
    cluster, _, decode = pair()
    cluster.submit("d", request("bad", PROMPT, params={"do_remote_prefill": True}))
    with pytest.raises(EngineDied, match="request bad wants 50 tokens"):
        decode.begin(0.0)


def test_kv_that_is_promised_and_never_fetched_is_waited_for() -> None:
    cluster, _, decode = pair(TransferConfig(recompute_threshold=8))
    history = cluster.ask("p", request("leg", PROMPT, max_tokens=1, params=prefill_leg()))[1].params
    cluster.submit("d", request("stuck", [*PROMPT, 1], params=prefill_leg(history)))
    assert not cluster.turn(decode)
    assert decode.loading == 1
    decode.abort("stuck", cluster.now)
    assert decode.cache.usage == 0


@pytest.mark.parametrize("policy", list(OnFailure))
def test_a_prefill_engine_that_is_gone_ends_or_slows_its_decode_legs(policy: OnFailure) -> None:
    cluster, _, decode = pair(replace(BIDIRECTIONAL, on_failure=policy))
    wanted = cluster.ask("alone", request("alone", PROMPT))[0]
    leg = cluster.ask("p", request("leg", PROMPT, max_tokens=1, params=prefill_leg()))[1]
    cluster.unreachable.add("p")
    tokens, last = cluster.ask("d", request("decode", PROMPT, params=leg.params))
    if policy is OnFailure.FAIL:
        assert (tokens, last.finish) == ([], Finish.ERROR)
        assert decode.cache.usage == 0
    else:
        assert tokens == wanted
        assert decode.stats.prompt_tokens["local_compute"] == 50
    assert decode.stats.failed_transfers == 1
    assert cluster.ask("d", request("next", PROMPT))[0] == wanted


def test_transfers_of_one_engine_take_turns() -> None:
    _, prefill, _ = pair()
    first = connector(prefill).serve([], tokens=1000, now=0.0)[1]
    second = connector(prefill).serve([], tokens=1000, now=0.0)[1]
    assert [first, second] == pytest.approx([0.002, 0.004])


def test_the_transfer_waits_for_the_busier_of_both_network_cards() -> None:
    cluster, prefill, decode = pair()
    leg = cluster.ask("p", request("leg", PROMPT, max_tokens=1, params=prefill_leg()))[1]
    connector(prefill).serve([], tokens=1_000_000, now=cluster.now)  # a second and a millisecond
    asked = cluster.now
    cluster.ask("d", request("decode", PROMPT, params=leg.params))
    assert decode.stats.transfer_time.total == pytest.approx(1.001 + 0.00105)
    assert decode.stats.time_to_first_token.total > cluster.now - asked - 0.01


def test_loading_requests_are_told_apart_from_waiting_ones() -> None:
    cluster, _, decode = pair()
    leg = cluster.ask("p", request("leg", PROMPT, max_tokens=1, params=prefill_leg()))[1]
    cluster.submit("d", request("decode", PROMPT, params=leg.params))
    assert (decode.wanting_kv, decode.loading, decode.loaded, decode.waiting) == (1, 0, 0, 1)
    cluster.turn(decode)
    assert (decode.wanting_kv, decode.loading, decode.loaded, decode.waiting) == (0, 1, 0, 1)
    cluster.pass_time(1)
    assert (decode.wanting_kv, decode.loading, decode.loaded, decode.waiting) == (0, 0, 1, 1)
    cluster.turn(decode)
    assert (decode.running, decode.waiting) == (1, 0)


def test_an_abort_while_loading_frees_both_sides() -> None:
    cluster, prefill, decode = pair()
    leg = cluster.ask("p", request("leg", PROMPT, max_tokens=1, params=prefill_leg()))[1]
    cluster.submit("d", request("decode", PROMPT, params=leg.params))
    cluster.turn(decode)
    decode.abort("decode", cluster.now)
    cluster.run_errands(decode)
    assert (prefill.cache.usage, decode.cache.usage) == (0.0, 0.0)
    cluster.pass_time(5)  # the KV that was on its way arrives for nobody
    assert decode.cache.usage == 0
