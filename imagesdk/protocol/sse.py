"""Cut a stream of server-sent events into events, whatever the pieces in which it arrives.

The data of an event is handed out in pieces as well: nothing is held here but a field's name. So an
image of many MB costs one copy, the caller's.

https://html.spec.whatwg.org/multipage/server-sent-events.html (read 2026-11-21), but for two
deviations: ``id`` and ``retry`` are ignored, because a paid stream is never resumed; and an event that
the stream ends within is handed out by `EventParser.finish`, because some servers leave out the last
empty line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import attrs

from imagesdk.errors import PayloadTooLargeError

__all__ = ("EventEnd", "EventParser", "Token")

_LF, _CR = ord("\n"), ord("\r")
_BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = len(_BOM) + len(b"event") + 1
"""A field's name that is longer is none of ours."""
_MAX_NAME_BYTES = 200


@attrs.frozen
class EventEnd:
    """The event whose data came before is complete.

    Attributes:
        name: Value of its ``event`` line, ``""`` without one.
    """

    name: str = ""


Token: TypeAlias = memoryview | EventEnd
"""A piece of an event's data, or its end."""


class EventParser:
    """Turn the bytes of a stream into `Token` after token: those of one event, its end, the next.

    Args:
        max_event_bytes: Longest data of one event.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._after_cr = False
        self._first_line = True
        self._start_event()
        self._start_line()

    def feed(self, piece: bytes) -> Iterator[Token]:
        """Yield what *piece* brings; it must be iterated to its end before the next.

        Raises:
            PayloadTooLargeError: An event is longer than max_event_bytes.
        """
        view, at, end = memoryview(piece), 0, len(piece)
        if self._after_cr and end:  # the second half of CR LF
            self._after_cr = False
            at = int(piece[0] == _LF)
        lf = cr = -1
        while at < end:
            # Each is looked for once: what lies beyond is remembered; -1 becomes `end`.
            if lf < at:
                lf = piece.find(b"\n", at) % (end + 1)
            if cr < at:
                cr = piece.find(b"\r", at) % (end + 1)
            stop = min(lf, cr)
            yield from self._take(view[at:stop])
            if stop == end:
                return
            at = stop + 1
            if stop == cr:
                self._after_cr = at == end
                at += at < end and piece[at] == _LF
            yield from self._end_line()

    def finish(self) -> Iterator[Token]:
        """Yield what is left when the stream has ended: the end of an event without its empty line."""
        yield from self._end_line()
        yield from self._end_line()

    def _start_event(self) -> None:
        self._name = b""
        self._has_data = False
        self._data_bytes = 0

    def _start_line(self) -> None:
        self._head = b""
        self._field: bytes | None = None  # until the colon
        self._value_begun = False

    def _take(self, part: memoryview) -> Iterator[memoryview]:
        """Read a part of one line."""
        if self._field is None:
            room = _HEAD_BYTES - len(self._head)
            if room <= 0:  # a long name: the line is of no interest
                return
            head = self._head + bytes(part[:room])
            colon = head.find(b":")
            if colon < 0:
                self._head = head
                return
            part = part[colon + 1 - len(self._head) :]
            self._head = head[:colon]
            yield from self._start_value()
        if not self._value_begun and part:
            self._value_begun = True
            part = part[part[0] == ord(" ") :]
        if self._field == b"event":
            self._name = (self._name + bytes(part[:_MAX_NAME_BYTES]))[:_MAX_NAME_BYTES]
        elif self._field == b"data" and part:
            yield self._counted(part)

    def _start_value(self) -> Iterator[memoryview]:
        self._field = self._head.removeprefix(_BOM) if self._first_line else self._head
        if self._field == b"event":
            self._name = b""  # the last one counts
        elif self._field == b"data":
            if self._has_data:  # lines of data are joined
                yield self._counted(memoryview(b"\n"))
            self._has_data = True

    def _end_line(self) -> Iterator[Token]:
        if self._field is None:
            empty = self._head in ((b"", _BOM) if self._first_line else (b"",))
            if not empty:
                yield from self._start_value()  # a name alone has an empty value
            elif self._has_data:
                yield EventEnd(self._name.decode("utf-8", "replace"))
            if empty:
                self._start_event()
        self._first_line = False
        self._start_line()

    def _counted(self, part: memoryview) -> memoryview:
        self._data_bytes += len(part)
        if self._data_bytes > self._max_event_bytes:
            raise PayloadTooLargeError(
                f"an event of the stream is larger than {self._max_event_bytes:,} bytes; reading was "
                "stopped",
                may_be_billed=True,
                limit_bytes=self._max_event_bytes,
            )
        return part
