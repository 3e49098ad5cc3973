import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.units import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("75ms", 0.075), ("2s", 2.0), ("1.5s", 1.5), ("5m", 300.0), ("1m30s", 90.0), ("2h", 7200.0)],
)
def test_a_duration_reads_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "-3s", "3 s", "s", "1d", "1e3s", "½s"])
def test_nonsense_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="duration must look like") as refused:
        parse_duration(text)
    assert repr(text) in str(refused.value)


@given(st.integers(0, 10**8))
def test_what_is_written_is_read_back(millis: int) -> None:
    assert parse_duration(format_duration(millis / 1000)) == pytest.approx(millis / 1000, rel=1e-5)
