from __future__ import annotations

import errno
import os
import re
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest

from imagesdk.errors import InvalidRequestError
from imagesdk.sinks import FileSink, Folder, save_as, save_new

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


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says without a file's name is told with the folder's."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)  # the operating system, not our code
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        save_new(tmp_path, "cat", b"image")
    assert list(tmp_path.iterdir()) == []


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


def test_a_name_that_cannot_be_filled_is_given_back(
    tmp_path: Path, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without hard links a disk that fails at the last step leaves no empty file."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "link", refuse)  # the operating system, not our code
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="broken"):
        save_new(tmp_path, "cat", png())
    assert names(tmp_path) == []


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


# Straight to disk -----------------------------------------------------------------------------


def filled(folder: Folder, content: bytes, *, finished: bool = True) -> FileSink:
    """Return a sink that has taken *content* in two pieces, the first flushed."""
    sink = FileSink(folder)
    middle = len(content) // 2
    sink.write(content[:middle])
    sink.flush()
    sink.write(content[middle:])
    if finished:
        sink.finish()
    return sink


def is_due(sink: FileSink) -> bool:
    return sink.is_due


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, "the disk is broken")


@pytest.mark.parametrize(
    ("kind", "name", "size"),
    [("PNG", "cat-1.png", (31, 17)), ("JPEG", "cat-1.jpg", (31, 17)), (None, "cat-1.bin", None)],
)
def test_file_sink(
    kind: str | None, name: str, size: tuple[int, int] | None, tmp_path: Path, png: Png
) -> None:
    """A published file has all pieces in order, a name by its bytes, and its size in pixels."""
    content = b"no image" if kind is None else png((31, 17), "RGB", kind)
    sink = filled(Folder(tmp_path, name="cat"), content)
    sink.publish()
    stored = sink.stored
    assert stored is not None
    assert (stored.path, stored.dimensions, stored.size_bytes) == (
        tmp_path / name,
        size,
        len(content),
    )
    assert stored.path.read_bytes() == content
    assert (sink.failure, sink.content) == (None, None)
    sink.close()
    assert names(tmp_path) == [name]


def test_dimensions_behind_a_long_header(tmp_path: Path, png: Png) -> None:
    """Width and height are found behind metadata of any length."""
    jpeg = png((31, 17), "RGB", "JPEG")
    segment = b"\xff\xe2\xff\xff" + bytes(0xFFFF - 2)
    sink = filled(Folder(tmp_path), jpeg[:2] + segment * 4 + jpeg[2:])
    sink.publish()
    assert sink.stored is not None
    assert sink.stored.dimensions == (31, 17)


@pytest.mark.parametrize("advice", ["taken", "refused", "unknown"])
def test_a_large_file_is_put_on_the_disk_meanwhile(
    advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is told to begin before the end; the file is the same where it does not listen."""
    told: list[tuple[int, int]] = []

    def listen(_: int, offset: int, size: int, __: int) -> None:
        told.append((offset, size))
        if advice == "refused":
            raise OSError(errno.ESPIPE, "no advice is taken")

    if advice == "unknown":
        monkeypatch.delattr(os, "posix_fadvise")
    else:
        monkeypatch.setattr(os, "posix_fadvise", listen)
    sink, pieces = FileSink(Folder(tmp_path)), [os.urandom(2_100_000) for _ in range(5)]
    for piece in pieces:
        sink.write(piece)
        sink.flush()
    sink.finish()
    sink.publish()
    assert sink.stored is not None
    assert sink.stored.path.read_bytes() == b"".join(pieces)
    wanted = [(0, 4_200_000), (4_200_000, 4_200_000)]
    assert told == ([] if advice == "unknown" else wanted)


@pytest.mark.parametrize("takes", ["everything", "a little", "one piece"])
def test_pieces_are_written_in_order_whatever_the_system_takes(
    takes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many small pieces, writes that take a part of them, and a system without writev."""
    if takes == "a little":
        write = os.write
        monkeypatch.setattr(
            os, "writev", lambda file, pieces: write(file, b"".join(pieces)[:1000]), raising=False
        )
    elif takes == "one piece":
        monkeypatch.delattr(os, "writev", raising=False)
    pieces = [os.urandom(index % 7) for index in range(3000)]
    sink = FileSink(Folder(tmp_path))
    for piece in pieces:
        sink.write(piece)
    sink.finish()
    sink.publish()
    assert sink.stored is not None
    assert sink.stored.path.read_bytes() == b"".join(pieces)
    assert sink.stored.size_bytes == sum(map(len, pieces))


def test_a_sink_says_when_it_is_due(tmp_path: Path) -> None:
    """Writing makes no file; a flush is due for half a MiB, the end, or what must go."""
    sink = FileSink(Folder(tmp_path))
    sink.write(bytes(512 * 1024 - 1))
    assert not is_due(sink)
    sink.write(b"x")
    assert is_due(sink)
    assert names(tmp_path) == []
    sink.flush()
    assert not is_due(sink)
    (part,) = names(tmp_path)
    assert part.endswith(".part")
    assert (tmp_path / part).stat().st_size == sink.size_bytes == 512 * 1024
    sink.finish()
    assert is_due(sink)
    sink.flush()
    assert not is_due(sink)
    sink.discard()
    assert is_due(sink)
    sink.flush()
    assert not is_due(sink)
    assert names(tmp_path) == []


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("discarded", [False, True])
def test_a_closed_sink_leaves_no_file(
    finished: bool,  # noqa: FBT001
    flushed: bool,  # noqa: FBT001
    discarded: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    """Whenever a sink is closed or discarded nothing is left, and nothing is made afterwards."""
    sink = filled(Folder(tmp_path), b"content", finished=finished)
    if flushed:
        sink.flush()
    if discarded:
        sink.discard()
    sink.close()
    assert names(tmp_path) == []
    sink.publish()
    assert names(tmp_path) == []
    assert sink.stored is None


@pytest.mark.parametrize("limit", [0, 1, 999, 1_000, 1_500, 1_999])
def test_a_full_disk_loses_nothing(limit: int, tmp_path: Path) -> None:
    """When the disk is full at any byte, the image goes on in memory, and no file is left."""
    content = os.urandom(2_000)
    with _disk_full(limit):
        sink = filled(Folder(tmp_path), content)
        sink.publish()
        more = filled(Folder(tmp_path), content, finished=False)
        more.write(b"more")
        more.flush()
        more.write(b"and more")
        more.flush()
    assert sink.content == content
    assert sink.failure is not None
    assert sink.failure.errno == errno.EFBIG
    assert more.content == content + b"moreand more"
    more.discard()
    assert more.stored is None
    assert names(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_disk_that_fails_at_the_end(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a file cannot be forced to the disk or named, the image is in memory."""
    monkeypatch.setattr(os, call, fail)  # the operating system, not our code
    monkeypatch.setattr(os, "open", fail)
    sink = filled(Folder(tmp_path), b"content")
    sink.publish()
    assert (sink.content, sink.stored) == (b"content", None)
    assert "broken" in str(sink.failure)
    assert names(tmp_path) == []


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """An image for a folder that was removed meanwhile is in memory."""
    sink = filled(Folder(tmp_path / "gone"), b"content")
    sink.publish()
    assert sink.content == b"content"
    assert isinstance(sink.failure, FileNotFoundError)


@pytest.mark.parametrize("gone", [True, False])
def test_what_cannot_be_read_back_is_lost(
    gone: bool,  # noqa: FBT001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that also loses what it took leaves neither file nor half an image."""
    sink = filled(Folder(tmp_path), b"content")
    sink.flush()
    (part,) = tmp_path.iterdir()
    if gone:
        part.unlink()
    else:
        os.truncate(part, 3)
    monkeypatch.setattr(os, "link", fail)  # the operating system, not our code
    monkeypatch.setattr(os, "open", fail)
    sink.publish()
    assert (sink.content, sink.stored) == (None, None)
    assert ("No such file" if gone else "3 of 7 bytes") in str(sink.failure)
    assert names(tmp_path) == []


def test_sinks_of_one_folder_share_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who shares a folder looks through it once; a name that is taken later is skipped all the same."""
    looked: list[object] = []
    listdir = os.listdir

    def count(path: Path) -> list[str]:
        looked.append(path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", count)  # the operating system, not our code
    (tmp_path / "image-1.bin").write_bytes(b"mine")
    folder = Folder(tmp_path)
    saved = []
    for number in range(4):
        sink = filled(folder, b"%d" % number)
        sink.publish()
        saved.append(sink.stored.path.name if sink.stored else None)
        if number == 1:
            (tmp_path / "image-4.bin").write_bytes(b"mine")
    assert saved == ["image-2.bin", "image-3.bin", "image-5.bin", "image-6.bin"]
    assert len(looked) == 1
    assert (tmp_path / "image-4.bin").read_bytes() == b"mine"


def test_prepare_makes_the_folder(tmp_path: Path) -> None:
    """A folder is made with its parents, may have any name once it is there, and is left empty."""
    folder = Folder(tmp_path / "a" / "b")
    folder.prepare()
    folder.prepare()
    assert names(tmp_path / "a" / "b") == []
    (tmp_path / "cat.png").mkdir()
    Folder(tmp_path / "cat.png").prepare()
    assert os.fspath(folder) == str(tmp_path / "a" / "b")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cat.png", "it has the name of an image file"),
        ("cat.JPEG", "it has the name of an image file"),
        ("file", "there is a file of that name"),
        ("file/sub", "Not a directory"),
        ("nul\0", "null"),
    ],
)
def test_prepare_refuses(name: str, why: str, tmp_path: Path) -> None:
    """What cannot be a folder to write to is refused by name, and nothing is made."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidRequestError, match=f"save_to is a folder: .*{why}") as caught:
        Folder(tmp_path / name).prepare()
    assert caught.value.field == "save_to"
    assert names(tmp_path) == ["file"]


def test_prepare_finds_out_about_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that nothing can be written into is refused."""

    monkeypatch.setattr(os, "access", lambda *_: False)  # the operating system, not our code
    with pytest.raises(InvalidRequestError, match="may not be written to; nothing was sent"):
        Folder(tmp_path).prepare()


def test_saving_from_a_file(tmp_path: Path, png: Png) -> None:
    """What is on disk already is copied: the copy is a file of its own, the source stays."""
    source = tmp_path / "source"
    source.write_bytes(png())
    for path in (save_as(tmp_path / "a", source), save_new(tmp_path, "b", source)):
        assert path.suffix == ".png"
        assert path.read_bytes() == png()
        assert not path.samefile(source)
    assert save_as(tmp_path / "a.png", tmp_path / "a.png").read_bytes() == png()
    assert names(tmp_path) == ["a.png", "b-1.png", "source"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "1 to 200 bytes"),
        ("é" * 101, "1 to 200 bytes"),
        ("a/b", "no /"),
        ("..\\a", "no /"),
        ("c:a", "colon"),
        ("a\0", "control character"),
        ("a\n", "control character"),
        (".hidden", "begin with a dot"),
        ("..", "begin with a dot"),
        ("con", "a device of that name"),
        ("LPT1.txt", "a device of that name"),
    ],
)
def test_names_that_are_none(name: str, why: str, tmp_path: Path) -> None:
    """The first part of a file name leads nowhere else, and is a name on every system."""
    with pytest.raises(InvalidRequestError, match=why) as caught:
        Folder(tmp_path, name=name)
    assert caught.value.field == "name"


@pytest.mark.parametrize("name", ["cat", "a cat, 2", "ネコ", "con-1", "\udcff", "a..b"])
def test_names(name: str, tmp_path: Path) -> None:
    """Anything else is fine."""
    assert save_new(tmp_path, name, b"x") == tmp_path / f"{name}-1.bin"


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link in the place of an image is stepped over, or replaced, and what it leads to stays."""
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    for name in ("image-1.bin", "cat.bin", "image-2.bin"):
        (tmp_path / name).symlink_to(target if name != "image-2.bin" else tmp_path / "nothing")
    assert save_new(tmp_path, "image", b"x") == tmp_path / "image-3.bin"
    assert save_as(tmp_path / "cat.bin", b"x") == tmp_path / "cat.bin"
    assert not (tmp_path / "cat.bin").is_symlink()
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "nothing").exists()
