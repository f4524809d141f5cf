"""Serve images for `benchmarks.crash`, in a process of its own, and keep books of what was charged.

Below ``/honours/v1`` a request that comes again with its Idempotency-Key gets the answer that it got the
first time, and is charged once; below ``/ignores/v1`` it is charged again. Every image is another one.
``/books`` tells how many were charged, and the SHA-256 of all images of each prompt. It shares no code
with the client. Run as ``python -m benchmarks._crash_server``; it prints its port.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import struct
import sys
import zlib
from contextlib import suppress

from aiohttp import web

__all__ = ("main",)

_GENERATION = (0.02, 0.2)
"""Seconds that the images of a request take, at least and at most."""
_PIECES = 3
_PAUSE = 0.01
"""Seconds between the pieces of an answer: a kill shall come in its middle, too."""
_NOISE_BYTES = 40_000


class _Books:
    """What was made, and what it was charged for."""

    def __init__(self) -> None:
        self.charged = 0
        self.made: dict[str, list[str]] = {}
        self.answers: dict[str, bytes] = {}
        self.rng = random.Random(0)  # noqa: S311 - no secret

    def answer(self, prompt: str, count: int) -> bytes:
        """Make images, and charge for them."""
        images = [self._image() for _ in range(count)]
        self.charged += count
        self.made.setdefault(prompt, []).extend(hashlib.sha256(i).hexdigest() for i in images)
        data = [{"b64_json": base64.b64encode(image).decode()} for image in images]
        return json.dumps({"created": 1, "data": data}).encode()

    def _image(self) -> bytes:
        head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 100, 100, 8, 6, 0, 0, 0))
        noise = _chunk(b"IDAT", self.rng.randbytes(_NOISE_BYTES))
        return b"\x89PNG\r\n\x1a\n" + head + noise + _chunk(b"IEND", b"")

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, in pieces."""
        asked = await request.json()
        key = request.headers["Idempotency-Key"]
        body = self.answers.get(key) if request.match_info["manner"] == "honours" else None
        if body is None:
            body = self.answers[key] = self.answer(asked["prompt"], asked.get("n", 1))
        await asyncio.sleep(self.rng.uniform(*_GENERATION))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        with suppress(ConnectionError):  # the client was killed
            await response.prepare(request)
            size = len(body) // _PIECES + 1
            for begin in range(0, len(body), size):
                await response.write(body[begin : begin + size])
                await asyncio.sleep(_PAUSE)
            await response.write_eof()
        return response

    async def show(self, _request: web.Request) -> web.Response:
        """Tell what is in the books."""
        return web.json_response({"charged": self.charged, "made": self.made})


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


async def main() -> None:
    """Serve until standard input ends."""
    books = _Books()
    app = web.Application()
    app.router.add_post("/{manner:honours|ignores}/v1/images/generations", books.generate)
    app.router.add_get("/books", books.show)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
