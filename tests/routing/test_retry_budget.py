"""The retry budget: 10 % of the requests of the last 10 s, never fewer than 10."""

from __future__ import annotations

import pytest

from routing.retry import RetryBudget
from tests.routing.fakes import ManualClock


def spend(budget: RetryBudget) -> int:
    """Take until nothing is left; return how many that were."""
    count = 0
    while budget.take():
        count += 1
    return count


@pytest.mark.parametrize(
    ("requests", "retries"), [(0, 10), (1, 10), (100, 10), (101, 11), (200, 20), (1_000, 100), (12_345, 1_235)]
)
def test_a_tenth_of_the_requests_or_ten(requests: int, retries: int) -> None:
    """A quiet gateway may retry too."""
    budget = RetryBudget(ManualClock())
    for _ in range(requests):
        budget.count_request()
    assert spend(budget) == retries


def test_what_was_spent_comes_back_after_ten_seconds() -> None:
    """The window slides by the second."""
    clock = ManualClock()
    budget = RetryBudget(clock)
    assert spend(budget) == 10
    clock.at += 9
    assert spend(budget) == 0
    clock.at += 1
    assert spend(budget) == 10


def test_requests_leave_the_window_too() -> None:
    """What was busy a minute ago allows nothing now."""
    clock = ManualClock()
    budget = RetryBudget(clock)
    for _ in range(1_000):
        budget.count_request()
    clock.at += 5
    assert spend(budget) == 100
    clock.at += 5
    assert spend(budget) == 0
    clock.at += 5
    assert spend(budget) == 10


def test_a_long_run_keeps_only_ten_seconds() -> None:
    """Its memory is bounded, and over time the share holds."""
    clock = ManualClock()
    budget = RetryBudget(clock)
    taken = 0
    for _ in range(600):
        for _ in range(50):
            budget.count_request()
            taken += budget.take()
        clock.at += 1
        assert len(budget._seconds) <= 10
    assert taken <= 0.1 * 600 * 50 * 1.05
