"""Serve prepared answers as fast as a client can take them, in a process of its own.

The first part of the path says what is wanted, so that every client asks for it through its base_url:

- ``/url/v1``: one URL, as JSON.
- ``/b64.BYTES.N/v1``: N images of so many bytes, as b64_json.
- ``/sse.BYTES.N/v1``: N partial images and the last one, as an event stream in chunks of 64 KiB.
- ``/take.BYTES/v1``: a small image, if the body of the request has at least so many bytes; else 400.

Request bodies are counted by their Content-Length and thrown away. Run as ``python -m
benchmarks._peers_server``; it prints its port.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import random
import re
import struct
import zlib
from collections.abc import Iterator

__all__ = ("answer_to", "main", "picture")

_SLICE = 256 * 1024
_CHUNK = 64 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_URL = (
    "https://images.example.com/private/img-abcdefghijklmnopqrstuvwx.png"
    "?st=2026-11-21T07%3A00%3A00Z&se=2036-11-21T09%3A00%3A00Z&sp=r&sv=2024-08-04&sr=b&sig=abcdefg%3D"
)
_USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 12},
    "output_tokens": 4160,
    "total_tokens": 4172,
}


@functools.cache
def picture(size_bytes: int) -> bytes:
    """Return a PNG file of 1024 x 1024 pixels, whose only data are bytes that nothing compresses.

    Args:
        size_bytes: Of the file, at least 57.
    """
    head = b"\x89PNG\r\n\x1a\n"
    head += _png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1024, 1024, 8, 6, 0, 0, 0))
    end = _png_chunk(b"IEND", b"")
    noise = random.Random(size_bytes).randbytes(size_bytes - len(head) - len(end) - 12)  # noqa: S311 - no secret
    return head + _png_chunk(b"IDAT", noise) + end


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@functools.cache
def _text(size_bytes: int) -> bytes:
    return base64.b64encode(picture(size_bytes))


@functools.cache
def answer_to(wanted: str, body_bytes: int = 0) -> tuple[memoryview, ...]:
    """Return the whole answer, head included, in slices.

    Args:
        wanted: The first part of the path.
        body_bytes: Content-Length of the request.
    """
    kind, *numbers = wanted.split(".")
    match kind, [int(number) for number in numbers]:
        case "url", []:
            body = [json.dumps({"created": 1763700000, "data": [{"url": _URL}]}).encode()]
        case "b64", [size, n]:
            body = _json_body(size, n)
        case "sse", [size, n]:
            return _slices(
                [_head("transfer-encoding: chunked", "text/event-stream"), _events(size, n)]
            )
        case "take", [least] if body_bytes >= least:
            body = _json_body(512, 1)
        case _:
            error = {"error": {"message": f"{wanted!r} of {body_bytes} bytes", "code": "bad"}}
            body = [json.dumps(error).encode()]
            return _slices([_head(f"content-length: {len(body[0])}", status=b"400 Bad"), *body])
    return _slices([_head(f"content-length: {sum(map(len, body))}"), *body])


def _json_body(size: int, n: int) -> list[bytes]:
    """Return the pieces of the JSON; the images are one object, however often they are in it."""
    pieces = [b'{"created":1763700000,"background":"opaque","data":[']
    for number in range(n):
        pieces += [b',{"b64_json":"' if number else b'{"b64_json":"', _text(size), b'"}']
    fields = {"output_format": "png", "quality": "high", "size": "1024x1024", "usage": _USAGE}
    return [*pieces, b"]," + json.dumps(fields)[1:].encode()]


def _events(size: int, partials: int) -> bytes:
    common = {
        "created_at": 1763700000,
        "size": "1024x1024",
        "quality": "high",
        "background": "opaque",
        "output_format": "png",
        "b64_json": _text(size).decode(),
    }
    text = ""
    for index in range(partials):
        name = "image_generation.partial_image"
        event = {"type": name, **common, "partial_image_index": index}
        text += f"event: {name}\ndata: {json.dumps(event)}\n\n"
    name = "image_generation.completed"
    text += f"event: {name}\ndata: {json.dumps({'type': name, **common, 'usage': _USAGE})}\n\n"
    stream = text.encode()
    pieces = (stream[at : at + _CHUNK] for at in range(0, len(stream), _CHUNK))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _head(length: str, content_type: str = "application/json", status: bytes = b"200 OK") -> bytes:
    fields = (
        "date: Sat, 21 Nov 2026 09:00:00 GMT",
        f"content-type: {content_type}",
        length,
        "x-request-id: req_0123456789abcdef0123456789abcdef",
        "openai-processing-ms: 12",
        "openai-version: 2020-10-01",
    )
    return b"HTTP/1.1 %b\r\n%b\r\n\r\n" % (status, "\r\n".join(fields).encode())


def _slices(pieces: list[bytes]) -> tuple[memoryview, ...]:
    if sum(map(len, pieces)) <= _SLICE:
        return (memoryview(b"".join(pieces)),)
    return tuple(
        memoryview(piece)[at : at + _SLICE]
        for piece in pieces
        for at in range(0, len(piece), _SLICE)
    )


class _Connection(asyncio.BufferedProtocol):
    """One connection: request after request, none before the last one is answered."""

    _received = memoryview(
        bytearray(_SLICE)
    )  # all read into it: it is used up before the next read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand over no more than the socket takes."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a server of streams
        transport.set_write_buffer_limits(high=0)
        self._transport = transport
        self._request = b""
        self._missing = 0
        self._answer: Iterator[memoryview] = iter(())
        self._next: tuple[memoryview, ...] = ()
        self._open = True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the base class's
        """Return where to read into."""
        return self._received

    def buffer_updated(self, nbytes: int) -> None:
        """Count what is body, and look at what is not."""
        if self._missing:
            self._missing -= nbytes
        else:
            self._request += self._received[:nbytes]
            head, blank, body = self._request.partition(b"\r\n\r\n")
            if not blank:
                return
            self._request = b""
            length = _LENGTH.search(head)
            size = int(length[1]) if length else 0
            wanted = head.split(b" ", 2)[1].split(b"/", 2)[1].decode()
            self._next = answer_to(wanted, size if wanted.startswith("take") else 0)
            self._missing = size - len(body)
        if not self._missing:
            self._answer = iter(self._next)
            self._send()

    def pause_writing(self) -> None:
        """Stop: the socket is full."""
        self._open = False

    def resume_writing(self) -> None:
        """Go on."""
        self._open = True
        self._send()

    def _send(self) -> None:
        while self._open and (piece := next(self._answer, None)) is not None:
            self._transport.write(piece)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    asyncio.run(_serve())


if __name__ == "__main__":
    main()
