from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, strategies as st

from imagesdk.limiters.local import ImageLimiter
from imagesdk.limiters.quota import RetryQuota
from imagesdk.limiters.unlimited import NoLimiter


def test_a_full_quota_pays_for_100_retries() -> None:
    """A retry costs 5 of 500, one after a timeout 10, and nothing is paid by halves."""
    quota = RetryQuota()
    assert [quota.take("failed") for _ in range(101)] == [5] * 100 + [0]
    quota = RetryQuota(19)
    assert [quota.take("still_running"), quota.take("still_running")] == [10, 0]
    assert (quota.take("not_sent"), quota.left) == (5, 4)


def test_success_fills_it() -> None:
    """A success gives back what the call took, at least 1, and never above the capacity."""
    quota = RetryQuota(20)
    taken = quota.take("failed") + quota.take("still_running")
    quota.succeeded()
    assert quota.left == 6
    quota.succeeded(taken)
    assert quota.left == 20


@pytest.mark.parametrize("limiter", [ImageLimiter, NoLimiter])
def test_every_limiter_has_one_of_its_own(limiter: Any) -> None:
    """Sessions that share a limiter share its quota; another limiter is another key."""
    one, other = limiter(), limiter()
    assert isinstance(one.retry_quota, RetryQuota)
    assert one.retry_quota is not other.retry_quota
    assert one.retry_quota.left == 500


@given(
    capacity=st.integers(0, 40),
    steps=st.lists(st.sampled_from(["failed", "still_running"]) | st.integers(0, 30), max_size=60),
)
def test_the_quota_stays_within_its_bounds(capacity: int, steps: list[Any]) -> None:
    """Whatever is taken and given back: from 0 to the capacity, and nothing is taken by halves."""
    quota = RetryQuota(capacity)
    for step in steps:
        before = quota.left
        if isinstance(step, int):
            quota.succeeded(step)
            assert quota.left == min(capacity, before + max(1, step))
        else:
            cost = quota.take(step)
            assert cost == ((10 if step == "still_running" else 5) if before - quota.left else 0)
            assert quota.left == before - cost >= 0


def test_threads_share_a_quota() -> None:
    """Calls of several event loops take no more than there is."""
    quota = RetryQuota()
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: quota.take("failed"), range(4000)))
    assert (sum(taken), quota.left) == (500, 0)
