"""Carry a fault out on the connection of a request: end it, or let the answer drip and break off."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Mapping

from aiohttp import web

from imagesdk.emulator.faults import Ending, Fault

__all__ = ("FaultyResponse", "StoppedError", "deliver", "end_connection", "read_half")

# Seconds between two looks whether the client is still there, or has taken what was written.
_LOOK_EVERY = 0.02
# Seconds of a dripping answer that are sent at once.
_DRIP_EVERY = 0.05
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class StoppedError(Exception):
    """The exchange ends here, as a fault demands.

    Attributes:
        how: In which way.
        status: Status that was sent by then, 0 if none was.
    """

    def __init__(self, how: Ending | None, status: int = 0) -> None:
        super().__init__(how)
        self.how: Ending = how or "close"
        self.status = status


async def read_half(request: web.Request) -> None:
    """Read half of the body, or its first piece if its length is not known."""
    left = (request.content_length or 0) / 2
    while piece := await request.content.readany():
        left -= len(piece)
        if left <= 0:
            return


async def end_connection(
    request: web.BaseRequest, how: Ending, closing: asyncio.Event | None = None
) -> None:
    """End the connection of *request*; to hang, wait for the client to leave or for *closing*."""
    while how == "hang" and request.transport is not None:
        if closing is not None and closing.is_set():
            break
        await asyncio.sleep(_LOOK_EVERY)
    transport = request.transport
    if transport is None:
        return
    if how != "reset":
        transport.close()
        return
    while transport.get_write_buffer_size():  # what was written is part of the fault
        await asyncio.sleep(_LOOK_EVERY)
        if transport.is_closing():
            return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


class FaultyResponse(web.StreamResponse):
    """An answer whose body drips, and ends before it is whole.

    Args:
        fault: How slowly, and where.
        status: Status of the answer.
        headers: Headers of the answer.
    """

    def __init__(self, fault: Fault, *, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status=status, headers=headers)
        self._fault = fault
        self._bytes_left = fault.cut
        self._events_left = fault.events

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a piece of the body, or one event of a stream.

        Raises:
            StoppedError: The body ends here.
            ConnectionError: The client has gone.
        """
        if self._events_left == 0:
            raise StoppedError(self._fault.how, self.status)
        sent = data if self._bytes_left is None else data[: self._bytes_left]
        await self._drip(sent)
        if self._events_left is not None:
            self._events_left -= 1
        if self._bytes_left is not None:
            self._bytes_left -= len(sent)
            if len(sent) < len(data):
                raise StoppedError(self._fault.how, self.status)

    async def write_over(self, data: bytes) -> None:
        """Write what arrives whatever the fault is."""
        await super().write(data)

    async def _drip(self, data: bytes | bytearray | memoryview) -> None:
        rate = self._fault.bytes_per_second
        if rate is None:
            await super().write(data)
            return
        size = max(1, int(rate * _DRIP_EVERY))
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            await super().write(piece)
            await asyncio.sleep(len(piece) / rate)


async def deliver(
    request: web.Request, response: web.StreamResponse, fault: Fault
) -> web.StreamResponse:
    """Return *response*, or send it as *fault* demands and return what was sent.

    Raises:
        StoppedError: It ended early.
        ConnectionError: The client has gone.
    """
    if not (fault.spoils_body and isinstance(response, web.Response)):
        return response
    body = response.body if isinstance(response.body, bytes) else b""
    sent = body[: fault.cut] if fault.how == "end" else body
    faulty = FaultyResponse(fault, status=response.status, headers=response.headers)
    faulty.content_length = len(sent)
    await faulty.prepare(request)
    await faulty.write(sent)
    await faulty.write_eof()
    return faulty
