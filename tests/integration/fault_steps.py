"""What servers and callers do in the rows of fault_rows.py."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import zlib
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from imagesdk.client.session import ImageSession
from imagesdk.retry import RetryPolicy
from tests.integration.raw_server import GOOD, Connection, RawServer, Step, says

NEVER = RetryPolicy(ambiguous="never")
DATE = format_datetime(datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC), usegmt=True)
DATE_2 = format_datetime(datetime(2026, 11, 26, 12, 0, 2, tzinfo=UTC), usegmt=True)
LIMIT_0 = "Rate limit exceeded for images per minute in organization org-x. Limit: 0/1min. Current: 1/1min."
EVIL_PROMPT = 'a\r\n--x\r\nContent-Disposition: form-data; name="n"\r\n\r\n10'
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
BIG = PNG_HEAD + bytes(range(256)) * 32_768  # 8 MiB
MIB = 1024 * 1024

# What callers do -----------------------------------------------------------------------------


async def generate(images: ImageSession, _: Path) -> Any:
    return await images.generate("a fox")


async def generate_2(images: ImageSession, _: Path) -> Any:
    return await images.generate("a fox", n=2)


async def generate_3(images: ImageSession, _: Path) -> Any:
    return await images.generate("a fox", n=3)


async def twice(images: ImageSession, _: Path) -> Any:
    await images.generate("a fox")
    await asyncio.sleep(0.02)
    return await images.generate("a fox")


async def upload_path(images: ImageSession, folder: Path) -> Any:
    path = folder / "big.png"
    await asyncio.to_thread(path.write_bytes, BIG)
    return await images.create_variation(path)


async def upload_bytesio(images: ImageSession, _: Path) -> Any:
    return await images.create_variation(io.BytesIO(BIG))


async def read(images: ImageSession, _: Path) -> Any:
    response = await images.generate("a fox")
    assert await response.data[0].read() == b"image"
    return response


class Tape(io.RawIOBase):
    """A stream of 65 MiB that cannot go back: too long to be kept for another attempt."""

    left = 65 * MIB

    def __len__(self) -> int:
        return self.left

    def read(self, size: int = -1, /) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return bytes(size)


async def upload_tape(images: ImageSession, _: Path) -> Any:
    return await images.create_variation(("big.png", Tape(), "image/png"))


async def stream(images: ImageSession, _: Path) -> Any:
    async with images.stream_generate("a fox", partial_images=1) as events:
        last: Any = None
        async for event in events:
            last = event
    return last.response


async def crlf_key(images: ImageSession, _: Path) -> Any:
    key = images._pipeline.secret
    return ImageSession(api_key=f"{key}\r\nX-Evil: 1", base_url=images._runner.endpoint.base_url)


async def crlf_header(images: ImageSession, _: Path) -> Any:
    return await images.generate("a fox", extra_headers={"X-A": "a\r\nX-Evil: 1"})


async def crlf_filename(images: ImageSession, _: Path) -> Any:
    name = "x.png\r\nContent-Type: evil"
    return await images.create_variation((name, PNG_HEAD, "image/png"))


async def quote_filename(images: ImageSession, _: Path) -> Any:
    return await images.create_variation(('x"; name="prompt', PNG_HEAD, "image/png"))


async def crlf_prompt(images: ImageSession, _: Path) -> Any:
    return await images.edit(PNG_HEAD, EVIL_PROMPT)


# What servers do -----------------------------------------------------------------------------


def refuses(status: int, message: str, code: str = "", *, made: int = 0, **headers: str) -> Step:
    """Refuse in OpenAI's words."""
    body = json.dumps({"error": {"message": message, "code": code or None}}).encode()
    return says(body, status, charged=made, **headers)


def items(*data: str) -> bytes:
    """Return an answer with these images."""
    return f'{{"data": [{", ".join(data)}]}}'.encode()


def page(status: int) -> Step:
    """Answer as a proxy does."""
    body = b"<html><head><title>502 Bad gateway</title></head>" + b"<p>sorry</p>" * 1000
    return says(body, status, charged=0, content_type="text/html")


def redirects(status: int, to: str) -> Step:
    """Send the client elsewhere; ``{port}`` is that of the other server."""

    async def step(connection: Connection) -> None:
        await connection.read()
        connection.answer(b"", status, location=to.replace("{port}", str(connection.other_port)))

    return step


async def silent(connection: Connection) -> None:
    """Take the connection, and say nothing."""
    await connection.reader.read()


async def good_and_close(connection: Connection) -> None:
    """Make an image, and close the connection a little later."""
    await connection.read()
    connection.charged = 1
    connection.answer()
    await connection.writer.drain()
    connection.writer.close()


async def reset_unread(connection: Connection) -> None:
    """Break the connection with a request on it."""
    await connection.read_head()
    connection.reset()


async def cut_image(connection: Connection) -> None:
    """Close in the middle of an image."""
    await connection.read()
    connection.answer(b"ima", content_length="5")
    connection.writer.close()


async def cut_chunked(connection: Connection) -> None:
    """Close in the middle of a chunked answer."""
    await connection.read()
    connection.charged = 1
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    connection.writer.write(head + b"%x\r\n%s\r\n" % (20, GOOD[:20]))
    connection.writer.close()


def hangs_after(body: bytes) -> Step:
    """Promise more than comes."""

    async def step(connection: Connection) -> None:
        await connection.read()
        connection.charged = 1
        connection.answer(body, content_length=str(len(body) + 100))
        await connection.reader.read()

    return step


async def drips(connection: Connection) -> None:
    """Answer a byte at a time."""
    await connection.read()
    connection.charged = 1
    connection.answer(b"", content_length=str(len(GOOD)))
    for byte in GOOD:
        connection.writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def echoes_key(connection: Connection) -> None:
    """Repeat the key, as some servers do."""
    await connection.read()
    key = connection.headers["authorization"].removeprefix("Bearer ")
    error = {"message": f"Incorrect API key provided: {key}.", "code": "invalid_api_key"}
    connection.answer(json.dumps({"error": error}).encode(), 401, x_echo=key)


def huge_error(mib: int) -> Step:
    """Refuse with a message without end."""

    async def step(connection: Connection) -> None:
        await connection.read()
        connection.answer(b'{"error": {"message": "', 400, content_length=str(mib * MIB))
        await _pour(connection, b"x" * MIB, mib)

    return step


PARTIAL = (
    'event: image_generation.partial_image\ndata: {"type": "image_generation.partial_image", '
    '"partial_image_index": 0, "b64_json": "aW1hZ2U="}\n\n'
)
COMPLETED = (
    'event: image_generation.completed\ndata: {"type": "image_generation.completed", '
    '"b64_json": "aW1hZ2U="}\n\n'
)
FAILED = 'event: error\ndata: {"error": {"message": "boom", "code": "server_error"}}\n\n'
FAILED_FLAT = 'event: error\ndata: {"type": "error", "message": "boom", "code": "server_error"}\n\n'


def streams(*events: str, end: Literal["clean", "close", "reset", "hang"] = "clean") -> Step:
    """Send events, and end the stream well or not."""

    async def step(connection: Connection) -> None:
        await connection.read()
        connection.charged = 1
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.writer.write(head)
        for event in events:
            connection.writer.write(b"%x\r\n%s\r\n" % (len(event), event.encode()))
        if end == "clean":
            connection.writer.write(b"0\r\n\r\n")
            return
        await connection.writer.drain()
        await asyncio.sleep(0.03)  # a reset takes back what has not been read
        if end == "close":
            connection.writer.close()
        elif end == "reset":
            connection.reset()
        else:
            await connection.reader.read()

    return step


HUGE_PNG = b"".join(
    (
        PNG_HEAD,
        b"\0\0\0\rIHDR" + (30_000).to_bytes(4, "big") * 2 + b"\x08\x06\0\0\0" + bytes(4),
        b"\0\0\0\x04IDAT" + bytes(8),
        b"\0\0\0\0IEND" + bytes(4),
    )
)
PICTURE_BOMB = json.dumps({"b64_json": base64.b64encode(HUGE_PNG).decode()})
OPEN = b'{"data": [{"b64_json": "'


@cache
def _packed(byte: bytes) -> bytes:
    """Return 1 MiB of one byte, compressed so that it can follow itself any number of times."""
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(byte * MIB) + packer.flush(zlib.Z_FULL_FLUSH)


def bomb(status: int, *, packed: bool = False, begin: bytes = b"") -> Step:
    """Answer with 512 MiB."""

    async def step(connection: Connection) -> None:
        await connection.read()
        if packed:
            connection.answer(
                b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff",
                status,
                content_encoding="gzip",
                content_length=str(10 + 512 * len(_packed(b"A"))),
            )
            await _pour(connection, _packed(b"A"), 512)
        else:
            connection.answer(begin, status, content_length=str(len(begin) + 512 * MIB))
            await _pour(connection, b"A" * MIB, 512)

    return step


async def _pour(connection: Connection, piece: bytes, times: int) -> None:
    for _ in range(times):
        connection.writer.write(piece)
        await connection.writer.drain()


# What must be true ---------------------------------------------------------------------------


def same_key(server: RawServer) -> bool:
    """Tell whether all requests are known by one key."""
    return len({request.headers["idempotency-key"] for request in server.requests}) == 1


def whole_file(server: RawServer) -> bool:
    """Tell whether the file arrived as it is."""
    sent = server.requests[1].form()["image"].get_payload(decode=True)
    return bool(sent == BIG)


def filename(server: RawServer) -> str:
    """Return the file name as it arrived, and see that there is no other field."""
    head = server.requests[0].body.split(b"\r\n\r\n")[0].decode()
    assert head.count("\r\n") == 2, head
    return head.split('filename="')[1].split('"\r\n')[0]


def prompt(server: RawServer) -> str:
    """Return the prompt as it arrived, and see that there is no other field."""
    form = server.requests[0].form()
    assert set(form) == {"prompt", "image"}
    return str(form["prompt"].get_payload(decode=True).decode())
