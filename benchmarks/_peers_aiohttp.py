"""Make the calls with aiohttp and a few lines: the plain script, and the loop of an expert.

The plain script is what one writes first: ``await reply.json()``, `base64.b64decode`, ``write_bytes``. The
hand-written loop knows what this one server sends, checks nothing and is as fast as Python gets: it
decodes with pybase64 while it receives, and writes each piece. Neither of them calls fsync.
"""

from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Self

import aiohttp
import pybase64

__all__ = ("HandClient", "PlainClient")

_BEGIN = b'"b64_json":"'
_READ = 256 * 1024


class _Base:
    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url}/images/generations"
        self._edits = f"{base_url}/images/edits"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"authorization": "Bearer sk-benchmark"},
            connector=aiohttp.TCPConnector(limit=0),
            read_bufsize=self._read_bufsize,
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    _read_bufsize = 2**16


class PlainClient(_Base):
    """The plain script."""

    async def small(self) -> None:
        """Get a URL."""
        body = {"model": "dall-e-2", "prompt": "a fox", "n": 1, "size": "1024x1024"}
        async with self._session.post(self._url, json=body, raise_for_status=True) as reply:
            answer = await reply.json()
        assert answer["data"][0]["url"]  # noqa: S101

    async def save(self, n: int, folder: Path, number: int) -> None:
        """Save images."""
        body = {"model": "gpt-image-2", "prompt": "a fox", "n": n}
        async with self._session.post(self._url, json=body, raise_for_status=True) as reply:
            answer = await reply.json()
        for index, image in enumerate(answer["data"]):
            data = base64.b64decode(image["b64_json"])
            (folder / f"{number}-{index}.png").write_bytes(data)

    async def upload(self, images: list[Path] | list[bytes] | list[BytesIO]) -> None:
        """Edit images."""
        form = aiohttp.FormData({"model": "gpt-image-2", "prompt": "a fox"})
        for image in images:
            content = image.open("rb") if isinstance(image, Path) else image
            form.add_field("image[]", content, filename="a.png", content_type="image/png")
        async with self._session.post(self._edits, data=form, raise_for_status=True) as reply:
            await reply.json()

    async def stream(self, partials: int, size_bytes: int) -> float:
        """Decode every image of a stream; return when the first was there."""
        first = 0.0
        body = {"model": "gpt-image-2", "prompt": "a fox", "stream": True}
        body["partial_images"] = partials
        async with self._session.post(self._url, json=body, raise_for_status=True) as reply:
            received = bytearray()
            async for piece in reply.content.iter_any():
                received += piece
                while (end := received.find(b"\n\n", max(0, len(received) - len(piece) - 1))) >= 0:
                    data = bytes(received[:end]).partition(b"data: ")[2]
                    del received[: end + 2]
                    image = base64.b64decode(json.loads(data)["b64_json"])
                    first = first or asyncio.get_running_loop().time()
                    assert len(image) == size_bytes  # noqa: S101
        return first


class HandClient(_Base):
    """The hand-written loop."""

    _read_bufsize = _READ

    async def save(self, n: int, folder: Path, number: int) -> None:
        """Save images while they arrive."""
        body = {"model": "gpt-image-2", "prompt": "a fox", "n": n}
        files = (_create(folder / f"{number}-{index}.png") for index in range(n))
        between = rest = b""
        file: BinaryIO | None = None
        async with self._session.post(self._url, json=body, raise_for_status=True) as reply:
            async for piece in reply.content.iter_any():
                data = piece
                while data:
                    if file is None:
                        before, found, data = (between + data).partition(_BEGIN)
                        if not found:
                            between = before[-len(_BEGIN) :]
                            break
                        between, file = b"", next(files)
                    text, quote, data = data.partition(b'"')
                    text = rest + text if rest else text
                    whole = len(text) & ~3
                    file.write(pybase64.b64decode(memoryview(text)[:whole], validate=True))
                    rest = text[whole:]
                    if quote:
                        file.close()
                        file = None


def _create(path: Path) -> BinaryIO:
    return path.open("wb", buffering=0)
