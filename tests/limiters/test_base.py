from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from imagesdk.errors import ConfigurationError
from imagesdk.limiters.base import CallTooLarge, Slots


@pytest.mark.parametrize("most", [0, -1])
def test_no_slots_at_all(most: int) -> None:
    """A session that may have no exchange in flight is a mistake."""
    with pytest.raises(
        ConfigurationError, match=f"max_concurrency is {most}; it must be 1 or more"
    ):
        Slots(most)


def test_slots_are_taken_and_given_back() -> None:
    """As many as there are can be taken, and those that came back again."""
    slots = Slots(2)
    assert [slots.take(), slots.full, slots.take(), slots.full, slots.take()] == [
        *(True, False),
        *(True, True),
        False,
    ]
    slots.release()
    assert not slots.full
    assert slots.take()
    assert not slots.take()


def test_who_waits_for_a_slot_is_told() -> None:
    """Each release is told once to whom it concerns, however often that asked for it."""
    slots, told = Slots(1), []

    def listen() -> None:
        told.append(slots.full)
        assert slots.take()  # no lock is held: the slot can be had at once

    slots.on_release(listen)
    slots.on_release(listen)
    assert slots.take()
    slots.release()
    slots.release()
    assert told == [False, False]
    assert slots.full


def test_several_are_told() -> None:
    """The queues of several model families can wait for one session's slots."""
    slots, told = Slots(1), []
    slots.on_release(lambda: told.append("first"))
    slots.on_release(lambda: told.append("second"))
    slots.take()
    slots.release()
    assert told == ["first", "second"]


def test_threads_share_slots() -> None:
    """Whatever threads do at once, no more are taken than there are."""
    slots = Slots(100)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: slots.take(), range(2000)))
        assert (sum(taken), slots.full) == (100, True)
        list(pool.map(lambda _: slots.release(), range(100)))
        assert sum(pool.map(lambda _: slots.take(), range(2000))) == 100


def test_a_call_that_is_too_large_says_what_fits() -> None:
    """The session reads from it how to split the call."""
    assert CallTooLarge(5).limit == 5
