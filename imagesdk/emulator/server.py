"""The emulator as an async context manager: binds a loopback port and serves the Images API."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from aiohttp import web

from imagesdk.emulator.app import FILES_PATH, ImagesApp, RecordedRequest
from imagesdk.emulator.batch_api import BatchApi
from imagesdk.emulator.batches import BatchPlan
from imagesdk.emulator.blobs import BlobStore
from imagesdk.emulator.limits import ImageLimit
from imagesdk.emulator.service import ImageService

__all__ = ("BLOCKED_MARKER", "EmulatorServer")

BLOCKED_MARKER = "[blocked]"
# Above 16 pictures of 20 MB in one JSON edit, and far above the sizes that are refused by rule.
_MAX_BODY_BYTES = 512 * 1024 * 1024
# Seconds that requests in progress get to finish when the server closes.
_CLOSE_TIMEOUT = 0.5


def _epoch_seconds() -> float:
    """Return the time as seconds since 1970."""
    return datetime.now(UTC).timestamp()


class EmulatorServer:
    """A local server of the Images API for tests, demonstrations and benchmarks.

    It runs in the caller's event loop and paints in threads. Any API key that begins with
    ``sk-test`` is right. The same request always gives the same pictures.

    ```python
    async with EmulatorServer() as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="sk-test")
    ```

    Args:
        host: Address to bind; anything but a loopback address needs *allow_remote*.
        port: Port to bind, 0 for any free one.
        images_per_minute: Images per API key in any 60 s, 0 or more. None for no limit.
        url_lifetime: Seconds that the URL of a picture works, more than 0.
        blocked_prompts: Refuse prompts that contain one of these, in any case.
        blocked_images: Refuse uploads with exactly these bytes.
        seconds_per_image: What a 1024x1024 picture takes beyond painting; other sizes in
            proportion to their pixels. The pictures of one request are made side by side.
        batches: How batches (``/v1/batches``) are run: at once and in a random order, unless it says
            otherwise.
        max_body_bytes: A longer request body gets 413.
        allow_remote: Permit *host* to be reachable from other machines.
        record_requests: Keep all requests, uploads included, in ``requests``. Turn it off where
            the server runs for long.
        on_request: Called in the event loop with each request once its answer is ready.
        clock: Returns the epoch time in seconds: for limits, expiry and ``created``.

    Attributes:
        requests: Requests in the order of their arrival, downloads of pictures included.

    Raises:
        ValueError: If *host* is no loopback address, or a number is out of its range.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        images_per_minute: float | None = 50,
        url_lifetime: float = 3600.0,
        blocked_prompts: Iterable[str] = (BLOCKED_MARKER,),
        blocked_images: Iterable[bytes] = (),
        seconds_per_image: float = 0.0,
        batches: BatchPlan | None = None,
        max_body_bytes: int = _MAX_BODY_BYTES,
        allow_remote: bool = False,
        record_requests: bool = True,
        on_request: Callable[[RecordedRequest], None] | None = None,
        clock: Callable[[], float] = _epoch_seconds,
    ) -> None:
        if not (allow_remote or _is_loopback(host)):
            raise ValueError(
                f"host {host!r} is reachable from other machines, and the emulator checks no real "
                "keys: use 127.0.0.1, ::1 or localhost, or pass allow_remote=True"
            )
        if not (math.isfinite(url_lifetime) and url_lifetime > 0):
            raise ValueError(f"url_lifetime must be a number of seconds above 0: {url_lifetime}")
        if not (math.isfinite(seconds_per_image) and seconds_per_image >= 0):
            raise ValueError(f"seconds_per_image must be 0 or more: {seconds_per_image}")
        self.requests: list[RecordedRequest] = []
        self._host = host
        self._port = port
        self._images_per_minute = images_per_minute
        self._service = ImageService(
            limit=self._new_limit(),
            blobs=BlobStore(url_lifetime),
            clock=clock,
            blocked_prompts=tuple(blocked_prompts),
            blocked_images=frozenset(blocked_images),
            seconds_per_image=seconds_per_image,
        )
        self._batches = BatchApi(
            self._service, batches or BatchPlan(), lambda: self._origin + FILES_PATH
        )
        self._app = ImagesApp(
            service=self._service,
            batches=self._batches,
            origin=lambda: self._origin,
            max_body_bytes=max_body_bytes,
            on_request=self.requests.append if record_requests else _ignore,
            on_answer=on_request or _ignore,
        )
        self._bound: tuple[str, int] | None = None
        self._stack = AsyncExitStack()

    @property
    def base_url(self) -> str:
        """Address for clients, such as ``http://127.0.0.1:8000/v1``.

        Raises:
            RuntimeError: While the server is not running.
        """
        return f"{self._origin}/v1"

    @property
    def charged(self) -> int:
        """Number of pictures delivered, which is what a real account would pay for."""
        return self._service.charged

    def reset(self) -> None:
        """Forget requests, charges, pictures, files, batches and what counts against the limits."""
        self.requests.clear()
        self._batches.reset()
        self._service.charged = 0
        self._service.blobs.clear()
        self._service.limit = self._new_limit()

    async def __aenter__(self) -> Self:
        """Bind the port and serve.

        Raises:
            RuntimeError: If the server runs already.
            OSError: If the port cannot be bound.
        """
        if self._bound is not None:
            raise RuntimeError("the emulator runs already")
        async with AsyncExitStack() as stack:
            runner = web.AppRunner(
                self._app.build(), access_log=None, shutdown_timeout=_CLOSE_TIMEOUT
            )
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, self._host, self._port).start()
            self._bound = runner.addresses[0][:2]
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; requests in progress get half a second to finish and are then cut off."""
        try:
            await self._stack.aclose()
        finally:
            self._bound = None

    @property
    def _origin(self) -> str:
        """Scheme, host and port."""
        if self._bound is None:
            raise RuntimeError("the emulator does not run: use `async with EmulatorServer()`")
        host, port = self._bound
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _new_limit(self) -> ImageLimit | None:
        """Return a limit that nothing counts against yet."""
        limit = self._images_per_minute
        return None if limit is None else ImageLimit(limit)


def _is_loopback(host: str) -> bool:
    """Return whether only this machine can reach *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ignore(_: RecordedRequest) -> None:
    """Do nothing."""
