"""A server over a bare socket that does with each request exactly what a step says, also nothing good."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from email import message_from_bytes
from email.policy import HTTP
from types import TracebackType
from typing import Any, Self

GOOD = json.dumps({"data": [{"b64_json": "aW1hZ2U="}]}).encode()


class Connection:
    """One request on one connection, as the server sees it.

    Attributes:
        method: Of the request.
        target: What the request line asks for.
        headers: Names in lower case.
        body: Of the request, if a step read it.
        at: Loop time at which the head had arrived.
        charged: Images that the server made, and bills.
        other_port: Port of another server, to redirect to.
    """

    other_port = 0

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begin: bytes = b""
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._begin = begin
        self.method = self.target = ""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.at = 0.0
        self.charged = 0

    async def read_head(self) -> None:
        """Read up to the empty line."""
        rest = await self.reader.readuntil(b"\r\n\r\n")
        head = (self._begin + rest).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        self.at = asyncio.get_running_loop().time()
        self.method, self.target, _ = first.split(" ", 2)
        self.headers = {k.lower(): v.strip() for k, _, v in (s.partition(":") for s in lines)}

    async def read(self) -> None:
        """Read the whole request."""
        await self.read_head()
        self.body = await self.reader.readexactly(int(self.headers.get("content-length", "0")))

    def answer(self, body: bytes = GOOD, status: int = 200, **headers: str) -> None:
        """Write an answer; a header without a value is left out."""
        headers = {"content_length": str(len(body)), **headers}
        lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items() if v)
        self.writer.write(f"HTTP/1.1 {status} OK\r\n{lines}\r\n".encode() + body)

    def reset(self) -> None:
        """Break the connection with a RST, whatever has been read or written."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def form(self) -> dict[str, Any]:
        """Parse the body as a form, with the standard library."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = message_from_bytes(head + self.body, policy=HTTP)
        return {
            str(part.get_param("name", header="content-disposition")): part
            for part in message.iter_parts()
        }


Step = Callable[[Connection], Awaitable[None]]


async def good(connection: Connection) -> None:
    """Make an image."""
    await connection.read()
    connection.charged = 1
    connection.answer()


def says(
    body: bytes = GOOD, status: int = 200, *, charged: int | None = None, **headers: str
) -> Step:
    """Answer; with status 200, for an image that was made."""

    async def step(connection: Connection) -> None:
        await connection.read()
        connection.charged = int(status == 200) if charged is None else charged
        connection.answer(body, status, **headers)

    return step


def cut(body: bytes = GOOD, *, reset: bool = False, **headers: str) -> Step:
    """Make an image, answer and close the connection at once."""

    async def step(connection: Connection) -> None:
        await connection.read()
        connection.charged = 1
        connection.answer(body, 200, **headers)
        if reset:
            await connection.writer.drain()
            await asyncio.sleep(0.01)  # a reset takes back what has not been read
            connection.reset()
        else:
            connection.writer.close()

    return step


async def reset_after_request(connection: Connection) -> None:
    """Make an image and break the connection."""
    await connection.read()
    connection.charged = 1
    connection.reset()


async def close_after_request(connection: Connection) -> None:
    """Make an image and close the connection."""
    await connection.read()
    connection.charged = 1
    connection.writer.close()


async def reset_in_upload(connection: Connection) -> None:
    """Break the connection in the middle of the body."""
    await connection.read_head()
    await connection.reader.readexactly(100_000)
    connection.reset()


async def hang(connection: Connection) -> None:
    """Make an image and never say so."""
    await connection.read()
    connection.charged = 1
    await connection.reader.read()


async def reset_on_accept(connection: Connection) -> None:
    """Break the connection before anything is read."""
    connection.reset()


class RawServer:
    """Does with each request what the next step says, and after the last step what `good` does.

    A step begins with the first byte of its request, `reset_on_accept` with the connection.

    Attributes:
        requests: What the steps have begun with, in order.
        steps: Those to come.
        tasks: One for each connection.
        other_port: See `Connection`.
    """

    def __init__(self, *steps: Step, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Connection] = []
        self.steps = list(steps)
        self.other_port = 0
        self._tls = tls
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def charged(self) -> int:
        """Images that were made."""
        return sum(request.charged for request in self.requests)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"{'https' if self._tls else 'http'}://{host}:{port}/v1"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        begin = b""
        try:
            while not (reader.at_eof() or writer.is_closing()):
                if begin or self.steps[:1] != [reset_on_accept]:
                    begin = await reader.readexactly(1)
                step = self.steps.pop(0) if self.steps else good
                connection = Connection(reader, writer, begin)
                connection.other_port = self.other_port
                self.requests.append(connection)
                await step(connection)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()
