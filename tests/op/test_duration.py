import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge_operator import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("500ms", 0.5),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("1y", 31536000),
        ("30d", 2592000),
        ("4w", 2419200),
        ("1d2h3m4s5ms", 93784.005),
    ],
)
def test_a_duration_is_read_in_seconds(text, seconds):
    assert duration.seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "-5m", "1.5h", "P1D", "5 m", "5m ", "m", "5q", "5M", "30d12", "٣s"]
)
def test_what_is_no_duration_is_refused_with_examples(text):
    with pytest.raises(ValueError, match="is no duration; write for example 30s, 5m, 2h or 30d"):
        duration.seconds(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (0.5, "500ms"),
        (2.5, "2500ms"),
        (90, "1m30s"),
        (150, "2m30s"),
        (5400, "1h30m"),
        (2419200, "28d"),
        (86400 * 365, "365d"),
    ],
)
def test_seconds_are_written_in_the_largest_units_that_are_exact(seconds, text):
    assert duration.text(seconds) == text


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(1, 10**9))
def test_what_is_written_is_read_back(seconds):
    assert duration.seconds(duration.text(seconds)) == seconds
