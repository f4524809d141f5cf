from __future__ import annotations

import pytest

from imagesdk.events import Event, Split
from imagesdk.observability import combine

EVENT = Split(call=1, endpoint="edits", model=None, limit=5)


def test_all_listeners_hear_an_event_in_order() -> None:
    """Each listener is told, in the order in which they were given; none of them is fine, too."""
    heard: list[str] = []
    combine(lambda _: heard.append("a"), lambda _: heard.append("b"))(EVENT)
    combine()(EVENT)
    assert heard == ["a", "b"]


def test_a_listener_that_raises_keeps_no_other_from_hearing() -> None:
    """What the listeners raise comes out together, when all have heard the event."""
    heard: list[Event] = []

    def fail(event: Event) -> None:
        raise RuntimeError(type(event).__name__)

    with pytest.raises(ExceptionGroup) as caught:
        combine(fail, heard.append, fail)(EVENT)
    assert heard == [EVENT]
    assert [str(error) for error in caught.value.exceptions] == ["Split", "Split"]
