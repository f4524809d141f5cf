"""Receive the bytes of an answer from a socket, and do nothing with them: what is the limit here."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

__all__ = ("Client",)

_BUFFER = 256 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n0\r\n\r\n"


class Client:
    """Sockets that are kept open, one for each request in flight."""

    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        self._address = (url.hostname, url.port)
        self._path = url.path
        self._free: list[tuple[socket.socket, memoryview]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for connection, _ in self._free:
            connection.close()

    async def small(self) -> None:
        """Receive a URL."""
        await self._exchange({"model": "dall-e-2", "prompt": "a fox", "n": 1, "size": "1024x1024"})

    async def save(self, n: int, folder: Path, number: int) -> None:  # noqa: ARG002 - as the others
        """Receive images, and save none."""
        await self._exchange({"model": "gpt-image-2", "prompt": "a fox", "n": n})

    async def stream(self, partials: int, size_bytes: int) -> float:
        """Receive a stream; return when as many bytes were there as the first image takes."""
        body = {"model": "gpt-image-2", "prompt": "a fox", "stream": True}
        return await self._exchange(body | {"partial_images": partials}, size_bytes * 4 // 3)

    async def _exchange(self, fields: dict[str, object], notice: int = 0) -> float:
        loop = asyncio.get_running_loop()
        if self._free:
            connection, buffer = self._free.pop()
        else:
            connection, buffer = socket.socket(), memoryview(bytearray(_BUFFER))
            connection.settimeout(0)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(connection, self._address)
        body = json.dumps(fields).encode()
        head = (
            f"POST {self._path}/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        await loop.sock_sendall(connection, head.encode() + body)
        got = await loop.sock_recv_into(connection, buffer)
        noticed = 0.0
        start = bytes(buffer[:got])
        length = _LENGTH.search(start)
        tail = start[-len(_END) :]
        total = start.index(b"\r\n\r\n") + 4 + int(length[1]) if length else None
        while got < total if total is not None else tail != _END:
            read = await loop.sock_recv_into(connection, buffer)
            if not read:
                raise ConnectionResetError("the server closed the connection")
            got += read
            if not noticed and got >= notice:
                noticed = loop.time()
            tail = (tail + bytes(buffer[max(0, read - len(_END)) : read]))[-len(_END) :]
        self._free.append((connection, buffer))
        return noticed
