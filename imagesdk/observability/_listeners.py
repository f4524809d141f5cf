"""Several listeners in the place of one."""

from __future__ import annotations

from collections.abc import Callable

from imagesdk.events import Event

__all__ = ("combine",)


def combine(*listeners: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return a listener that tells each of *listeners*, in their order.

    Args:
        listeners: Callbacks as ``on_event=`` takes them, any number.

    Returns:
        One callback. All of them hear an event, even if one of them raises; what was raised comes
        out together afterwards, and the session logs it.

    Raises:
        ExceptionGroup: By the callback, with what the listeners raised.

    Example:
        >>> from imagesdk.events import Split
        >>> from imagesdk.observability import combine
        >>> seen, counted = [], []
        >>> listener = combine(seen.append, lambda event: counted.append(event.call))
        >>> listener(Split(call=7, endpoint="edits", model=None, limit=5))
        >>> len(seen), counted
        (1, [7])
    """

    def tell(event: Event) -> None:
        errors: list[Exception] = []
        for listener in listeners:
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
        if errors:
            raise ExceptionGroup("listeners failed", errors)

    return tell
