from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import io
import os
import random
import tempfile
import warnings
import zipfile
from array import array
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagesdk.errors import InvalidImageError
from imagesdk.inputs import ResolvedInput, as_list, by_reference, resolve
from imagesdk.sources import MemorySource

Png = Callable[..., bytes]


async def sent(entry: ResolvedInput) -> bytes:
    """Return what one attempt would send."""
    return b"".join([bytes(piece) async for piece in entry.file.source.chunks()])


async def refused(value: Any, name: str = "image") -> str:
    """Return the message with which an input is refused."""
    with pytest.raises(InvalidImageError) as caught:
        await resolve(name, value)
    assert caught.value.field == name
    assert caught.value.problems == (str(caught.value),)
    return str(caught.value)


def _spooled(data: bytes) -> io.IOBase:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - closed by the caller
    file.write(data)
    file.seek(0)
    return file


MEMORY_KINDS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "every second byte of a memoryview": lambda data: memoryview(
        b"".join(bytes((byte, 0)) for byte in data)
    )[::2],
    "a memoryview backwards": lambda data: memoryview(data[::-1])[::-1],
    "a typed memoryview": lambda data: memoryview(array("H", data)),
    "BytesIO at its beginning": io.BytesIO,
    "a data URL": lambda data: "data:image/png;base64," + base64.b64encode(data).decode(),
    "a triple": lambda data: (None, data, None),
}


@pytest.mark.parametrize("kind", MEMORY_KINDS)
async def test_memory(kind: str, png: Png) -> None:
    """Whatever holds the bytes in memory is sent byte for byte, for every attempt."""
    data = png((61, 61))
    data += b"\0" * (len(data) % 2)  # a typed view needs an even number
    entry = await resolve("image", MEMORY_KINDS[kind](data))
    assert await sent(entry) == await sent(entry) == data
    assert entry.file.source.size_bytes == len(data)
    assert entry.file.source.replayable
    assert (entry.file.filename, entry.file.content_type) == ("image.png", "image/png")
    assert entry.info is not None
    assert (entry.info.width, entry.info.height) == (61, 61)


async def test_fortran_order() -> None:
    """A view in Fortran order, as numpy makes them, is sent in the order of its indices."""
    testbuffer = pytest.importorskip("_testbuffer")
    array_ = testbuffer.ndarray(
        list(range(6)), shape=[2, 3], format="B", flags=testbuffer.ND_FORTRAN
    )
    view = memoryview(array_)
    assert view.f_contiguous
    assert not view.c_contiguous
    assert await sent(await resolve("image", view)) == view.tobytes()


async def test_bytes_io_is_sent_whole(png: Png) -> None:
    """A BytesIO is sent whole wherever its position is, as the guide writes getvalue()."""
    data = png()
    for position in (7, len(data)):
        buffer = io.BytesIO(data)
        buffer.seek(position)
        assert await sent(await resolve("image", buffer)) == data
        assert buffer.tell() == position


async def test_bytearray_is_a_snapshot(png: Png) -> None:
    """A bytearray that changes after the call began changes nothing that is sent."""
    data = bytearray(png())
    entry = await resolve("image", data)
    before = bytes(data)
    data[:] = b"other"
    assert await sent(entry) == before


async def test_paths(tmp_path: Path, png: Png) -> None:
    """A path as text, as Path or as DirEntry is read from the disk for each attempt."""
    path = tmp_path / "cat.png"
    path.write_bytes(png((512, 512), compress_level=0))  # several pieces
    entries = await asyncio.to_thread(lambda: list(os.scandir(tmp_path)))
    for value in (str(path), path, entries[0], (None, path, None)):
        entry = await resolve("image", value)
        assert entry.file.filename == "cat.png"
        assert await sent(entry) == await sent(entry) == path.read_bytes()


async def test_file_object(tmp_path: Path, png: Png) -> None:
    """A file object is sent from its position, twice if need be, and stays open."""
    path = tmp_path / "album.bin"
    path.write_bytes(b"junk" + png())
    with path.open("rb") as file:
        file.seek(4)
        entry = await resolve("image", file)
        assert file.tell() == 4
        assert await sent(entry) == await sent(entry) == png()
        assert not file.closed
    assert entry.file.filename == "album.png"


async def test_refused_file_object_can_be_used_again(tmp_path: Path, png: Png) -> None:
    """Looking at a file object does not move it: a second call with it sends the same bytes."""
    path = tmp_path / "cat.png"
    path.write_bytes(png())
    with path.open("rb") as file:
        await resolve("image", file)
        both = await resolve("image", file), await resolve("mask", file)
        assert [await sent(entry) for entry in both] == [png(), png()]


async def test_side_by_side(tmp_path: Path, png: Png) -> None:
    """Two parts of a call read one file object at the same time without disturbing each other."""
    data = png((600, 600), compress_level=0)
    path = tmp_path / "big.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        entry = await resolve("image", file)
        first, second = await asyncio.gather(sent(entry), sent(entry))
    assert first == second == data


async def send_whole(value: Any) -> bytes:
    """Resolve an input and return what one attempt would send."""
    return await sent(await resolve("image", value))


def _temporary(data: bytes) -> Any:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed by the caller
    file.write(data)  # not flushed
    file.seek(4)
    return file


def _opened(folder: Path, data: bytes, mode: str = "rb", buffering: int = -1) -> Any:
    path = folder / "album"
    path.write_bytes(data)
    file = path.open(mode, buffering)
    file.seek(4)
    return file


def _unzipped(folder: Path, data: bytes) -> Any:
    with zipfile.ZipFile(folder / "album.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat.png", data)
    with zipfile.ZipFile(folder / "album.zip") as archive:
        file = archive.open("cat.png")
    file.seek(4)
    return file


def _unpacked(folder: Path, data: bytes) -> Any:
    (folder / "album.gz").write_bytes(gzip.compress(data))
    file = gzip.open(folder / "album.gz")  # noqa: SIM115 - closed by the caller
    file.seek(4)
    return file


def _spooled_at_4(_: Path, data: bytes) -> Any:
    file = _spooled(data)
    file.seek(4)
    return file


class _Decoding(io.FileIO):
    """A file whose content is not what is on the disk."""

    def read(self, size: int | None = -1, /) -> bytes:
        return bytes(255 - byte for byte in super().read(-1 if size is None else size) or b"")


def _decoding(folder: Path, data: bytes) -> Any:
    (folder / "album").write_bytes(bytes(255 - byte for byte in data))
    file = _Decoding(folder / "album")
    file.seek(4)
    return file


FILE_KINDS: dict[str, Callable[[Path, bytes], Any]] = {
    "buffered": _opened,
    "unbuffered": lambda folder, data: _opened(folder, data, "rb", 0),
    "for reading and writing": lambda folder, data: _opened(folder, data, "r+b"),
    "temporary, not flushed": lambda _, data: _temporary(data),
    "spooled": _spooled_at_4,
    "gzip": _unpacked,
    "zip": _unzipped,
    "a subclass that decodes": _decoding,
}


@pytest.mark.parametrize("system", ["with pread", "without"])
@pytest.mark.parametrize("kind", FILE_KINDS)
async def test_many_users_of_one_file_object(
    kind: str, system: str, tmp_path: Path, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that use one file object at once, and one after the other, send it whole; it stays put."""
    if system == "without":
        monkeypatch.delattr(os, "pread")
    data = png((400, 400), compress_level=0)  # several pieces
    with await asyncio.to_thread(FILE_KINDS[kind], tmp_path, b"junk" + data) as file:
        bodies = await asyncio.gather(*(send_whole(file) for _ in range(20)))
        assert [body == data for body in bodies] == [True] * 20
        assert await asyncio.to_thread(file.tell) == 4
        assert await send_whole(file) == data
        assert await asyncio.to_thread(file.tell) == 4
        assert await asyncio.to_thread(file.read) == data


async def test_path_without_pread(
    tmp_path: Path, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no pread(), as Windows, a path is sent whole too."""
    monkeypatch.delattr(os, "pread")
    path = tmp_path / "cat.png"
    path.write_bytes(png((400, 400), compress_level=0))
    assert await send_whole(path) == path.read_bytes()


async def test_damaged_gzip(tmp_path: Path, png: Png) -> None:
    """A gzip file that is cut or damaged is refused with the reason."""
    whole = gzip.compress(png((99, 99)))
    damaged = whole[:12] + b"\xff" * 20 + whole[32:]
    for number, content in enumerate((whole[:-9], damaged, b"no gzip at all")):
        path = tmp_path / f"{number}.gz"
        path.write_bytes(content)
        with gzip.open(path) as file:
            assert "cannot be read" in await refused(file)


async def test_gzip_at_its_end(tmp_path: Path, png: Png) -> None:
    """A file object that is not on the disk as it reads is told to be at its end, too."""
    with _unpacked(tmp_path, png()) as file:
        file.read()
        assert f"it is at its end, position {len(png()):,}: call seek(0)" in await refused(file)


async def test_spooled_file(png: Png) -> None:
    """A SpooledTemporaryFile is sent, as web frameworks hand uploads out."""
    with _spooled(png()) as file:
        entry = await resolve("image", file)
        assert await sent(entry) == png()
        assert not file.closed
    assert entry.file.filename == "image.png"


async def test_pipe(png: Png) -> None:
    """A stream that can be read only once is kept, so that it can be sent again."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as stream:
        with os.fdopen(write_end, "wb") as writer:
            writer.write(png())
        entry = await resolve("image", stream)
        assert await sent(entry) == await sent(entry) == png()
    assert entry.file.filename == "image.png"  # the name of a pipe is a number


async def test_endless_stream() -> None:
    """A stream without an end is refused at 64 MiB instead of filling the memory."""

    class Endless:
        def read(self, size: int = -1, /) -> bytes:
            return b"x" * size

    assert "longer than 67,108,864 bytes; save it to a file" in await refused(Endless())


class Tape:
    """A stream of *size* bytes that cannot go back; it says that it has *told* of them."""

    def __init__(self, head: bytes, size: int, told: Any = None) -> None:
        self.head, self.left, self.told = head, size, size if told is None else told
        self.closed = False

    def __len__(self) -> int:
        if isinstance(self.told, Exception):
            raise self.told
        return int(self.told)

    def read(self, size: int = -1, /) -> bytes:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if not size:
            return b""
        piece = self.head + bytes(min(size, self.left) - len(self.head))
        self.head, self.left = b"", self.left - len(piece)
        return piece


LONG = 64 * 1024 * 1024 + 1


async def test_long_stream(png: Png) -> None:
    """A stream that is too long to be kept, and tells its length, is sent as it is read, once."""
    entry = await resolve("image", Tape(png(), LONG + 1000, told=LONG))
    source = entry.file.source
    assert (source.size_bytes, source.replayable) == (LONG, False)
    assert (entry.file.filename, entry.file.content_type) == ("image.png", "image/png")
    assert entry.info is None
    assert "the stream of 67,108,865 bytes can be read only once" in str(entry.problem)
    assert "save it to a file and pass the path, or send it with validate='off'" in str(
        entry.problem
    )
    pieces = [bytes(piece) async for piece in source.chunks()]
    assert max(map(len, pieces)) < 1_000_000
    assert pieces[0].startswith(png())
    assert sum(map(len, pieces)) == LONG
    with pytest.raises(InvalidImageError, match="can be read once, and was; pass bytes or a path"):
        await sent(entry)


async def test_long_stream_of_no_known_type() -> None:
    """A long stream that is no image that we know has the type that it is given."""
    entry = await resolve("image", ("cat.avif", Tape(b"", LONG), "image/avif"))
    assert (entry.file.filename, entry.file.content_type) == ("cat.avif", "image/avif")


async def test_long_stream_that_ends_early() -> None:
    """A long stream that has fewer bytes than it told, or is closed, ends the call."""
    entry = await resolve("image", Tape(b"", 3_000_000, told=LONG))
    with pytest.raises(InvalidImageError, match=r"ended early: 3,000,000 of 67,108,865 bytes came"):
        await sent(entry)
    tape = Tape(b"", LONG)
    entry = await resolve("image", tape)
    tape.closed = True
    with pytest.raises(InvalidImageError, match=r"can no longer be read: .* closed file"):
        await sent(entry)
    assert "the stream is empty" in await refused(Tape(b"", 0, told=LONG))


@pytest.mark.parametrize("told", [3000, 0, TypeError("no len()"), OverflowError("too long")])
async def test_short_stream(told: Any, png: Png) -> None:
    """A stream that can be kept is kept, whatever it tells, and can be sent again."""
    entry = await resolve("image", Tape(png(), 3000, told=told))
    assert entry.file.source.replayable
    assert await sent(entry) == await sent(entry) == png() + bytes(3000 - len(png()))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("cat.png", "cat.png"),
        ("cat.PNG", "cat.PNG"),
        ("cat.jpg", "cat.png"),
        ("cat.JPEG", "cat.png"),
        ("cat", "cat.png"),
        ("v1.2", "v1.2.png"),
        (None, "mask.png"),
    ],
)
async def test_filename_follows_the_bytes(given: str | None, wanted: str, png: Png) -> None:
    """The suffix of the name that is sent agrees with the bytes, and so does the type."""
    entry = await resolve("mask", (given, png(), "image/jpeg"))
    assert (entry.file.filename, entry.file.content_type) == (wanted, "image/png")


@pytest.mark.parametrize(
    ("kind", "content_type", "filename"),
    [
        ("JPEG", "image/jpeg", "image.jpg"),
        ("WEBP", "image/webp", "image.webp"),
        ("GIF", "image/gif", "image.gif"),
    ],
)
async def test_other_formats(kind: str, content_type: str, filename: str, png: Png) -> None:
    """JPEG, WebP and GIF are told by their bytes too: octet-stream is never sent for an image."""
    data = png(mode="RGB", kind=kind)
    entry = await resolve("image", (None, data, "application/octet-stream"))
    assert (entry.file.content_type, entry.file.filename) == (content_type, filename)
    jpeg_name = await resolve("image", ("photo.jpeg", png(mode="RGB", kind="JPEG"), None))
    assert jpeg_name.file.filename == "photo.jpeg"


async def test_what_is_no_image_keeps_its_problem() -> None:
    """Bytes that are no image are described, and can be sent with validate="off"."""
    entry = await resolve("image[1]", ("notes.txt", b"hello", "application/text"))
    assert entry.info is None
    assert "image[1]: the bytes object is no PNG" in str(entry.problem)
    assert (entry.file.field, entry.file.filename) == ("image", "notes.txt")
    assert entry.file.content_type == "application/text"
    unnamed = await resolve("image", b"hello")
    assert unnamed.file.content_type == "application/octet-stream"


async def test_truncated_png(png: Png, tmp_path: Path) -> None:
    """A PNG that ends too early is noticed, in memory and on disk."""
    path = tmp_path / "cut.png"
    path.write_bytes(png()[:-5])
    for value in (png()[:-5], path):
        assert "truncated PNG" in str((await resolve("image", value)).problem)


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        ("RGB", "RGB"),
        ("RGBA", "RGBA"),
        ("P", "RGB"),
        ("CMYK", "RGB"),
        ("1", "RGB"),
        ("LA", "LA"),
        ("PA", "RGBA"),
        ("I;16", "I;16"),
    ],
)
async def test_pictures(mode: str, kept: str) -> None:
    """A PIL image of any mode is sent as a PNG that servers take."""
    entry = await resolve("image", Image.new(mode, (8, 8)))
    assert entry.file.content_type == "image/png"
    with Image.open(io.BytesIO(await sent(entry))) as again:
        assert (again.format, again.mode, again.size) == ("PNG", kept, (8, 8))


async def test_picture_with_a_transparent_colour() -> None:
    """Transparency of a palette image survives, because it says where to edit."""
    picture = Image.new("P", (8, 8))
    picture.info["transparency"] = 0
    entry = await resolve("image", picture)
    assert entry.info is not None
    assert entry.info.has_alpha
    with Image.open(io.BytesIO(await sent(entry))) as again:
        assert again.getpixel((0, 0))[3] == 0  # type: ignore[index]


async def test_picture_that_cannot_be_encoded() -> None:
    """A PIL image that is closed is refused with PIL's reason."""
    picture = Image.new("RGB", (8, 8))
    picture.close()
    assert "the PIL image cannot be encoded as PNG" in await refused(picture)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "the bytes object is empty (0 bytes); pass the bytes of an image file as image"),
        (bytearray(), "the bytearray is empty"),
        (memoryview(b""), "the memory is empty"),
        (io.BytesIO(), "the BytesIO is empty"),
        ("data:image/png;base64,", "the data URL is empty"),
        ("data:image/png,abc", "is not 'data:<type>;base64,<data>'"),
        ("data:image/png;base64", "is not 'data:<type>;base64,<data>'"),
        ("data:image/png;base64,!!!!", "holds no base64"),
        ("https://example.org/a.png", "download it first"),
        (17, "int is no image input; pass bytes, a path"),
        (None, "NoneType is no image input"),
        (io.StringIO("x"), "text mode; open it with mode 'rb'"),
        ("a\0b", "cannot be read"),
        (
            "iVBORw0KGgo" * 5000,
            "is a path, and this one, 'iVBORw0KGgoiVBORw0KG'…, has 55,000 characters; an",
        ),
    ],
)
async def test_refused(value: Any, words: str) -> None:
    """What cannot be sent at all is refused before anything is sent, with the next step."""
    assert words in await refused(value)


async def test_refused_files(tmp_path: Path, png: Png) -> None:
    """Files that are missing, empty, closed, at their end or opened wrongly are refused."""
    empty, full = tmp_path / "empty.png", tmp_path / "full.png"
    empty.write_bytes(b"")
    full.write_bytes(png())
    assert "does not exist; looked in" in await refused(tmp_path / "no.png", "mask")
    said = await refused("ftp://me:hunter2@host/a.png", "mask")
    assert "a URL is no file" in said
    assert "hunter2" not in said
    assert "cannot be read: Is a directory" in await refused(tmp_path)
    assert "is empty (0 bytes)" in await refused(str(empty))
    with full.open() as text:
        assert "text mode" in await refused(text)
    with full.open("ab") as writer:
        assert "cannot be read: read; open it with mode 'rb'" in await refused(writer)
    with full.open("rb") as file:
        file.seek(0, os.SEEK_END)
        end = await refused(file)
        assert f"it is at its end, position {len(png()):,}: call seek(0) first" in end
        file.seek(len(png()) + 10)
        assert "the file object is empty" in await refused(file)
    assert "the file object is closed" in await refused(file)
    with empty.open("rb") as nothing:
        assert (await refused(nothing)).endswith("the file object is empty (0 bytes)")
    buffer = io.BytesIO(png())
    buffer.close()
    assert "the BytesIO is closed" in await refused(buffer)


async def test_upload_that_is_awaited(png: Png) -> None:
    """An upload with an async read(), FastAPI's for example, is refused with what to do."""

    class Upload:
        async def read(self, size: int = -1) -> bytes:
            return png()[:size]

    assert "pass the bytes: await file.read()" in await refused(Upload())


async def test_file_that_shrinks(tmp_path: Path, png: Png) -> None:
    """A file that became shorter between attempts ends the call instead of half an upload."""
    path = tmp_path / "cat.png"
    path.write_bytes(png())
    entry = await resolve("image", path)
    path.write_bytes(png()[:10])
    with pytest.raises(InvalidImageError, match=r"became shorter: 10 of .* bytes are left"):
        await sent(entry)
    path.unlink()
    with pytest.raises(InvalidImageError, match="can no longer be opened: No such file"):
        await sent(entry)


async def test_file_that_is_closed_too_early(tmp_path: Path, png: Png) -> None:
    """A file that the caller closes while the call waits is a clear error of its own."""
    path = tmp_path / "cat.png"
    path.write_bytes(png())
    with path.open("rb") as file:
        entry = await resolve("image", file)
    with pytest.raises(InvalidImageError, match=r"can no longer be read.*closed"):
        await sent(entry)


async def test_renamed_between_attempts(tmp_path: Path, png: Png) -> None:
    """A renamed file is sent on through its file object; by its path it cannot be opened again."""
    path = tmp_path / "cat.png"
    path.write_bytes(png())
    with path.open("rb") as file:
        by_object, by_path = await resolve("image", file), await resolve("image", path)
        assert await sent(by_object) == await sent(by_path) == png()
        path.rename(tmp_path / "dog.png")
        assert await sent(by_object) == png()
        with pytest.raises(InvalidImageError, match="can no longer be opened: No such file"):
            await sent(by_path)
    with pytest.raises(InvalidImageError, match="can no longer be read: it is closed"):
        await sent(by_object)


async def test_closed_in_the_middle_of_an_attempt(tmp_path: Path, png: Png) -> None:
    """An attempt that began before the caller closed the file still sends all of it."""
    path = tmp_path / "cat.png"
    path.write_bytes(png((600, 600), compress_level=0))
    with path.open("rb") as file:
        entry = await resolve("image", file)
        async with aclosing(entry.file.source.chunks()) as chunks:
            body = bytes(await anext(chunks))
            file.close()
            async for piece in chunks:
                body += piece
    assert body == path.read_bytes()


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts in /proc")
def test_cancelled_while_it_is_opened(tmp_path: Path, png: Png) -> None:
    """A cancellation at any moment, while the file is being opened too, leaves no file open."""
    path = tmp_path / "cat.png"
    path.write_bytes(png((400, 400), compress_level=0))
    chance = random.Random(7)  # noqa: S311 - no secret

    async def read(entry: ResolvedInput) -> None:
        async with aclosing(entry.file.source.chunks()) as chunks:
            async for _ in chunks:
                pass

    async def many(file: Any) -> None:
        entries = [await resolve("image", path), await resolve("image", file)]
        for number in range(400):
            task = asyncio.create_task(read(entries[number % 2]))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(chance.choice((0, 0, 0.0002)))
            task.cancel()
            if number % 3 == 0:  # twice: while it is being closed
                await asyncio.sleep(0)
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    with warnings.catch_warnings(record=True) as caught, path.open("rb") as file:
        warnings.simplefilter("always")
        before = _open_descriptors()
        asyncio.run(many(file))
        assert _open_descriptors() == before
        gc.collect()
    assert not [str(w.message) for w in caught if w.category is ResourceWarning]


def test_as_list() -> None:
    """A tuple is one named image if it looks like one, else several images."""
    named = ("cat.png", b"x", "image/png")
    assert as_list(named) == [named]
    assert as_list((None, b"x", None)) == [(None, b"x", None)]
    assert as_list(("a.png", "b.png", "c.png")) == ["a.png", "b.png", "c.png"]
    assert as_list([b"a", b"b"]) == [b"a", b"b"]
    assert as_list(b"a") == [b"a"]


async def test_a_name_and_bytes_are_one_image(png: Callable[..., bytes]) -> None:
    """(filename, content), as the official client takes it, is one named image; two paths are two."""
    named = ("cat.png", png())
    assert as_list(named) == [named]
    resolved = await resolve("image", named)
    assert (resolved.file.filename, resolved.file.content_type) == ("cat.png", "image/png")
    assert as_list(("a.png", "b.png")) == ["a.png", "b.png"]
    assert as_list(("a.png", png(), "text/plain")) == [("a.png", png(), "text/plain")]


async def test_a_picture_leaves_no_buffer_behind() -> None:
    """A PIL image is encoded into memory that nobody has to release in the right order."""
    source = (await resolve("image", Image.new("RGB", (8, 8)))).file.source
    chunks = [bytes(chunk) async for chunk in source.chunks()]
    assert isinstance(source, MemorySource)
    assert isinstance(source.data.obj, bytes)
    assert b"".join(chunks).startswith(b"\x89PNG")


# References -----------------------------------------------------------------------------------


def test_images_that_the_server_fetches() -> None:
    """A URL and the id of an uploaded file stand for themselves; all else is sent."""
    for value in ("https://a/b.png", "http://a/b.png", "file_id:file-1"):
        found = by_reference("image[1]", value)
        assert found is not None
        assert (found.file.field, found.file.reference) == ("image", value)
        assert (found.file.source.size_bytes, found.info, found.problem) == (0, None, None)
        assert found.file.source.replayable
    for other in (
        "a.png",
        "data:image/png;base64,AAAA",
        "ftp://a",
        b"https://a",
        Path("https://a"),
    ):
        assert by_reference("image", other) is None


@pytest.mark.parametrize("value", ["https://a/b.png", "file_id:file-1"])
async def test_where_files_are_uploaded(value: str) -> None:
    """A server that takes uploads only cannot fetch an image; the error says which ones can."""
    assert "servers with JSON edits take it: see docs/servers.md" in await refused(value)


@pytest.mark.parametrize("as_url", [False, True])
async def test_looking_at_an_input_does_not_keep_the_loop(as_url: bool, png: Png) -> None:  # noqa: FBT001
    """A large image in memory, which may have any number of chunks, and a data URL are read in a thread."""
    data = png()
    data = data[:33] + (bytes(4) + b"miNe" + bytes(4)) * 3000 + data[33:]
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    task = asyncio.create_task(resolve("image", url if as_url else data))
    await asyncio.sleep(0)
    assert not task.done()
    assert (await task).info is not None
