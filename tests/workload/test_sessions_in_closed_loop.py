"""Rounds of a session: what they add, what they find, and how long people wait."""

import pytest

from pdscale.perf.table import read_table
from pdscale.workload.request_table import read_requests
from pdscale.workload.sessions import Session, sessions_of
from pdscale.workload.trace import TimeBase

HEAD = (
    "timestamp_s,session_id,round_index,input_tokens,cached_tokens,output_tokens,think_s,tool_wait_s,kind,"
    "parent_session_id\n"
)


def sessions(rows: str, *, seconds_per_token: float = 0.0) -> tuple[Session, ...]:
    trace = read_requests(read_table((HEAD + rows).splitlines(), "t.csv"), time_base=TimeBase.TRACE)
    return sessions_of(trace, seconds_per_token=seconds_per_token)


def test_a_round_finds_the_prompt_and_the_answer_before_it() -> None:
    # 1000 sent and 200 answered; 960 are whole blocks of 64. The next prompt of 1250 adds 50 tokens.
    (one,) = sessions("0,a,0,1000,0,200,,,root,\n60,a,1,1250,960,100,,7,tool_result,\n")
    first, second = one.rounds
    assert (first.history, first.new, first.common, first.wait) == (0, 1000, 0, 0.0)
    assert (second.history, second.new, second.common, second.wait) == (1200, 50, 0, 7.0)


def test_a_round_after_a_cut_history_finds_its_cached_head_alone() -> None:
    (one,) = sessions("0,a,0,5000,0,200,,,root,\n60,a,1,3000,1000,100,,7,tool_result,\n")
    assert one.rounds[1].history == 1000


def test_a_branch_finds_the_round_it_branched_off() -> None:
    rows = (
        "0,a,0,1000,0,200,,,root,\n9,a,1,3000,960,100,,,continuation,\n20,a,1,1300,960,50,,,continuation,\n"
    )
    (one,) = sessions(rows)
    assert [r.history for r in one.rounds] == [0, 1200, 1200]


def test_an_edited_turn_does_not_find_the_answer() -> None:
    (one,) = sessions("0,a,0,1000,0,200,,,root,\n60,a,1,1250,960,100,5,,shared_prefix,\n")
    assert one.rounds[1].history == 960


def test_at_least_one_token_of_a_round_is_new() -> None:
    (one,) = sessions("0,a,0,100,0,200,,,root,\n60,a,1,100,100,10,5,,user,\n")
    assert one.rounds[1].new == 1


def test_what_a_first_round_shares_with_other_sessions_is_no_history() -> None:
    (one,) = sessions("0,a,0,1000,512,200,,,root,\n")
    assert (one.rounds[0].history, one.rounds[0].common) == (0, 512)


def test_waits_add_up_and_arrivals_stand_in_where_there_are_none() -> None:
    rows = "0,a,0,100,0,20,,,root,\n60,a,1,200,0,10,5,2,user,\n90,a,2,300,0,10,,,user,\n"
    (one,) = sessions(rows)
    assert [r.wait for r in one.rounds] == [0, 7, 30]
    (paced,) = sessions(rows, seconds_per_token=0.5)
    assert [r.wait for r in paced.rounds] == [0, 7, 25]
    (slow,) = sessions(rows, seconds_per_token=9.0)
    assert slow.rounds[2].wait == 0


def test_requests_of_no_session_are_sessions_of_one_round() -> None:
    both = sessions("4,,,100,,20,,,,\n9,,,50,,10,,,,\n")
    assert [(s.start, s.key, len(s.rounds)) for s in both] == [(0.0, "row-0", 1), (5.0, "row-1", 1)]
    assert [s.rounds[0].row for s in both] == [0, 1]
    assert both[0].rounds[0].history == 0


def test_sessions_start_in_order_and_know_their_parents() -> None:
    one, other = sessions(
        "0,a,0,100,0,20,,,root,\n5,b,0,100,0,10,,,subagent_root,a\n8,a,1,150,64,5,,1,user,\n"
    )
    assert (one.key, one.parent, other.key, other.parent) == ("a", None, "b", "a")
    assert (len(one.rounds), other.start) == (2, 5.0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0,a,0,9,0,1,,,,\n0,b,0,9,0,1,,,,\n", "sessions need a common clock; start_sessions gives one"),
        (",a,0,9,0,1,,,,\n", "sessions need times, got none"),
    ],
)
def test_sessions_need_a_clock(rows: str, message: str) -> None:
    trace = read_requests(read_table((HEAD + rows).splitlines(), "t.csv"))
    with pytest.raises(ValueError, match=message):
        sessions_of(trace)
