"""The log of the package: stdlib logger ``imagesdk``, silent until the program configures logging.

https://docs.python.org/3/howto/logging.html#configuring-logging-for-a-library (read 2026-11-26)
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs

from imagesdk.events import (
    Admitted,
    Attempted,
    Done,
    Downloaded,
    Event,
    Failed,
    Partial,
    Queued,
    Retrying,
    Split,
    Started,
    Throttled,
)

__all__ = ("LOGGER", "log_events")

LOGGER = logging.getLogger("imagesdk")
LOGGER.addHandler(logging.NullHandler())


def log_events(logger: logging.Logger | None = None) -> Callable[[Event], None]:
    """Return a listener that writes each event as one line of a log.

    The steps of a call are DEBUG, its end and downloads INFO, retries and throttles WARNING, a failure
    ERROR (a cancelled call: INFO). Neither prompts nor images are ever logged: no event has them.

    Args:
        logger: Where to; None for the logger ``imagesdk``, which is silent until the program
            configures logging, for example with `logging.basicConfig`.

    Returns:
        A callback for ``on_event=``. A record has each field of the event as an attribute
        ``imagesdk_<field>``, and the event's name as ``imagesdk_event``, for formatters that write JSON.

    Example:
        >>> import asyncio, logging, sys
        >>> from imagesdk import ImageSession
        >>> from imagesdk.observability import log_events
        >>> logger = logging.getLogger("my_app.images")
        >>> logger.setLevel(logging.INFO)
        >>> logger.addHandler(logging.StreamHandler(sys.stdout))
        >>> async def main():
        ...     listener = log_events(logger)
        ...     async with ImageSession(api_key=key, base_url=url, on_event=listener) as images:
        ...         await images.generate("a fox", n=2, size="256x256")
        >>> asyncio.run(main())  # doctest: +ELLIPSIS
        generations call 1: done: 2 images after ... s, ... s in the queue, 1 attempt
    """
    target = logger or LOGGER

    def log(event: Event) -> None:
        level = _level(event)
        if target.isEnabledFor(level):
            fields = attrs.asdict(event, recurse=False)
            target.log(
                level,
                "%s%s: %s",
                event.endpoint,
                f" call {event.call}" if event.call else "",  # a download is part of none
                _words(event),
                extra={
                    "imagesdk_event": type(event).__name__,
                    **{f"imagesdk_{name}": value for name, value in fields.items()},
                },
            )

    return log


def _level(event: Event) -> int:
    match event:
        case Failed():
            return logging.INFO if event.error == "CancelledError" else logging.ERROR
        case Retrying() | Throttled():
            return logging.WARNING
        case Done() | Downloaded():
            return logging.INFO
        case _:
            return logging.DEBUG


def _words(event: Event) -> str:  # noqa: C901, PLR0911 - one line for each event
    match event:
        case Started():
            asked = f"{_count(event.images, 'image')} of {event.model or 'the default model'}"
            return f"started: {asked} at {event.server_address}:{event.server_port}"
        case Queued():
            place = f"position {event.position}, {event.wait:.1f} s"
            return f"queued for {event.reason}: {place}"
        case Admitted():
            return f"attempt {event.attempt} admitted after {event.waited:.3f} s"
        case Partial():
            return f"partial image {event.index}: {event.size_bytes:,} bytes"
        case Attempted():
            answer = f"status {event.status}" if event.status else "no status"
            return (
                f"attempt {event.number} {event.outcome} after {event.elapsed:.3f} s ({answer}, "
                f"request id {event.request_id})"
            )
        case Throttled():
            limit = "" if event.limit is None else f", the limit is {event.limit:g} a minute now"
            return f"throttled: all calls pause {event.pause:.1f} s{limit}: {event.message}"
        case Retrying():
            bill = ", and may be billed twice" if event.may_be_billed else ""
            return (
                f"attempt {event.attempt} failed ({event.reason}), again in {event.delay:.1f} s"
                f"{bill}: {event.message}"
            )
        case Done():
            return (
                f"done: {_count(event.images, 'image')} after {event.elapsed:.3f} s, "
                f"{event.waited:.3f} s in the queue, {_count(event.attempts, 'attempt')}"
            )
        case Failed():
            bill = ", may be billed" if event.may_be_billed else ""
            tries = _count(event.attempts, "attempt")
            return f"failed after {tries}{bill}: {event.error}: {event.message}"
        case Split():
            return f"split: a request takes {_count(event.limit, 'image')} at most now"
        case Downloaded():
            return f"downloaded {event.size_bytes:,} bytes"
        case _:
            return type(event).__name__


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
