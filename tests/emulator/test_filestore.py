"""The server's files: kept on the disk until they are deleted, expire, or the server ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from imagesdk.emulator.filestore import FileStore
from imagesdk.emulator.forms import UploadedFile

DAY = 24 * 3600


@pytest.fixture
def store(clock: SimpleNamespace) -> Iterator[FileStore]:
    made = FileStore(lambda: clock.now)
    yield made
    made.close()


def upload(data: bytes, filename: str, content_type: str = "text/plain") -> UploadedFile:
    """Return an upload."""
    return UploadedFile(field="file", filename=filename, content_type=content_type, data=data)


@pytest.mark.parametrize(
    ("declared", "found"),
    [("image/webp", "image/webp"), ("application/octet-stream", "image/png"), ("", "image/png")],
)
def test_a_file_can_be_an_image(store: FileStore, declared: str, found: str) -> None:
    """A file is an image of the type that was declared, or that its name says."""
    file = store.put(upload(b"abc", "a.png", declared), "vision")
    image = store.read_image(file.id)
    assert image is not None
    assert (image.content_type, image.data) == (found, b"abc")
    assert store.read_image("file-none") is None


def test_a_file_comes_back_as_it_was_put(store: FileStore) -> None:
    """A file is found by its id, with its bytes and what the API says of it."""
    file = store.put(upload(b"abc", "a.txt"), "vision")
    assert store.get(file.id) is file
    assert file.path.read_bytes() == b"abc"
    assert file.describe() == {
        "id": file.id,
        "object": "file",
        "bytes": 3,
        "created_at": 1_800_000_000,
        "expires_at": None,
        "filename": "a.txt",
        "purpose": "vision",
        "status": "processed",
        "status_details": None,
    }


def test_files_of_batches_expire_after_thirty_days(
    store: FileStore, clock: SimpleNamespace
) -> None:
    """Input files of batches live for 30 days, others for ever, and what is asked for comes first."""
    batch = store.put(upload(b"", "a.jsonl"), "batch")
    short = store.put(upload(b"", "b.jsonl"), "batch", 3600)
    other = store.put(upload(b"", "c"), "user_data")
    clock.now += 3600
    assert [file.id for file in store.living()] == [other.id, batch.id]
    assert store.get(short.id) is None
    clock.now += 30 * DAY
    assert [file.id for file in store.living()] == [other.id]


def test_a_deleted_file_is_gone_from_the_disk(store: FileStore) -> None:
    """Deleting removes the bytes, and can be done once."""
    file = store.put(upload(b"abc", "a.txt"), "vision")
    assert store.delete(file.id)
    assert not file.path.exists()
    assert not store.delete(file.id)


def test_nothing_is_left_of_a_store_that_is_closed(store: FileStore) -> None:
    """The folder of the files goes with the store; one that never had a file makes none."""
    store.close()
    file = store.put(upload(b"abc", "a.txt"), "vision")
    folder: Path = file.path.parent
    store.close()
    assert not folder.exists()
    assert store.get(file.id) is None
