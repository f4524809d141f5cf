"""Sources: where the bytes of a file come from, piece by piece."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from imagesdk import sources
from imagesdk.errors import InvalidImageError
from imagesdk.sources import PIECE_BYTES, FileSource, MemorySource

Preadv: TypeAlias = Callable[[int, Sequence[bytearray], int, int], int]
CONTENT = os.urandom(3 * PIECE_BYTES + 1000)
PIECES = 4
_preadv = getattr(os, "preadv", None)

pytestmark = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="it is of Linux alone")


def source(path: Path) -> FileSource:
    return FileSource(
        name="image",
        label="the file",
        size_bytes=len(CONTENT),
        open=lambda: path.open("rb", buffering=0),
    )


async def pieces(source: FileSource | MemorySource) -> list[bytes]:
    return [bytes(piece) async for piece in source.chunks()]


def whole(descriptor: int, buffers: Sequence[bytearray], offset: int, flags: int) -> int:
    """Read what is asked for, as a system that has all of the file in memory."""
    assert flags == os.RWF_NOWAIT
    assert _preadv is not None
    return int(_preadv(descriptor, buffers, offset))


def a_part(descriptor: int, buffers: Sequence[bytearray], offset: int, flags: int) -> int:
    """Read less than is asked for: the rest is not in memory."""
    return whole(descriptor, [memoryview(buffers[0])[:70_000]], offset, flags)  # type: ignore[list-item]


def fails(number: int) -> Preadv:
    def preadv(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return preadv


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of what was run in a thread."""
    names: list[str] = []
    in_thread = sources._in_thread

    def noted(function: Callable[..., Any], *args: object) -> asyncio.Future[Any]:
        names.append(function.__name__)
        return in_thread(function, *args)

    monkeypatch.setattr(sources, "_in_thread", noted)
    return names


@pytest.mark.parametrize(
    ("preadv", "in_threads"),
    [
        pytest.param(whole, 1, id="in memory"),
        pytest.param(a_part, 1, id="in memory, in parts"),
        pytest.param(fails(errno.EAGAIN), PIECES, id="not in memory"),
        pytest.param(fails(errno.EOPNOTSUPP), PIECES, id="a file system that does not tell"),
        pytest.param(lambda *_: 0, PIECES, id="nothing more"),
        pytest.param(None, PIECES, id="another system"),
    ],
)
async def test_a_thread_reads_what_is_not_in_memory(
    preadv: Preadv | None,
    in_threads: int,
    threads: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first piece and what may wait for the disk are read in a thread, the others at once."""
    path = tmp_path / "a.png"
    path.write_bytes(CONTENT)
    if preadv is None:
        monkeypatch.delattr(os, "RWF_NOWAIT")
    else:
        monkeypatch.setattr(os, "preadv", preadv)
    read = await pieces(source(path))
    assert b"".join(read) == CONTENT
    assert max(map(len, read)) <= PIECE_BYTES
    assert threads == ["read_at"] * in_threads + ["close"]


async def test_an_offset_holds_for_every_way_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in memory is read from where the source begins, too."""
    path = tmp_path / "a.png"
    path.write_bytes(b"junk" + CONTENT)
    monkeypatch.setattr(os, "preadv", whole)
    part = FileSource(
        name="image", label="the file", size_bytes=len(CONTENT), start=4, open=source(path).open
    )
    assert b"".join(await pieces(part)) == CONTENT


async def test_nothing_is_read_of_a_closed_file(tmp_path: Path) -> None:
    """A reader that is closed, or not yet open, has nothing in memory."""
    path = tmp_path / "a.png"
    path.write_bytes(CONTENT)
    reader = source(path).reader()
    assert reader.read_cached(0, 10) is None
    assert reader.read_at(0, 10) == CONTENT[:10]
    reader.close()
    assert reader.read_cached(0, 10) is None


async def test_a_file_that_became_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file ends too early is noticed, however it is read."""
    path = tmp_path / "a.png"
    path.write_bytes(CONTENT[: 2 * PIECE_BYTES + 5])
    monkeypatch.setattr(os, "preadv", whole)
    with pytest.raises(InvalidImageError, match=f"became shorter: {2 * PIECE_BYTES + 5:,} of"):
        await pieces(source(path))


async def test_memory_is_cut_and_not_copied() -> None:
    """The pieces of what is in memory are parts of it."""
    memory = MemorySource(data=memoryview(CONTENT))
    read = [piece async for piece in memory.chunks()]
    assert [len(piece) for piece in read] == [PIECE_BYTES] * 3 + [1000]
    assert all(isinstance(piece, memoryview) and piece.obj is CONTENT for piece in read)
