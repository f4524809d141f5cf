"""Make the pictures of a job: paint and encode them, keep those that may be asked for again, spoil them.

All of it is slow but `Studio.remembered`: call it in a thread.
"""

from __future__ import annotations

import hashlib
import threading
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from io import BytesIO

from PIL import Image

from imagesdk.emulator import painter
from imagesdk.emulator._modes import shrunk
from imagesdk.emulator.faults import File
from imagesdk.emulator.jobs import Job
from imagesdk.emulator.pictures import Picture
from imagesdk.emulator.rules import parse_size
from imagesdk.emulator.spec import Endpoint

__all__ = ("Studio", "as_base64", "output_size", "spoil")

_PAGE = b"<!DOCTYPE html><html><title>Sign in</title><body>Please sign in.</body></html>\n"


class Studio:
    """Makes pictures, and remembers the files it has made.

    Args:
        memory_bytes: Most bytes of files to remember, the least recently used are forgotten first.
            0 remembers nothing.
        plain: Whether generations are two flat colours instead of paintings.
    """

    def __init__(self, memory_bytes: int, *, plain: bool = False) -> None:
        self._plain = plain
        self._memory_bytes = memory_bytes
        self._used_bytes = 0
        self._files: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, job: Job) -> list[bytes] | None:
        """Return the files of a job without uploads if all of them are remembered. Fast."""
        if job.files:
            return None
        size = output_size(job, ())
        with self._lock:
            keys = [_key(job, size, b"", index) for index in range(job.count)]
            if not all(key in self._files for key in keys):
                return None
            for key in keys:
                self._files.move_to_end(key)
            return [self._files[key] for key in keys]

    def files(self, job: Job, pictures: Sequence[Picture]) -> list[bytes]:
        """Return the pictures of a job as files; the same job always gets the same.

        Args:
            job: What is asked for.
            pictures: Its uploads, decoded.
        """
        size = output_size(job, pictures)
        uploads = _digest(job)
        files: list[bytes] = []
        for index in range(job.count):
            key = _key(job, size, uploads, index)
            with self._lock:
                file = self._files.get(key)
            if file is None:
                file = _encode(job, self.paint(job, pictures, index))
                self._remember(key, file)
            files.append(file)
        return files

    def paint(self, job: Job, pictures: Sequence[Picture], index: int) -> Image.Image:
        """Paint picture *index* of a job."""
        size = output_size(job, pictures)
        if job.endpoint is Endpoint.GENERATION:
            transparent = job.param("background") == "transparent"
            draw = _flat if self._plain else painter.paint
            return draw(job.prompt, size, index=index, transparent=transparent)
        first = reversed(pictures)  # of several images the first is painted on
        by_role = {picture.role: picture.image for picture in first if picture.image is not None}
        if job.endpoint is Endpoint.VARIATION:
            return painter.vary(by_role["image"], size, index=index)
        images = [picture.image for picture in pictures if picture.role == "image"]
        others = [shrunk(image, size) for image in images[1:] if image is not None]
        return painter.edit(
            by_role["image"], by_role.get("mask"), job.prompt, size, index=index, others=others
        )

    def shown(self, job: Job, image: Image.Image, index: int, count: int) -> bytes:
        """Return partial image *index* of *count* as a file, or the picture after them."""
        if index == count:
            return _encode(job, image)
        plain = image.convert("RGBA") if image.mode == "P" else image
        return _encode(job, painter.preview(plain, index, count))

    def _remember(self, key: Hashable, file: bytes) -> None:
        with self._lock:
            if key in self._files or len(file) > self._memory_bytes:
                return
            self._files[key] = file
            self._used_bytes += len(file)
            while self._used_bytes > self._memory_bytes:
                _, forgotten = self._files.popitem(last=False)
                self._used_bytes -= len(forgotten)


def _key(job: Job, size: tuple[int, int], uploads: bytes, index: int) -> Hashable:
    """Return everything that a file depends on."""
    values = (job.prompt, job.param("background"), job.output_format)
    return (job.endpoint, *values, job.param("output_compression"), size, uploads, index)


def _digest(job: Job) -> bytes:
    """Return what tells the uploads of a job from others."""
    digest = hashlib.sha256()
    for file in job.files:
        digest.update(f"{file.field} {len(file.data)} ".encode("utf-8", "replace"))
        digest.update(file.data)
    return digest.digest() if job.files else b""


def _flat(prompt: str, size: tuple[int, int], *, index: int, transparent: bool) -> Image.Image:
    """Return a square on a ground, in two colours that come from the prompt; a palette image.

    It takes a hundredth of the time of a painting.
    """
    digest = hashlib.sha256(f"{index} {prompt}".encode("utf-8", "replace")).digest()
    image = Image.new("P", size, 0)
    image.putpalette(digest[:6])
    edge = min(size) // 2
    left, top = (size[0] - edge) // 2, (size[1] - edge) // 2
    image.paste(1, (left, top, left + edge, top + edge))
    if transparent:
        image.info["transparency"] = 0
    return image


def _encode(job: Job, image: Image.Image) -> bytes:
    """Return a picture in the format that was asked for."""
    if image.mode == "P":
        if job.output_format == "png":
            buffer = BytesIO()
            image.save(buffer, "PNG", bits=1, compress_level=1)
            return buffer.getvalue()
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    compression = job.param("output_compression")
    return painter.encode(image, job.output_format, compression=compression)


def output_size(job: Job, pictures: Sequence[Picture]) -> tuple[int, int]:
    """Return the size to paint; "auto" follows the shape of the first upload."""
    asked = parse_size(str(job.param("size", job.family.default_size)))
    if asked is not None:
        return asked
    if not pictures:
        return (1024, 1024)
    width, height = pictures[0].size
    return min(
        ((1024, 1024), (1536, 1024), (1024, 1536)),
        key=lambda size: abs(size[0] / size[1] - width / height),
    )


def spoil(files: Iterable[bytes], file: File | None) -> list[bytes]:
    """Return *files* as something else, or as they are if *file* is None."""
    return [data if file is None else _spoilt(data, file) for data in files]


def _spoilt(data: bytes, file: File) -> bytes:
    match file:
        case "html":
            return _PAGE
        case "half":
            return data[: len(data) // 2]
        case "empty":
            return b""
    buffer = BytesIO()
    with Image.open(BytesIO(data)) as image:
        image.convert("RGB").save(buffer, file.upper())
    return buffer.getvalue()


def as_base64(files: Iterable[bytes], broken: int | None = None) -> list[str]:
    """Return *files* in base64; in that of number *broken* is a character that is none of it."""
    texts = [b64encode(file).decode() for file in files]
    if broken is not None and broken < len(texts):
        middle = len(texts[broken]) // 2
        texts[broken] = f"{texts[broken][:middle]}*{texts[broken][middle + 1 :]}"
    return texts
