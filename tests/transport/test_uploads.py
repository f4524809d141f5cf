from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import select
import socket
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest

from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    AmbiguousError,
    BadRequestError,
    InvalidImageError,
    RateLimitError,
    ResponseInterruptedError,
)
from imagesdk.protocol.encode import WireRequest
from imagesdk.protocol.multipart import MultipartBody, Source
from imagesdk.retry import RetryPolicy
from imagesdk.transport._aiohttp import AiohttpTransport
from imagesdk.transport.base import Progress

MB = 1_000_000
GOOD = json.dumps({"data": [{"b64_json": "aW1hZ2U="}]}).encode()
REFUSAL = json.dumps({"error": {"message": "too large for me", "code": "too_large"}}).encode()
QUICK = RetryPolicy(3, backoff=0.001)
PNG_HEAD = b"\x89PNG\r\n\x1a\n"


@attrs.define
class Upload:
    """A request whose body the server counts and forgets."""

    reader: asyncio.StreamReader = attrs.field(repr=False)
    writer: asyncio.StreamWriter = attrs.field(repr=False)
    headers: dict[str, str] = attrs.field(factory=dict)
    received: int = 0
    digest: Any = attrs.field(factory=hashlib.sha256)

    @property
    def length(self) -> int:
        return int(self.headers["content-length"])

    async def read_head(self) -> None:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.strip().split("\r\n")[1:]
        self.headers = {k.lower(): v.strip() for k, _, v in (s.partition(":") for s in lines)}

    async def read(self, size: int | None = None) -> None:
        """Read the body, or *size* bytes of it."""
        size = self.length if size is None else size
        while self.received < size:
            piece = await self.reader.read(min(1 << 16, size - self.received))
            if not piece:
                raise ConnectionResetError
            self.received += len(piece)
            self.digest.update(piece)

    def answer(self, status: int = 200, body: bytes = GOOD, length: int | None = None) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {length or len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)


Step = Callable[[Upload], Awaitable[None]]


async def good(upload: Upload) -> None:
    await upload.read_head()
    await upload.read()
    upload.answer()


async def lost(upload: Upload) -> None:
    """Break the connection after the whole request was read."""
    await upload.read_head()
    await upload.read()
    upload.writer.transport.abort()


async def broken(upload: Upload) -> None:
    """Break the connection in the middle of the request."""
    await upload.read_head()
    await upload.read(100_000)
    upload.writer.transport.abort()


@asynccontextmanager
async def served(*steps: Step, **options: Any) -> AsyncIterator[tuple[list[Upload], ImageSession]]:
    """Serve each request by the next step, and those after the last by `good`."""
    left = list(steps)
    uploads: list[Upload] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while not reader.at_eof() and not writer.is_closing():
                upload = Upload(reader, writer)
                await reader.readexactly(1)
                uploads.append(upload)
                await (left.pop(0) if left else good)(upload)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    settings: dict[str, Any] = {"retry": QUICK, "validate": "off", "images_per_minute": None}
    async with ImageSession(base_url=url, **(settings | options)) as images:
        yield uploads, images
    server.close()
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    await server.wait_closed()


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file of 50 MB that takes no room on the disk."""
    path = tmp_path / "big.png"
    path.write_bytes(PNG_HEAD)
    os.truncate(path, 50 * MB)
    return path


def _wire(url: str, source: Source) -> WireRequest:
    """Return a request whose body is one source."""
    body = MultipartBody(content_type="x/y", segments=(source,), size_bytes=source.size_bytes)
    return WireRequest(method="POST", path=url, headers={}, body=body)


# Memory ---------------------------------------------------------------------------------------


@pytest.fixture
def traced() -> Iterator[None]:
    """Trace the memory that Python holds."""
    tracemalloc.start(1)
    yield
    tracemalloc.stop()


async def peak_of(call: Callable[[], Awaitable[object]]) -> int:
    """Return how many bytes Python holds at most while *call* runs, beyond those held before."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    await call()
    return tracemalloc.get_traced_memory()[1] - before


def _written(data: bytes) -> io.BytesIO:
    buffer = io.BytesIO()
    buffer.write(data)
    return buffer


KINDS: dict[str, Callable[[bytes, Path], Any]] = {
    "bytes": lambda data, _: data,
    "memoryview": lambda data, _: memoryview(data),
    "BytesIO": lambda data, _: io.BytesIO(data),
    "BytesIO that was written": lambda data, _: _written(data),
    "path": lambda _, path: path,
    "file": lambda _, path: path.open("rb"),
}


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_copied(kind: str, big: Path) -> None:
    """50 MB from memory or disk are sent with less than 1 MB of memory, client and server together."""
    data = await asyncio.to_thread(big.read_bytes)
    image = await asyncio.to_thread(KINDS[kind], data, big)
    async with served() as (uploads, images):
        await images.create_variation(b"warm up")
        peak = await peak_of(lambda: images.create_variation(image))
    assert peak < MB
    assert 50 * MB < uploads[1].received == uploads[1].length < 50 * MB + 1000
    if kind == "file":
        image.close()


@pytest.mark.usefixtures("traced")
async def test_sixteen_images_of_50_mb(big: Path) -> None:
    """One request carries 16 files of 50 MB, with its exact length and less than 1 MB of memory."""
    async with served() as (uploads, images):
        await images.edit(b"warm up", "a fox")
        peak = await peak_of(lambda: images.edit([big] * 16, "a fox"))
    assert peak < MB
    assert uploads[1].received == uploads[1].length > 16 * 50 * MB
    assert "transfer-encoding" not in uploads[1].headers


@pytest.mark.usefixtures("traced")
async def test_images_of_50_mb_as_json(big: Path) -> None:
    """As data URLs in JSON they take hardly more: base64 is made in pieces, its length is exact."""
    async with served(server="openai-json") as (uploads, images):
        await images.edit(b"warm up", "a fox", model="m")
        peak = await peak_of(lambda: images.edit([big] * 3, "a fox", model="m"))
    assert peak < 2 * MB  # of 67 as text: pieces, and their base64 while the socket is busy
    assert uploads[1].headers["content-type"] == "application/json"
    assert uploads[1].received == uploads[1].length > 3 * 50 * MB * 4 // 3
    assert "transfer-encoding" not in uploads[1].headers


async def test_attempts_are_alike(tmp_path: Path) -> None:
    """A file object is sent again from the position that it had when the call began."""
    path = tmp_path / "album"
    path.write_bytes(b"junk" + os.urandom(3 * MB))
    with path.open("rb") as file:
        file.seek(4)
        async with served(broken, lost) as (uploads, images):
            response = await images.create_variation(file)
        assert file.tell() == 4
    assert [a.outcome for a in response.attempts] == ["not_sent", "ambiguous", "ok"]
    assert 3 * MB < uploads[1].received < 3 * MB + 1000
    assert uploads[1].digest.digest() == uploads[2].digest.digest()


async def test_other_tasks_run_during_an_upload() -> None:
    """The event loop turns between two pieces, even if the socket takes each of them at once."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    class Pieces:
        size_bytes = 100
        replayable = True

        async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
            before = turns
            for _ in range(100):
                yield b"x"
            assert turns >= before + 99

    async with served() as (uploads, images):
        await images.generate("warm up")
        wire = _wire(f"http://{uploads[0].headers['host']}/", Pieces())
        task = asyncio.create_task(turn())
        transport = AiohttpTransport()
        async with transport.send(wire, credentials={}, progress=Progress()) as reply:
            assert reply.status == 200
        await transport.aclose()
        task.cancel()


# Answers before the end -----------------------------------------------------------------------


async def _refuses_and_reads(upload: Upload) -> None:
    await upload.read_head()
    upload.answer(413, REFUSAL)
    await upload.read()


async def _refuses_and_closes(upload: Upload) -> None:
    await upload.read_head()
    upload.answer(413, REFUSAL)
    upload.writer.close()


async def _reads_a_little(upload: Upload) -> None:
    await upload.read_head()
    await upload.read(MB)
    upload.answer(413, REFUSAL)
    upload.writer.close()


@pytest.mark.parametrize("step", [_refuses_and_reads, _refuses_and_closes, _reads_a_little])
@pytest.mark.parametrize("kind", KINDS)
async def test_refusal_in_the_upload(kind: str, step: Step, big: Path) -> None:
    """A server that refuses before it has read everything is heard, and the upload ends there."""
    data = await asyncio.to_thread(big.read_bytes)
    image = await asyncio.to_thread(KINDS[kind], data, big)
    async with served(*[step] * 5) as (uploads, images):
        for _ in range(5):
            with pytest.raises(BadRequestError, match="too large for me") as caught:
                await images.create_variation(image)
            assert (caught.value.status, len(caught.value.attempts)) == (413, 1)
        assert (await images.generate("a fox")).data
    assert all(upload.received < upload.length for upload in uploads[:5])
    if kind == "file":
        image.close()


@pytest.mark.parametrize("kind", ["bytes", "path"])
async def test_refusal_that_arrives_slowly(kind: str, big: Path) -> None:
    """The upload ends with the head of a refusal, even if the server would take all of it."""
    half = len(REFUSAL) // 2

    async def slowly(upload: Upload) -> None:
        await upload.read_head()
        upload.answer(413, REFUSAL[:half], length=len(REFUSAL))
        with suppress(TimeoutError):
            while upload.received < upload.length:
                async with asyncio.timeout(0.03):
                    await upload.read(min(upload.length, upload.received + (1 << 16)))
        upload.writer.write(REFUSAL[half:])

    data = await asyncio.to_thread(big.read_bytes)
    async with served(slowly) as (uploads, images):
        with pytest.raises(BadRequestError, match="too large for me"):
            await images.create_variation(data if kind == "bytes" else big)
        assert (await images.generate("a fox")).data
    assert uploads[0].received < uploads[0].length


async def test_refusal_that_came_between_two_pieces() -> None:
    """An answer that lies in the socket is read before a write finds the connection reset."""
    with socket.socket() as listener:
        listener.setblocking(False)  # noqa: FBT003
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        class Pieces:
            size_bytes = 300_000
            replayable = True

            async def chunks(self) -> AsyncGenerator[bytes | memoryview, None]:
                yield bytes(100_000)
                connection, _ = listener.accept()
                connection.setblocking(False)  # noqa: FBT003
                connection.send(b"HTTP/1.1 413 X\r\ncontent-length: 2\r\n\r\n{}")
                connection.close()  # what it has not read makes this a reset
                yield bytes(200_000)

        request = _wire(f"http://127.0.0.1:{listener.getsockname()[1]}/", Pieces())
        transport = AiohttpTransport()
        async with transport.send(request, credentials={}, progress=Progress()) as reply:
            assert (reply.status, await reply.read()) == (413, b"{}")
        await transport.aclose()


async def test_refusal_without_a_look_at_the_socket(
    big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system cannot look at a socket, as Windows, a server that reads on is heard too."""
    monkeypatch.delattr(select, "poll")
    async with served(_refuses_and_reads) as (uploads, images):
        with pytest.raises(BadRequestError, match="too large for me"):
            await images.create_variation(big)
    assert uploads[0].received < uploads[0].length


async def test_success_in_the_upload(big: Path) -> None:
    """An answer that comes before the end of the upload is taken; its connection is not used again."""

    async def early(upload: Upload) -> None:
        await upload.read_head()
        upload.answer()
        await upload.read()

    async with served(early) as (uploads, images):
        assert await (await images.create_variation(big)).data[0].read() == b"image"
        assert (await images.generate("a fox")).data
    peers = [upload.writer.get_extra_info("peername") for upload in uploads]
    assert peers[0] != peers[1]


async def test_half_an_answer_in_the_upload(big: Path) -> None:
    """An answer that breaks off may be billed, although the upload had not come to its end."""

    async def half(upload: Upload) -> None:
        await upload.read_head()
        upload.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf")
        upload.writer.close()

    async with served(half, half) as (_, images):
        with pytest.raises(AmbiguousError) as caught:
            await images.create_variation(big, n=2)
    assert [a.outcome for a in caught.value.attempts] == ["ambiguous", "ambiguous"]
    assert "whether the 2 images were made, and billed" in str(caught.value)
    assert "up to 2 of its images may be billed" in caught.value.__notes__[0]


# Sources that fail ----------------------------------------------------------------------------


async def test_source_that_fails_gives_everything_back(big: Path) -> None:
    """A file that is cut in mid-upload ends the call, and gives connection, slot and permit back."""

    async def cut(upload: Upload) -> None:
        await upload.read_head()
        await asyncio.to_thread(os.truncate, big, 20 * MB)
        await upload.read()

    async with served(cut, images_per_minute=1, max_wait=0.0, max_concurrency=1) as (
        uploads,
        images,
    ):
        with pytest.raises(InvalidImageError, match="became shorter: 20,000,000 of") as caught:
            await images.create_variation(big)
        assert (await images.generate("a fox")).data
    assert [a.may_be_billed for a in caught.value.attempts] == [False]
    assert not caught.value.may_be_billed
    assert uploads[0].received < uploads[0].length


async def test_source_that_fails_after_an_attempt_that_may_be_billed(tmp_path: Path) -> None:
    """A file that is gone when a call is sent again does not hide what the first attempt may cost."""
    path = tmp_path / "cat.png"
    path.write_bytes(bytes(MB))

    async def lost_and_gone(upload: Upload) -> None:
        await upload.read_head()
        await upload.read()
        await asyncio.to_thread(path.unlink)  # not before: each attempt opens the file
        upload.writer.transport.abort()

    async with served(lost_and_gone) as (_, images):
        with pytest.raises(InvalidImageError, match="can no longer be opened") as caught:
            await images.create_variation(path, n=3)
    assert caught.value.may_be_billed
    assert "up to 3 of its images may be billed" in caught.value.__notes__[0]


class Tape:
    """A stream that cannot go back and knows how long it is, as requests-toolbelt's do."""

    def __init__(self, size: int) -> None:
        self.left = size

    def __len__(self) -> int:
        return self.left

    def read(self, size: int = -1, /) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return bytes(size)


LONG = 65 * 1024 * 1024


@pytest.mark.usefixtures("traced")
async def test_long_stream() -> None:
    """A stream that is too long to be kept is sent while it is read, with its exact length."""
    async with served() as (uploads, images):
        await images.create_variation(b"warm up")
        peak = await peak_of(lambda: images.create_variation(("cat.png", Tape(LONG), "image/png")))
    assert peak < MB
    assert LONG < uploads[1].received == uploads[1].length < LONG + 1000


async def _throttles(upload: Upload) -> None:
    await upload.read_head()
    await upload.read()
    upload.answer(429, b"{}")


@pytest.mark.parametrize(
    ("step", "kind", "note"),
    [
        (broken, ResponseInterruptedError, "Nothing was billed for it"),
        (lost, AmbiguousError, "It may have been billed"),
        (_throttles, RateLimitError, "Nothing was billed for it"),
    ],
)
async def test_long_stream_gets_one_attempt(step: Step, kind: type[Exception], note: str) -> None:
    """What can be read only once is sent once, and the error says why, what it cost and what to do."""
    async with served(step) as (uploads, images):
        with pytest.raises(kind) as caught:
            await images.create_variation(Tape(LONG))
    assert len(uploads) == 1
    (said,) = (n for n in caught.value.__notes__ if n.startswith("not sent again: "))
    assert said.endswith(f"any number of times). {note}")


async def test_long_stream_that_is_refused_has_no_note() -> None:
    """A failure that would not be sent again anyway is not put down to the stream."""

    async with served(_refuses_and_reads) as (_, images):
        with pytest.raises(BadRequestError) as caught:
            await images.create_variation(Tape(LONG))
    assert not getattr(caught.value, "__notes__", ())


async def test_long_stream_for_two_requests() -> None:
    """A call that would be split is refused with such a stream, before anything is sent."""
    async with served() as (uploads, images):
        with pytest.raises(InvalidImageError, match=r"only once was given for n=11.* at most 10"):
            await images.create_variation(Tape(LONG), n=11)
    assert uploads == []
