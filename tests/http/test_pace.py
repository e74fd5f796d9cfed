"""The rate that a client has to keep, against what it means."""

from __future__ import annotations

import pytest
from handy_ws.http.pace import Pace
from hypothesis import given
from hypothesis import strategies as st

# Powers of two, so that nothing is rounded.
RATE = 64.0
PAUSE = 32.0
PERIOD = 4.0
ENOUGH = 256  # bytes for a period


def looks(counts: list[int], minimum: float | None = RATE) -> int:
    """Return how many looks a client passes that sends so many bytes before each."""
    pace = Pace(minimum, PAUSE, PERIOD)
    total = 0
    for number, count in enumerate(counts):
        total += count
        if not pace.keeps_up(total):
            return number
    return len(counts)


@pytest.mark.parametrize(
    ("counts", "passed"),
    [
        ([0], 0),
        ([ENOUGH - 1], 0),
        ([ENOUGH] * 100, 100),
        ([ENOUGH, ENOUGH, ENOUGH - 1], 2),
        ([ENOUGH + 1, ENOUGH - 1, ENOUGH, ENOUGH - 1], 3),
        # As far ahead as the longest pause, and no further.
        ([10**9, *[0] * 20], 8),
        ([8 * ENOUGH, *[0] * 20], 8),
        ([2 * ENOUGH, *[0] * 20], 2),
        ([10**9, 0, 0, 10**9, *[0] * 20], 11),
        ([10**9, *[0] * 7, ENOUGH, ENOUGH - 1], 9),
    ],
)
def test_who_keeps_the_rate_passes(counts: list[int], passed: int) -> None:
    assert looks(counts) == passed


@pytest.mark.parametrize(
    ("counts", "passed"),
    [([0] * 20, 8), ([1] * 100, 100), ([0, 0, 0, 1, *[0] * 20], 11)],
)
def test_without_a_rate_a_byte_now_and_then_is_enough(counts: list[int], passed: int) -> None:
    assert looks(counts, None) == passed


@given(st.lists(st.integers(0, 4 * ENOUGH), max_size=50))
def test_whoever_passes_has_kept_the_rate_and_whoever_does_not_has_not(counts: list[int]) -> None:
    passed = looks(counts)
    for number in range(1, passed + 1):
        assert sum(counts[:number]) >= ENOUGH * number
    if passed < len(counts):
        late = counts[: passed + 1]
        assert any(sum(late[at:]) < ENOUGH * (len(late) - at) for at in range(len(late)))


def test_a_total_that_goes_back_is_no_progress() -> None:
    pace = Pace(RATE, PAUSE, PERIOD)
    assert pace.keeps_up(2 * ENOUGH)
    assert pace.keeps_up(ENOUGH)
    assert not pace.keeps_up(2 * ENOUGH)
