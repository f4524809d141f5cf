"""A strict server for `benchmarks.shared_limit`, in a process of its own.

It admits at most so many images in any window, counts what it admits and what it refuses, answers what
it admits after a short "generation", and shows its books at ``/books``. It shares no code with
the client. Run as ``python -m benchmarks._shared_server LIMIT PERIOD``; it prints its port.
"""

from __future__ import annotations

import asyncio
import base64
import math
import random
import sys
from collections import deque

from aiohttp import web

__all__ = ("main",)

_PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c6360f8cfc0f01f000501017f3e1d4b5e0000000049454e44ae426082"
    )
).decode()
_GENERATION = (0.05, 0.4)
"""Seconds that an answer takes, at least and at most."""


class _Books:
    """The server's window and what it has seen."""

    def __init__(self, limit: int, period: float) -> None:
        self.limit = limit
        self.period = period
        self.window: deque[tuple[float, int]] = deque()
        self.used = 0
        self.admitted: list[tuple[float, str, int]] = []
        self.refused: list[tuple[float, str, int]] = []

    def admit(self, call: str, images: int) -> float | None:
        """Count a request, or return the seconds after which it would fit."""
        now = asyncio.get_running_loop().time()
        while self.window and self.window[0][0] <= now - self.period:
            self.used -= self.window.popleft()[1]
        if self.used + images <= self.limit:
            self.window.append((now, images))
            self.used += images
            self.admitted.append((now, call, images))
            return None
        self.refused.append((now, call, images))
        excess = self.used + images - self.limit
        for at, count in self.window:
            excess -= count
            if excess <= 0:
                return at + self.period - now
        return self.period


async def _generate(request: web.Request) -> web.Response:
    books: _Books = request.app[_BOOKS]
    images = int((await request.json()).get("n", 1))
    wait = books.admit(request.headers.get("x-call", ""), images)
    if wait is not None:
        message = f"Rate limit reached. Please try again in {wait:.3f}s."
        error = {"message": message, "type": "requests", "code": "rate_limit_exceeded"}
        headers = {"retry-after": str(max(1, math.ceil(wait)))}
        return web.json_response({"error": error}, status=429, headers=headers)
    await asyncio.sleep(random.uniform(*_GENERATION))  # noqa: S311 - no secret
    return web.json_response({"created": 0, "data": [{"b64_json": _PNG}] * images})


async def _show(request: web.Request) -> web.Response:
    books: _Books = request.app[_BOOKS]
    now = asyncio.get_running_loop().time()
    shown = {"now": now, "admitted": books.admitted, "refused": books.refused}
    return web.json_response(shown)


_BOOKS = web.AppKey("books", _Books)


async def _serve(limit: int, period: float) -> None:
    app = web.Application()
    app[_BOOKS] = _Books(limit, period)
    app.router.add_post("/v1/images/generations", _generate)
    app.router.add_get("/books", _show)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))


if __name__ == "__main__":
    main()
