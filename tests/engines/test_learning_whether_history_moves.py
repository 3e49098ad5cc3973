"""Evidence for and against a session's history moving between vLLM engines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.engines.capability import Capability, CapabilityReason


def after(*rounds: str, version: str | None = None, enabled: bool = True) -> Capability:
    """Rounds in two letters: (S)treamed or in (O)ne piece, (+) handed out, (-) asked in vain, (.) plain."""
    found = Capability(enabled)
    if version is not None:
        found.version(version)
    for one in rounds:
        found.round_ended(asked=one[1] != ".", streamed=one[0] == "S", handed_out=one[1] == "+")
    return found


@pytest.mark.parametrize(
    ("found", "moves", "reason"),
    [
        pytest.param(after(), True, CapabilityReason.NOT_SEEN_YET, id="believed at first"),
        pytest.param(after("S+"), True, CapabilityReason.HANDED_OUT, id="seen"),
        pytest.param(after("O+"), True, CapabilityReason.HANDED_OUT, id="seen in one piece"),
        pytest.param(after("S-", "S-"), True, CapabilityReason.NOT_SEEN_YET, id="silence proves little"),
        pytest.param(after(*["S-"] * 3), False, CapabilityReason.NEVER_HANDED_OUT, id="lasting silence"),
        pytest.param(after("O+", *["S-"] * 3), False, CapabilityReason.STREAMS_SAY_NOTHING, id="before 0.33"),
        pytest.param(after(*["S."] * 9), True, CapabilityReason.NOT_SEEN_YET, id="nobody asked"),
        pytest.param(after(*["S-"] * 3, "S+"), True, CapabilityReason.HANDED_OUT, id="it comes back"),
        pytest.param(after("S+", *["O-"] * 3), False, CapabilityReason.NEVER_HANDED_OUT, id="it goes away"),
        pytest.param(after(version="0.32.0"), False, CapabilityReason.VERSION_TOO_OLD, id="old"),
        pytest.param(after(version="0.33.0"), True, CapabilityReason.NOT_SEEN_YET, id="new, may be unset"),
        pytest.param(after(version="v0.33.1rc1.dev5+g1"), True, CapabilityReason.NOT_SEEN_YET, id="a build"),
        pytest.param(after(version="1.0"), True, CapabilityReason.NOT_SEEN_YET, id="far future"),
        pytest.param(after(version="dev"), True, CapabilityReason.NOT_SEEN_YET, id="no version at all"),
        pytest.param(
            after("S+", version="0.32.9"), True, CapabilityReason.HANDED_OUT, id="a back-port is believed"
        ),
        pytest.param(after("S+", enabled=False), False, CapabilityReason.SWITCHED_OFF, id="not wanted"),
    ],
)
def test_what_is_believed_and_why(found: Capability, moves: bool, reason: CapabilityReason) -> None:
    assert (found.history_moves, found.reason) == (moves, reason)


def test_another_version_is_another_engine() -> None:
    found = after(*["S-"] * 3, version="0.32.1")
    found.version("0.33.0")
    assert found.reason is CapabilityReason.NOT_SEEN_YET
    found = after("S+", version="0.33.0")
    found.version("0.33.0")
    assert found.reason is CapabilityReason.HANDED_OUT


@given(st.lists(st.sampled_from(["S+", "S-", "S.", "O+", "O-", "O."])))
def test_a_streamed_round_that_brings_parameters_settles_it(rounds: list[str]) -> None:
    assert after(*rounds, "S+").history_moves
    assert not after(*rounds, "S-", "S-", "S-").history_moves
