"""Whose event is decoded next, of the streams that bring more than can be decoded.

Piece by piece in turn, the images of all streams would be complete at the end, and in memory until
then. One event after the other, the first are complete at once, and the last no later.
"""

from __future__ import annotations

import asyncio

__all__ = ("Turns",)

_PATIENCE = 0.001
"""Seconds that the others wait for the next piece of whose turn it is."""


class Turns:
    """Lets one reader at a time go on, in the order in which they came.

    A reader is any object. It calls `leave` in the end, whatever happens.
    """

    def __init__(self) -> None:
        self._holder: object | None = None
        self._waiting: dict[object, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, reader: object) -> None:
        """Wait until it is the turn of *reader*; it may be already."""
        if self._holder is None or self._holder is reader:
            self._hold(reader)
            return
        self._waiting[reader] = asyncio.get_running_loop().create_future()
        await self._waiting[reader]

    def keep(self, reader: object) -> None:
        """Let the others wait while *reader* asks for its next piece, but not for long."""
        if self._holder is reader:
            self._hold(reader)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_PATIENCE, self.leave, reader)

    def leave(self, reader: object) -> None:
        """Let the next one go on, if it is the turn of *reader*; it waits no longer, if not."""
        self._waiting.pop(reader, None)
        if self._holder is reader:
            self._hold(None)
            while self._waiting and self._holder is None:
                following = next(iter(self._waiting))
                turn = self._waiting.pop(following)
                if not turn.done():  # it was cancelled, and will leave
                    turn.set_result(None)
                    self._hold(following)

    def _hold(self, reader: object | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._holder, self._timer = reader, None
