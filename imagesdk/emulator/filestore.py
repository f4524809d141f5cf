"""The server's files: uploads, and what batches bring. On the disk, as long as the server runs.

Everything here that touches the disk blocks and belongs into a thread.

https://platform.openai.com/docs/api-reference/files (read 2026-11-26 in openai-python 3.52,
``types/file_object.py`` and ``types/file_create_params.py``)
"""

from __future__ import annotations

import random
import secrets
import tempfile
from collections.abc import Callable, Iterator
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import attrs

from imagesdk.emulator.forms import UploadedFile

__all__ = ("PURPOSES", "FileStore", "StoredFile")

PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
"""What a file may be uploaded for."""
# types/file_create_params.py: files of other purposes live until they are deleted
_LIFETIMES = {"batch": 30 * 24 * 3600}


@attrs.frozen(kw_only=True)
class StoredFile:
    """A file of the server's.

    Attributes:
        id: ``file-…``.
        filename: As it was uploaded.
        purpose: What it is for.
        size_bytes: Number of bytes.
        created_at: Epoch time in seconds.
        expires_at: Epoch time in seconds, None for never.
        path: Where its bytes are.
        content_type: Type that was declared.
    """

    id: str
    filename: str
    purpose: str
    size_bytes: int
    created_at: int
    expires_at: int | None
    path: Path
    content_type: str = ""

    def describe(self) -> dict[str, Any]:
        """Return the file object of the API."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size_bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class FileStore:
    """Keeps files in a temporary folder, which is made when it is needed and goes with `close`.

    Args:
        clock: Returns the epoch time in seconds.
        rng: Makes the ids of files; None for what nobody can guess.
    """

    def __init__(self, clock: Callable[[], float], rng: random.Random | None = None) -> None:
        self._clock = clock
        self._rng = rng or random.SystemRandom()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: dict[str, StoredFile] = {}

    def new_path(self) -> Path:
        """Return a path where nothing is yet: write there, and hand it to `add`."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="imagesdk-emulator-")
        return Path(self._folder.name, secrets.token_hex(16))

    def add(
        self,
        path: Path,
        filename: str,
        purpose: str,
        lifetime: int | None = None,
        content_type: str = "",
    ) -> StoredFile:
        """Take what is at *path* in.

        Args:
            path: From `new_path`.
            filename: What it is called.
            purpose: What it is for.
            lifetime: Seconds, None for what its purpose says.
            content_type: Type that was declared.
        """
        now = int(self._clock())
        lifetime = _LIFETIMES.get(purpose) if lifetime is None else lifetime
        file = StoredFile(
            id=f"file-{self._rng.randbytes(12).hex()}",
            filename=filename,
            purpose=purpose,
            size_bytes=path.stat().st_size,
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
            path=path,
            content_type=content_type,
        )
        self._files[file.id] = file
        return file

    def put(self, file: UploadedFile, purpose: str, lifetime: int | None = None) -> StoredFile:
        """Store an upload; see `add`."""
        path = self.new_path()
        path.write_bytes(file.data)
        return self.add(path, file.filename, purpose, lifetime, file.content_type)

    def read_image(self, file_id: str) -> UploadedFile | None:
        """Return a file as an image that is edited; blocks."""
        file = self.get(file_id)
        if file is None:
            return None
        declared, guessed = file.content_type, guess_type(file.filename)[0]
        return UploadedFile(
            field="image",
            filename=file.filename,
            content_type=declared if declared.startswith("image/") else guessed or declared,
            data=file.path.read_bytes(),
        )

    def get(self, file_id: str) -> StoredFile | None:
        """Return a file, None if there is none of that id, or no longer."""
        file = self._files.get(file_id)
        return file if file is not None and self._lives(file) else None

    def living(self) -> Iterator[StoredFile]:
        """Yield the files, the newest one first."""
        return filter(self._lives, reversed(self._files.values()))

    def delete(self, file_id: str) -> bool:
        """Remove a file; return whether there was one."""
        file = self.get(file_id)
        if file is None:
            return False
        del self._files[file_id]
        file.path.unlink(missing_ok=True)
        return True

    def clear(self) -> None:
        """Forget all files; does not block."""
        self._files.clear()

    def close(self) -> None:
        """Remove all files."""
        self.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _lives(self, file: StoredFile) -> bool:
        return file.expires_at is None or self._clock() < file.expires_at
