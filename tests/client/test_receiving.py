from __future__ import annotations

import asyncio
import base64
import errno
import io
import json
import os
import resource
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    AmbiguousError,
    ImageSDKError,
    PartialResultError,
    PayloadTooLargeError,
    ProtocolError,
    ResponseInterruptedError,
)
from imagesdk.protocol.decode import AnswerDecoder
from imagesdk.protocol.encode import WireRequest
from imagesdk.retry import RetryPolicy
from imagesdk.testing import ScriptedAnswer, ScriptedTransport
from imagesdk.transport.base import Credentials, Progress, Reply

SMALL = (b"\x89PNG\r\n\x1a\n first", b"\xff\xd8\xff second")
LARGE = (b"\x89PNG\r\n\x1a\n" + os.urandom(1_000_000), b"\xff\xd8\xff" + os.urandom(1_000_000))
ONCE = RetryPolicy(1, ambiguous="never")


def body_of(*images: bytes) -> bytes:
    items = [{"b64_json": base64.b64encode(image).decode()} for image in images]
    return json.dumps({"created": 1, "data": items}).encode()


def session(transport: Any, **options: Any) -> ImageSession:
    return ImageSession(base_url="http://server/v1", transport=transport, **options)


def files_in(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, hidden files included."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Slow:
    """A transport whose answer arrives in given pieces, and stays away after the last."""

    def __init__(self, *pieces: bytes | ImageSDKError) -> None:
        self.pieces = pieces
        self.at_the_end = asyncio.Event()
        self.open = 0

    @asynccontextmanager
    async def send(
        self,
        request: WireRequest,
        *,
        credentials: Credentials,
        progress: Progress,
        connect_timeout: float | None = None,
        foreign: bool = False,
    ) -> AsyncGenerator[Reply, None]:
        del request, credentials, connect_timeout, foreign
        progress.phase = "receive"
        self.open += 1
        try:
            yield _SlowReply(self)
        finally:
            self.open -= 1

    async def aclose(self) -> None: ...


class _SlowReply:
    status = 200
    headers: Mapping[str, str] = {"content-type": "application/json"}

    def __init__(self, transport: Slow) -> None:
        self._left = list(transport.pieces)
        self._at_the_end = transport.at_the_end

    async def read(self) -> bytes:
        if not self._left:
            self._at_the_end.set()
            await asyncio.Event().wait()
        piece = self._left.pop(0)
        if isinstance(piece, ImageSDKError):
            raise piece
        return piece


@pytest.mark.parametrize("images", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("chunk_bytes", [977, 65_536, 10_000_000])
async def test_answers_in_any_pieces(
    images: tuple[bytes, ...], chunk_bytes: int, tmp_path: Path
) -> None:
    """However the answer is cut, the same images arrive: in memory or in files."""
    answer = ScriptedAnswer(body_of(*images), chunk_bytes=chunk_bytes)
    async with session(ScriptedTransport([answer, answer])) as client:
        kept = await client.generate("a fox", n=2)
        saved = await client.generate("a fox", n=2, save_to=tmp_path)
    assert tuple([await image.read() for image in kept.data]) == images
    assert [image.path for image in kept.data] == [None, None]
    names = ["image-1.png", "image-1.jpg"]
    assert [image.path for image in saved.data] == [tmp_path / name for name in names]
    assert await asyncio.to_thread(files_in, tmp_path) == dict(zip(names, images, strict=True))


async def test_files_grow_while_the_answer_arrives(tmp_path: Path) -> None:
    """Bytes are on the disk before the answer has ended, under a name that nobody looks at."""
    transport = Slow(body_of(*LARGE)[:2_400_000])
    async with session(transport) as client:
        task = asyncio.create_task(client.generate("a fox", n=2, save_to=tmp_path))
        await transport.at_the_end.wait()
        first, second = sorted((await asyncio.to_thread(files_in, tmp_path)).values(), key=len)
        assert second == LARGE[0]
        assert LARGE[1].startswith(first)
        assert len(first) > 100_000
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(files_in, tmp_path) == {}
    assert transport.open == 0


async def test_memory_is_that_of_a_few_pieces(tmp_path: Path) -> None:
    """An image of 48 MB goes to disk in less than 2 MB of memory."""
    pieces = [b'{"data": [{"b64_json": "iVBORw0KGgo', *[b"A" * 2**16] * 1000, b'AAAA="}]}', b""]
    async with session(Slow(*pieces)) as client:
        tracemalloc.start()
        try:
            result = await client.generate("a fox", save_to=tmp_path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    path = result.data[0].path
    assert path is not None
    size_bytes = (await asyncio.to_thread(path.stat)).st_size
    assert (size_bytes > 48_000_000, peak < 2_000_000) == (True, True)


async def test_the_loop_is_free_within_a_large_piece(tmp_path: Path) -> None:
    """A piece of many MB is decoded a little at a time: others run meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    image = b"\x89PNG\r\n\x1a\n" + os.urandom(8_000_000)
    for folder in (None, tmp_path):
        answer = ScriptedAnswer(body_of(image), chunk_bytes=100_000_000)
        async with session(ScriptedTransport([answer])) as client:
            other = asyncio.create_task(count())
            before = turns
            await client.generate("a fox", save_to=folder)
            assert turns - before > 35
            other.cancel()


async def test_the_loop_is_free_though_reading_never_waits() -> None:
    """The loop turns while an answer that is unpacked faster than it is read is taken in."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with session(Slow(b'{"x": [', *[b'"",' * 80_000] * 4, b'""]}', b"")) as client:
        turning = asyncio.create_task(turn())
        with pytest.raises(ProtocolError, match="holds no images"):
            await client.generate("a fox")
        turning.cancel()
    assert turns >= 4


@pytest.mark.parametrize(("size_bytes", "is_large"), [(100_000, False), (5_000_000, True)])
async def test_what_follows_a_large_upload_is_done_a_part_at_a_time(
    size_bytes: int,
    is_large: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop turns before each piece of the answer, and a thread puts it together."""
    in_thread: list[bool] = []
    turned: list[int] = []
    finish, read = AnswerDecoder.finish, AnswerDecoder.feed

    def noting_finish(decoder: AnswerDecoder, interrupted: ImageSDKError | None) -> Any:
        in_thread.append(threading.current_thread() is not threading.main_thread())
        return finish(decoder, interrupted)

    def noting_feed(decoder: AnswerDecoder, piece: bytes) -> None:
        asyncio.get_running_loop().call_soon(turned.append, len(in_thread))
        read(decoder, piece)

    monkeypatch.setattr(AnswerDecoder, "finish", noting_finish)
    monkeypatch.setattr(AnswerDecoder, "feed", noting_feed)
    image = b"\x89PNG\r\n\x1a\n" + bytes(size_bytes)
    options: dict[str, Any] = {"validate": "off"}
    async with session(ScriptedTransport([ScriptedAnswer(body_of(*SMALL))]), **options) as client:
        await client.edit(image, "a fox", model="gpt-image-2")
    assert in_thread == [is_large]
    assert (turned == [0]) == is_large  # before it was put together, or after


async def outcome_of(answer: ScriptedAnswer, folder: Path) -> ImageSDKError | None:
    """Make a call for two images and return its error."""
    async with session(ScriptedTransport([answer]), retry=ONCE) as client:
        try:
            await client.generate("a fox", n=2, save_to=folder)
        except ImageSDKError as error:
            return error
    return None


def check_truncated(error: ImageSDKError | None, images: tuple[bytes, ...], folder: Path) -> int:
    """See that a call that was cut off has named what is missing; return what was kept."""
    files = files_in(folder)
    if isinstance(error, PartialResultError):
        assert list(files.values()) == [images[0]]
        assert [image.path for image in error.result.data] == [folder / "image-1.png"]
        assert "data[1] is" in str(error)
    elif error is None:  # both images were there before it ended
        assert set(files.values()) == set(images)
    else:
        assert files == {}
        assert isinstance(error, ProtocolError | AmbiguousError)
    for path in folder.iterdir():
        path.unlink()
    return len(files)


@pytest.mark.parametrize("broken", [True, False], ids=["broken", "ended"])
async def test_truncated_at_every_byte(broken: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """An answer that ends early is a named error; what was complete is kept, and nothing else is."""
    body = body_of(*SMALL)
    kept = []
    for end in range(len(body)):
        answer = ScriptedAnswer(body, break_after=end) if broken else ScriptedAnswer(body[:end])
        error = await outcome_of(answer, tmp_path)
        kept.append(await asyncio.to_thread(check_truncated, error, SMALL, tmp_path))
    assert kept == sorted(kept)
    assert set(kept) == {0, 1, 2}
    assert kept.count(2) == len('"}]}') - 1  # behind the second image


@pytest.mark.parametrize("broken", [True, False], ids=["broken", "ended"])
async def test_large_answers_truncated(broken: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """The same for images of which a part was on the disk when it ended."""
    body = body_of(*LARGE)
    kept = []
    for end in range(0, len(body) - 2, 66_661):
        answer = ScriptedAnswer(body, break_after=end) if broken else ScriptedAnswer(body[:end])
        error = await outcome_of(answer, tmp_path)
        kept.append(await asyncio.to_thread(check_truncated, error, LARGE, tmp_path))
    assert kept == sorted(kept)
    assert set(kept) == {0, 1}


async def test_a_broken_image_leaves_no_file(tmp_path: Path) -> None:
    """An image whose base64 is broken is named, and the others are saved without a gap."""
    body = body_of(*LARGE, LARGE[0])
    middle = len(body) // 2
    async with session(
        ScriptedTransport([ScriptedAnswer(body[:middle] + b"!" + body[middle:])])
    ) as c:
        with pytest.raises(PartialResultError, match=r"data\[1\] has a b64_json that is no base64"):
            await c.generate("a fox", n=3, save_to=tmp_path)
    files = await asyncio.to_thread(files_in, tmp_path)
    assert files == {"image-1.png": LARGE[0], "image-2.png": LARGE[0]}


async def test_a_broken_connection_is_tried_again(tmp_path: Path) -> None:
    """When nothing was complete the call is sent again, and only its second answer is there."""
    body = body_of(*LARGE)
    script = [ScriptedAnswer(body, break_after=1_200_000), ScriptedAnswer(body)]
    async with session(ScriptedTransport(script), retry=RetryPolicy(backoff=0)) as client:
        result = await client.generate("a fox", n=2, save_to=tmp_path)
    assert [attempt.outcome for attempt in result.attempts] == ["ambiguous", "ok"]
    assert list((await asyncio.to_thread(files_in, tmp_path)).values()) == [LARGE[1], LARGE[0]]


async def test_an_attempt_that_takes_too_long_leaves_no_file(tmp_path: Path) -> None:
    """attempt_timeout ends an answer that stands still, and removes what it had brought."""
    policy = RetryPolicy(1, attempt_timeout=0.05)
    async with session(Slow(body_of(*LARGE)[:1_200_000]), retry=policy) as client:
        with pytest.raises(ImageSDKError, match="no answer within attempt_timeout"):
            await client.generate("a fox", n=2, save_to=tmp_path)
    assert await asyncio.to_thread(files_in, tmp_path) == {}


@pytest.mark.parametrize(
    "options", [{"timeout": 0.2}, {"retry": RetryPolicy(1, attempt_timeout=0.2)}]
)
async def test_images_that_are_complete_outlive_a_timeout(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """When the time is up in the middle of an answer, the images that are complete are kept."""
    async with session(Slow(body_of(*LARGE)[:1_800_000]), **options) as client:
        with pytest.raises(PartialResultError, match="did not arrive in time") as caught:
            await client.generate("a fox", n=2, save_to=tmp_path)
    assert caught.value.may_be_billed
    assert await asyncio.to_thread(files_in, tmp_path) == {"image-1.png": LARGE[0]}


async def test_images_that_are_complete_outlive_the_session(tmp_path: Path) -> None:
    """Closing the session in the middle of an answer keeps the images that are complete."""
    transport = Slow(body_of(*LARGE)[:1_800_000])
    client = session(transport)
    task = asyncio.create_task(client.generate("a fox", n=2, save_to=tmp_path))
    await transport.at_the_end.wait()
    await client.aclose()
    with pytest.raises(PartialResultError, match="the session was closed before the rest"):
        await task
    assert await asyncio.to_thread(files_in, tmp_path) == {"image-1.png": LARGE[0]}


async def test_an_archive_unpacks_to_no_more_than_an_answer_may_have(tmp_path: Path) -> None:
    """A zip archive that is small on the wire is unpacked up to the cap of answers only."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", SMALL[0])
        archive.writestr("b", b"\x89PNG\r\n\x1a\n" + bytes(180 * 2**20))
    async with session(ScriptedTransport([ScriptedAnswer(file.getvalue())])) as client:
        with pytest.raises(PartialResultError, match="unpacks to more than 181,054,122 bytes"):
            await client.generate("a fox", n=2, save_to=tmp_path)
    assert await asyncio.to_thread(files_in, tmp_path) == {"image-1.png": SMALL[0]}


async def test_cancelled_between_any_two_steps(tmp_path: Path) -> None:
    """Whenever a call is cancelled no temporary file is left; files with a name are complete."""
    body = body_of(*LARGE)
    pieces = [body[start : start + 300_000] for start in range(0, len(body), 300_000)]
    for steps in range(0, 120, 3):
        async with session(Slow(*pieces, b"")) as client:
            task = asyncio.create_task(client.generate("a fox", n=2, save_to=tmp_path))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        for content in (await asyncio.to_thread(files_in, tmp_path)).values():
            assert content in LARGE


def test_the_end_of_the_loop_leaves_no_file(tmp_path: Path) -> None:
    """A program that ends in the middle of an answer leaves no temporary file."""

    async def main() -> None:
        transport = Slow(body_of(*LARGE)[:1_800_000])
        client = session(transport)
        task = asyncio.create_task(client.generate("a fox", n=2, save_to=tmp_path))
        await transport.at_the_end.wait()
        assert not task.done()

    asyncio.run(main())
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize("folder", [True, False], ids=["disk", "memory"])
async def test_too_long(folder: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """Reading stops above the cap; an image that was complete by then is kept."""
    image = b"\x89PNG\r\n\x1a\n" + bytes(90_000)
    one = body_of(image)[:-2]
    for begin, kept in ((one + b', {"b64_json": "', [image]), (one[:-10], [])):
        async with session(Slow(begin, *[b"A" * 2**20] * 180)) as client:
            with pytest.raises((PartialResultError, PayloadTooLargeError)) as caught:
                await client.generate("a fox", n=2, save_to=tmp_path if folder else None)
        error: Any = caught.value
        if kept:
            assert "larger than 181,054,122 bytes" in str(error.errors[0])
            assert [await i.read() for i in error.result.data] == kept
        assert isinstance(error, PartialResultError) is bool(kept)
    files = await asyncio.to_thread(files_in, tmp_path)
    assert list(files.values()) == ([image] if folder else [])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_answers(encoding: str, tmp_path: Path) -> None:
    """A compressed answer is unpacked while it arrives; a bomb is stopped at the cap, in little memory."""
    packer = zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15)
    bomb = packer.compress(b'{"data": [{"b64_json": "iVBORw0KGgo')
    for _ in range(100):
        bomb += packer.compress(b"A" * 2**20)
    bomb += packer.flush()
    assert len(bomb) < 1_000_000
    wbits = 31 if encoding == "gzip" else 15
    bodies = [zlib.compressobj(wbits=wbits)]
    good = bodies[0].compress(body_of(*LARGE)) + bodies[0].flush()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = bomb if b"bomb" in head else good
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (encoding.encode(), len(body))
        )
        writer.write(body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, ImageSession(base_url=f"http://127.0.0.1:{port}/v1") as client:
        await client.generate("a fox", n=2, save_to=tmp_path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(PayloadTooLargeError, match="larger than"):
            await client.generate("a fox", save_to=tmp_path, extra_headers={"X-Send": "bomb"})
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    files = await asyncio.to_thread(files_in, tmp_path)
    assert files == {"image-1.png": LARGE[0], "image-1.jpg": LARGE[1]}
    assert grown_kib < 20 * 1024


@pytest.mark.parametrize("images", [SMALL, LARGE], ids=["small", "large"])
async def test_a_disk_that_fails_in_the_middle(
    images: tuple[bytes, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was paid for is in the result when the disk is full; the error says what and why."""

    def fsync(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)  # the operating system, not our code
    answer = ScriptedAnswer(body_of(*images))
    async with session(ScriptedTransport([answer, answer])) as client:
        with pytest.raises(PartialResultError) as caught:
            await client.generate("a fox", n=2, save_to=tmp_path)
        # All arrived: there is nothing partial to return.
        with pytest.raises(PartialResultError) as other:
            await client.generate("a fox", n=2, save_to=tmp_path, partial="return")
    error = caught.value
    assert str(error) == (
        "all 2 images arrived, and are in .result. Not saved: 2 of 2 images could not be written into "
        f"'{tmp_path}' ([Errno 28] No space left on device); kept in memory: save .result elsewhere"
    )
    assert isinstance(error.errors[0].__cause__, OSError)
    assert not error.may_be_billed
    for response in (error.result, other.value.result):
        assert tuple([await image.read() for image in response.data]) == images
        assert [image.path for image in response.data] == [None, None]
    assert await asyncio.to_thread(files_in, tmp_path) == {}


async def test_interrupted_before_anything(tmp_path: Path) -> None:
    """A connection that breaks at once is what it was: ambiguous, with its cause."""
    broke = ResponseInterruptedError("the connection broke", phase="receive")
    async with session(Slow(broke), retry=ONCE) as client:
        with pytest.raises(AmbiguousError) as caught:
            await client.generate("a fox", save_to=tmp_path)
    assert isinstance(caught.value.__cause__, ResponseInterruptedError)
