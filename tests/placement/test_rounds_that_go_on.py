"""A session's history is for those who said the same before."""

from typing import Any

import pytest

from pdscale.placement.continuity import Continuity


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return {"model": "m", "messages": messages, **more}


TOOLS = [{"type": "function", "function": {"name": "look"}}]
PICTURE = [{"type": "image_url", "image_url": {"url": "data:,a"}}]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(chat("a"), chat("a", "b", "c"), id="next-round"),
        pytest.param(chat("a"), chat("a"), id="asked-again"),
        pytest.param(chat("a", tools=TOOLS), chat("a", "b", "c", tools=TOOLS), id="same-tools"),
        pytest.param({"prompt": "one"}, {"prompt": "one two"}, id="prompt"),
        pytest.param({"prompt": [1, 2]}, {"prompt": [1, 2, 3]}, id="tokens"),
    ],
)
def test_a_request_that_begins_with_the_last_one_goes_on(first: Any, second: Any) -> None:
    continuity = Continuity()
    assert continuity.goes_on("s", first)
    assert continuity.goes_on("s", second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(chat("a", "b", "c"), chat("A", "b", "c", "d", "e"), id="edited-beginning"),
        pytest.param(chat("a", "b", "c"), chat("a", "x", "c", "d", "e"), id="edited-answer-of-the-past"),
        pytest.param(chat("a", "b", "c"), chat("a"), id="cut-short"),
        pytest.param(chat("a", "b", "c"), chat("a", "b", "C"), id="said-differently"),
        pytest.param(chat("a"), chat("a", "b", "c", tools=TOOLS), id="other-tools"),
        pytest.param(chat("a"), chat("a", model="n"), id="other-model"),
        pytest.param(
            {"messages": [{"role": "user", "content": PICTURE}]},
            {"messages": [{"role": "user", "content": [{**PICTURE[0], "image_url": {"url": "data:,b"}}]}]},
            id="other-picture",
        ),
        pytest.param({"prompt": "one"}, {"prompt": "One two"}, id="prompt"),
        pytest.param({"prompt": [1, 2]}, {"prompt": [1, 3, 3]}, id="tokens"),
        pytest.param({"prompt": "one"}, chat("one"), id="another-kind"),
    ],
)
def test_anything_else_is_a_new_beginning_and_then_goes_on_itself(first: Any, second: Any) -> None:
    continuity = Continuity()
    continuity.goes_on("s", first)
    assert not continuity.goes_on("s", second)
    assert continuity.goes_on("s", second)


def test_sessions_are_apart_and_bounded() -> None:
    continuity = Continuity(capacity=2)
    for name in ("a", "b", "c"):
        assert continuity.goes_on(name, chat(name))
    assert continuity.goes_on("a", chat("else"))  # forgotten by now
    assert not continuity.goes_on("c", chat("else"))


def test_a_mark_holds_until_the_session_speaks_again() -> None:
    continuity = Continuity()
    continuity.goes_on("s", chat("a"))
    mark = continuity.latest("s")
    continuity.goes_on("other", chat("a"))
    assert continuity.latest("s") is mark
    continuity.goes_on("s", chat("a"))
    assert continuity.latest("s") is not mark
