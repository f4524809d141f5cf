from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest

from imagesdk.sinks import save_as, save_new

Png = Callable[..., bytes]


def names(folder: Path) -> list[str]:
    """Return the names of what is in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def _disk_full(limit_bytes: int) -> Iterator[None]:
    """Let writes beyond *limit_bytes* of a file fail with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        ("PNG", "cat", "cat.png"),
        ("PNG", "cat.png", "cat.png"),
        ("PNG", "cat.PNG", "cat.PNG"),
        ("PNG", "cat.jpg", "cat.png"),
        ("PNG", "cat.bin", "cat.bin.png"),
        ("PNG", "v1.2", "v1.2.png"),
        ("JPEG", "cat.png", "cat.jpg"),
        ("JPEG", "cat.jpeg", "cat.jpeg"),
        ("WEBP", "cat.jpeg", "cat.webp"),
        (None, "cat", "cat.bin"),
        (None, "cat.xyz", "cat.xyz"),
    ],
)
def test_suffix(kind: str | None, given: str, wanted: str, tmp_path: Path, png: Png) -> None:
    """The suffix of a saved file is that of its bytes."""
    content = b"no image" if kind is None else png(mode="RGB", kind=kind)
    path = save_as(tmp_path / "new" / given, content)
    assert path == tmp_path / "new" / wanted
    assert path.read_bytes() == content
    assert names(path.parent) == [wanted]


def test_save_as_replaces(tmp_path: Path, png: Png) -> None:
    """save_as replaces what is there."""
    (tmp_path / "cat.png").write_bytes(b"old")
    assert save_as(str(tmp_path / "cat.png"), png()).read_bytes() == png()


@pytest.mark.parametrize("save", [save_as, save_new])
def test_disk_full(save: Callable[..., Path], tmp_path: Path, png: Png) -> None:
    """When the disk is full, no half file and no temporary file is left, and the old one stays."""
    (tmp_path / "cat.png").write_bytes(b"old")
    where = (tmp_path / "cat.png",) if save is save_as else (tmp_path, "cat")
    with _disk_full(16), pytest.raises(OSError, match="too large"):
        save(*where, png((256, 256)))
    assert names(tmp_path) == ["cat.png"]
    assert (tmp_path / "cat.png").read_bytes() == b"old"


def test_directory_in_the_way(tmp_path: Path, png: Png) -> None:
    """A directory in the place of the target is an error that leaves nothing behind."""
    (tmp_path / "cat.png" / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        save_as(tmp_path / "cat.png", png())
    assert names(tmp_path) == ["cat.png"]


def test_save_new_counts(tmp_path: Path, png: Png) -> None:
    """save_new takes the first free number and never replaces a file."""
    (tmp_path / "cat-2.png").write_bytes(b"mine")
    saved = [save_new(tmp_path, "cat", png()).name for _ in range(3)]
    assert saved == ["cat-1.png", "cat-3.png", "cat-4.png"]
    assert (tmp_path / "cat-2.png").read_bytes() == b"mine"
    assert len(names(tmp_path)) == 4


def test_save_new_side_by_side(tmp_path: Path) -> None:
    """Threads that save under one name at the same time all keep their own file."""
    contents = [b"content %d" % number for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda content: save_new(tmp_path, "a", content), contents))
    assert [path.read_bytes() for path in paths] == contents
    assert names(tmp_path) == sorted(f"a-{number}.bin" for number in range(1, 41))


def test_save_new_many(tmp_path: Path) -> None:
    """Saves in one folder are numbered without a gap, and each tries to link one name only."""
    tried: list[object] = []
    link = os.link

    def count(source: Path, target: Path) -> None:
        tried.append(target)
        link(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", count)  # the operating system, not our code
        saved = [save_new(tmp_path, "image", b"%d" % number).name for number in range(1, 301)]
    assert saved == [f"image-{number}.bin" for number in range(1, 301)]
    assert len(tried) == 300
    assert (tmp_path / "image-300.bin").read_bytes() == b"300"


def test_save_new_in_a_full_folder_side_by_side(tmp_path: Path) -> None:
    """Writers that see the same folder at the same time do not collide, nor replace a file."""
    for number in (1, 2, 4):
        (tmp_path / f"a-{number}.bin").write_bytes(b"mine")
    ready = Barrier(8)

    def save(content: bytes) -> Path:
        ready.wait(10)
        return save_new(tmp_path, "a", content)

    contents = [b"content %d" % number for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(save, contents))
    assert [path.read_bytes() for path in paths] == contents
    assert names(tmp_path) == sorted(f"a-{number}.bin" for number in range(1, 68))
    assert {(tmp_path / f"a-{number}.bin").read_bytes() for number in (1, 2, 4)} == {b"mine"}


def test_save_new_in_a_folder_that_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may be written to but not listed is saved to all the same."""

    def listdir(*_: object) -> list[str]:
        raise PermissionError("may not be listed")

    (tmp_path / "a-1.bin").write_bytes(b"mine")
    monkeypatch.setattr(os, "listdir", listdir)  # the operating system, not our code
    assert save_new(tmp_path, "a", b"new").name == "a-2.bin"


def test_without_hard_links(tmp_path: Path, png: Png, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without hard links nothing is replaced either."""

    def link(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", link)  # the operating system, not our code
    (tmp_path / "cat-1.png").write_bytes(b"mine")
    assert save_new(tmp_path, "cat", png()).name == "cat-2.png"
    assert (tmp_path / "cat-1.png").read_bytes() == b"mine"
    assert (tmp_path / "cat-2.png").read_bytes() == png()
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions(umask: int, tmp_path: Path) -> None:
    """Saved files get the permissions that the umask says, like any other new file."""
    before = os.umask(umask)
    try:
        paths = [save_as(tmp_path / "a.bin", b"a"), save_new(tmp_path, "b", b"b")]
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o666 & ~umask] * 2


def test_a_file_that_was_not_named_is_not_replaced(tmp_path: Path) -> None:
    """Where the bytes call for another suffix, a file that already has that name is left alone."""
    other = tmp_path / "a.png"
    other.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="give a name of its own"):
        save_as(tmp_path / "a.jpg", b"\x89PNG\r\n\x1a\n")
    assert other.read_bytes() == b"mine"
    assert save_as(tmp_path / "a", b"\x89PNG\r\n\x1a\n") == other
    with pytest.raises(IsADirectoryError, match="is a folder"):
        save_as(tmp_path, b"image")
