"""The PromQL texts: whom they select, and what they do with nothing."""

import re
from dataclasses import fields

import pytest

from pdscale.prom import queries
from pdscale.scaling.history import History


def _pod_pattern(query: str) -> re.Pattern[str]:
    text = re.search(r'pod=~"((?:[^"\\]|\\.)*)"', query)
    assert text
    return re.compile(text[1].replace("\\\\", "\\"))


def test_every_field_of_a_history_has_a_query() -> None:
    asked = queries.measures("prod", "chat", window=60)
    assert set(asked) == {field.name for field in fields(History)}


def test_the_request_rate_is_the_front_routers_alone() -> None:
    assert queries.measures("prod", "chat", window=60)["request_rate"] == (
        "sum(rate(pdscale_router_requests_received_total{"
        'namespace="prod",pod=~"chat-router-[a-z0-9]+-[a-z0-9]+",place="front"}[60s]))'
    )


@pytest.mark.parametrize(
    ("pod", "chosen"),
    [
        pytest.param("chat-router-6d4cf56db6-x2x7p", True, id="own pod"),
        pytest.param("xchat-router-6d4cf56db6-x2x7p", False, id="longer name before"),
        pytest.param("chat-router-router-6d4cf56db6-x2x7p", False, id="a neighbour's router"),
        pytest.param("chat-decode-6d4cf56db6-x2x7p", False, id="another role"),
        pytest.param("chat-router-6d4cf56db6-x2x7p-0", False, id="longer name after"),
    ],
)
def test_neighbours_with_similar_names_are_left_out(pod: str, chosen: bool) -> None:
    query = queries.measures("prod", "chat", window=60)["completed"]
    assert bool(_pod_pattern(query).fullmatch(pod)) is chosen


def test_a_dot_in_a_name_matches_only_a_dot() -> None:
    pattern = _pod_pattern(queries.measures("prod", "v1.5", window=60)["completed"])
    assert pattern.fullmatch("v1.5-router-abc12-x2x7p")
    assert not pattern.fullmatch("v1x5-router-abc12-x2x7p")


def test_quotes_and_backslashes_cannot_leave_a_string() -> None:
    assert queries.quoted('a"} or up{x="\\') == '"a\\"} or up{x=\\"\\\\"'


def test_the_local_share_compares_decode_engines_with_both_pools() -> None:
    decode, both = queries.local_share("prod", "chat", window=60).split(" / ")
    assert _pod_pattern(decode).fullmatch("chat-decode-abc12-x2x7p")
    assert not _pod_pattern(decode).fullmatch("chat-prefill-abc12-x2x7p")
    assert _pod_pattern(both).fullmatch("chat-decode-abc12-x2x7p")
    assert _pod_pattern(both).fullmatch("chat-prefill-abc12-x2x7p")


def test_sglang_computes_nothing_on_decode_replicas_and_that_is_known() -> None:
    vllm, sglang = queries.local_share("prod", "chat", window=60).split(" or ")
    assert "sglang" not in vllm
    assert sglang.startswith("0 * sum(sglang:num_running_reqs{")
    assert _pod_pattern(sglang).fullmatch("chat-decode-abc12-x2x7p")
    assert not _pod_pattern(sglang).fullmatch("chat-prefill-abc12-x2x7p")


@pytest.mark.parametrize(
    ("scrape_interval", "step", "window"),
    [
        pytest.param(15, 15, 60, id="four scrapes"),
        pytest.param(1, 15, 15, id="a step that sees more than four scrapes"),
    ],
)
def test_the_rate_window_survives_a_lost_scrape(scrape_interval: float, step: float, window: float) -> None:
    assert queries.rate_window(scrape_interval=scrape_interval, step=step) == window


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(60, "60s"), (1.5, "1500ms"), (1_234_567, "1234567s"), (0.0001, "1ms")],
)
def test_durations_are_written_as_promql_reads_them(seconds: float, text: str) -> None:
    assert queries.duration(seconds) == text


def test_a_window_of_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="window must be above 0s, got 0s"):
        queries.duration(0)


def test_a_history_is_one_query_that_holds_only_while_the_same_routers_are_seen() -> None:
    query = queries.history("prod", "chat", window=60, scrape_interval=15)
    sound = queries.steady("prod", "chat", window=60, scrape_interval=15)
    assert query.count("label_replace(") == len(fields(History))
    assert query.endswith(f") and on() ({sound})")
    # 1.1 scrape intervals and a quarter of a second from the window's begin: 60 - 16.75.
    assert "[16750ms] offset 43250ms" in sound
    assert "[22500ms] offset 60s" in sound
    assert sound.endswith("[82500ms])) == 0")


def test_paces_are_of_the_engines_of_one_role_and_only_of_what_was_counted() -> None:
    asked = queries.measures("prod", "chat", window=60)
    for measure, role in (("inter_token_latency", "decode"), ("prefill_leg_seconds", "prefill")):
        assert _pod_pattern(asked[measure]).fullmatch(f"chat-{role}-abc12-x2x7p")
        assert not _pod_pattern(asked[measure]).fullmatch("chat-router-abc12-x2x7p")
        assert asked[measure].count(" > 0)") == asked[measure].count(" / ")
    where = 'namespace="prod",pod=~"chat-prefill-[a-z0-9]+-[a-z0-9]+"'
    legs = f"rate(vllm:request_prefill_time_seconds_count{{{where}}}[60s])"
    computed = f'rate(vllm:prompt_tokens_by_source_total{{{where},source="local_compute"}}[60s])'
    assert asked["prefill_leg_tokens"] == f"sum({computed}) / (sum({legs}) > 0)"
