from hypothesis import given, settings
from hypothesis import strategies as st

from pdscale.emulator.tokens import (
    END_OF_TURN,
    encode,
    encode_chat,
    follow,
    next_token,
    spell,
)


def test_each_word_is_one_token_and_white_space_does_not_count() -> None:
    assert len(encode("three  small\nwords ")) == 3
    assert encode("three small words") == encode(" three\tsmall words")


def test_a_message_costs_a_role_and_an_end_and_the_answer_a_header() -> None:
    # <|user|> hello there <|end|> <|assistant|>
    assert len(encode_chat([("user", "hello there")])) == 5


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=30))
def test_an_answer_sent_again_becomes_the_very_tokens_that_were_generated(seen: list[int]) -> None:
    answer = [next_token(s, ends_after=0) for s in seen]
    first = encode_chat([("user", "hello")])
    text = " ".join(spell(token) for token in answer)
    again = encode_chat([("user", "hello"), ("assistant", text), ("user", "more")])
    assert again[: len(first) + len(answer)] == first + answer


def test_the_model_ends_answers_at_the_asked_mean_length() -> None:
    seen, ends = 0, 0
    for _ in range(4000):
        seen = follow(seen, (1,))
        ends += next_token(seen, ends_after=20) == END_OF_TURN
    assert 150 <= ends <= 250  # 4000 / 20 = 200, standard deviation 14


def test_the_model_says_the_same_on_every_machine() -> None:
    assert follow(0, (1, 2, 3)) == 66309708226675383
    assert spell(next_token(66309708226675383, ends_after=0)) == "w2b7"


def test_what_is_seen_depends_on_every_token_and_their_order() -> None:
    assert len({follow(0, (1, 2)), follow(0, (2, 1)), follow(1, (1, 2)), follow(0, (1,))}) == 4
