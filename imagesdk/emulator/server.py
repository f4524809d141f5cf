"""The emulator as a context manager: binds a loopback port and serves the Images API."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from imagesdk.emulator.app import ImagesApp
from imagesdk.emulator.batch_api import BatchApi
from imagesdk.emulator.batches import BatchPlan
from imagesdk.emulator.blobs import BlobStore
from imagesdk.emulator.control_api import ControlApi
from imagesdk.emulator.controls import FaultControls
from imagesdk.emulator.exchange import FILES_PATH, Exchange
from imagesdk.emulator.faults import Fault, FaultPlan
from imagesdk.emulator.idempotency import Idempotency, IdempotencyKeys
from imagesdk.emulator.limits import ImageLimit, LimitKind, LimitStatus
from imagesdk.emulator.loopthread import LoopThread
from imagesdk.emulator.recording import RecordedRequest
from imagesdk.emulator.service import Bill, ImageService
from imagesdk.emulator.studio import Studio
from imagesdk.emulator.wire import Runner

__all__ = ("BLOCKED_MARKER", "EmulatorServer")

BLOCKED_MARKER = "[blocked]"
# Above 16 pictures of 20 MB in one JSON edit, and far above the sizes that are refused by rule.
_MAX_BODY_BYTES = 512 * 1024 * 1024
_KEPT_UPLOAD_BYTES = 64 * 1024 * 1024
_MEMORY_BYTES = 64 * 1024 * 1024
# Seconds that requests in progress get to finish when the server closes.
_LONGEST_LIFETIME = 1e9  # as of the periods of limits
_CLOSE_TIMEOUT = 0.5


def _epoch_seconds() -> float:
    """Return the time as seconds since 1970."""
    return datetime.now(UTC).timestamp()


class EmulatorServer(FaultControls):
    """A local server of the Images API for tests, demonstrations and benchmarks.

    Any API key that begins with ``sk-test`` is right. The same request always gives the same
    pictures. With ``async with`` it runs in the caller's event loop, and paints in threads; with
    ``with`` it runs in a thread of its own, for synchronous programs and for any number of loops.

    Args:
        host: Address to bind; anything but a loopback address needs *allow_remote*.
        port: Port to bind, 0 for any free one.
        images_per_minute: Images per API key in any 60 s, 0 or more. None for no limit.
        limit_kind: How they are counted: ``sliding``, ``fixed``, ``bucket`` or ``quantised``; see
            `rate_limit` for more.
        url_lifetime: Seconds that the URL of a picture works, more than 0, up to 1e9.
        blocked_prompts: Refuse prompts that contain one of these, in any case.
        blocked_images: Refuse uploads with exactly these bytes.
        seconds_per_image: What a 1024x1024 picture takes beyond painting; other sizes in
            proportion to their pixels. The pictures of one request are made side by side.
        batches: How batches (``/v1/batches``) are run: at once and in a random order, unless it says
            otherwise.
        faults: Faults that are there from the start and come back with every reset: see `inject`.
        idempotency: What an ``Idempotency-Key`` does: the server ``ignores`` it, as OpenAI does;
            ``honours`` it: the answer is repeated and charged once; or ``rejects`` a key that was
            charged before, with 422.
        seed: Decides about chances of faults, request ids, and names of pictures, files and batches.
        plain: Make generations of two flat colours, which come from the prompt, instead of
            paintings: for speed. Edits and variations are made as ever.
        memory_bytes: Most bytes of painted pictures that are remembered, for requests that come
            again. 0 paints every picture anew.
        max_body_bytes: A longer request body gets 413.
        allow_remote: Permit *host* to be reachable from other machines.
        control: Let clients ask for faults, with the header ``x-emulator-fault`` and the routes
            below ``/_emulator/``.
        record_requests: Keep all requests, uploads included, in ``requests``; or so many of them,
            the last ones, with no more than 64 MiB of uploads. False keeps none that is answered.
        on_request: Called in the event loop with each request once its answer is ready.
        clock: Returns the epoch time in seconds: for limits, expiry and ``created``.

    Attributes:
        api_key: A key that is right.
        requests: Requests in the order of their arrival, downloads of pictures included.

    Raises:
        ValueError: If *host* is no loopback address, a number is out of its range, or a fault is
            none.

    Example:
        >>> import asyncio
        >>> from imagesdk import ImageSession, RetryPolicy
        >>> from imagesdk.emulator import EmulatorServer
        >>> async def main():
        ...     async with EmulatorServer() as server:
        ...         server.fail_next(503)
        ...         images = ImageSession(
        ...             base_url=server.base_url,
        ...             api_key=server.api_key,
        ...             retry=RetryPolicy(backoff=0),
        ...         )
        ...         async with images:
        ...             await images.generate("a fox", n=2, size="256x256")
        ...         return server.charged, [request.status for request in server.requests]
        >>> asyncio.run(main())
        (2, [503, 200])
    """

    api_key = "sk-test-emulator"

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        images_per_minute: float | None = 50,
        limit_kind: LimitKind = "sliding",
        url_lifetime: float = 3600.0,
        blocked_prompts: Iterable[str] = (BLOCKED_MARKER,),
        blocked_images: Iterable[bytes] = (),
        seconds_per_image: float = 0.0,
        batches: BatchPlan | None = None,
        faults: Iterable[Fault | str | Mapping[str, Any]] = (),
        idempotency: Idempotency = "ignores",
        seed: int = 0,
        plain: bool = False,
        memory_bytes: int = _MEMORY_BYTES,
        max_body_bytes: int = _MAX_BODY_BYTES,
        allow_remote: bool = False,
        control: bool = True,
        record_requests: bool | int = True,
        on_request: Callable[[RecordedRequest], None] | None = None,
        clock: Callable[[], float] = _epoch_seconds,
    ) -> None:
        if not (allow_remote or _is_loopback(host)):
            raise ValueError(
                f"host {host!r} is reachable from other machines, and the emulator checks no real "
                "keys: use 127.0.0.1, ::1 or localhost, or pass allow_remote=True"
            )
        if not 0 < url_lifetime <= _LONGEST_LIFETIME:
            raise ValueError(
                f"url_lifetime must be a number of seconds above 0, up to {_LONGEST_LIFETIME:g}: {url_lifetime}"
            )
        if not (math.isfinite(seconds_per_image) and seconds_per_image >= 0):
            raise ValueError(f"seconds_per_image must be 0 or more: {seconds_per_image}")
        self.requests: list[RecordedRequest] = []
        self._host = host
        self._port = port
        self._limit = (images_per_minute, limit_kind)
        self._seed = seed
        # Apart, so that what is drawn for one does not change the others.
        self._rngs = [random.Random(seed) for _ in range(4)]  # noqa: S311
        chances, request_ids, names, batches_and_files = self._rngs
        self._max_requests = None if record_requests is True else int(record_requests)
        self._on_request = on_request
        self._lasting = [Fault.read(fault) for fault in faults]
        self._plan = FaultPlan(chances, self._lasting)
        self._idempotency_keys = IdempotencyKeys(idempotency)
        self._service = ImageService(
            limit=self._new_limit(),
            blobs=BlobStore(url_lifetime, names),
            clock=clock,
            studio=Studio(memory_bytes, plain=plain),
            blocked_prompts=tuple(blocked_prompts),
            blocked_images=frozenset(blocked_images),
            seconds_per_image=seconds_per_image,
        )
        self._batches = BatchApi(
            self._service,
            batches or BatchPlan(),
            lambda: self._origin + FILES_PATH,
            batches_and_files,
        )
        self._closing = asyncio.Event()
        self._app = ImagesApp(
            service=self._service,
            batches=self._batches,
            exchange=Exchange(
                plan=self._plan,
                rng=request_ids,
                controlled=control,
                closing=self._closing,
                limit_status=self._limit_status,
                on_request=self.requests.append,
                on_answer=self._answered,
            ),
            idempotency_keys=self._idempotency_keys,
            control=ControlApi(self) if control else None,
            origin=lambda: self._origin,
            max_body_bytes=max_body_bytes,
        )
        self._sow()
        self._bound: tuple[str, int] | None = None
        self._stack = AsyncExitStack()
        self._thread: LoopThread | None = None

    @property
    def base_url(self) -> str:
        """Address for clients, such as ``http://127.0.0.1:8000/v1``.

        Raises:
            RuntimeError: While the server is not running.
        """
        return f"{self._origin}/v1"

    @property
    def charged(self) -> int:
        """Number of pictures that were billed, whether they arrived or not."""
        return self._service.bill.images

    @property
    def faults(self) -> Sequence[Fault]:
        """The faults to come, each with the ``times`` and ``skip`` that are left."""
        return self._plan.pending()

    def inject(self, fault: Fault | str | Mapping[str, Any]) -> None:
        """Plan any fault: a `Fault`, its JSON object, or a text such as ``stop=charge times=2``.

        Args:
            fault: The fault; it is used up by the requests that it is for.

        Raises:
            ValueError: It is no fault; the message says why.
        """
        self._plan.add(Fault.read(fault))

    def clear_faults(self) -> None:
        """Plan no fault any more, not even those that were there from the start."""
        self._plan.replace([])

    def rate_limit(
        self,
        limit: float | None,
        *,
        period: float = 60.0,
        kind: LimitKind = "sliding",
        interval: float = 1.0,
        counts_refused: bool = False,
    ) -> None:
        """Limit the images of each key in another way, from now on until the next reset.

        Args:
            limit: Images per period, 0 or more; None for no limit.
            period: Seconds, 1e-6 to 1e9.
            kind: ``sliding``: in any period. ``fixed``: periods that begin with the first image
                after the last one. ``bucket``: all at once, then an even flow. ``quantised``: in
                short intervals, so that a burst is refused although the period has room.
            interval: Seconds of those intervals, 1e-6 to 1e9.
            counts_refused: Whether refused requests count, too.

        Raises:
            ValueError: If a number is out of its range, or *kind* is none of the four.
        """
        self._service.limit = (
            None
            if limit is None
            else ImageLimit(
                limit, period=period, kind=kind, interval=interval, counts_refused=counts_refused
            )
        )

    def reset(self, seed: int | None = None) -> None:
        """Begin anew: forget requests, charges, pictures, files, batches, faults and limits.

        Requests that are still answered are charged to nobody. Any thread may call it.

        Args:
            seed: Another seed, or None to begin anew with the same.

        Raises:
            TypeError: If *seed* is no whole number.
        """
        if not isinstance(seed, int | None):
            raise TypeError(f"seed must be a whole number: {seed!r}")
        if seed is not None:
            self._seed = seed

        def reset() -> None:
            self._sow()
            self.requests.clear()
            self._batches.reset()
            self._plan.replace(self._lasting)
            self._idempotency_keys.clear()
            self._service.bill = Bill()
            self._service.blobs.clear()
            self._service.limit = self._new_limit()

        if self._thread is None:
            reset()
        else:
            self._thread.call(reset)

    def __enter__(self) -> Self:
        """Serve from a thread of its own, and return when it does.

        Raises:
            RuntimeError: If the server runs already.
            OSError: If the port cannot be bound.
        """
        if self._bound is not None:
            raise RuntimeError("the emulator runs already")
        thread = LoopThread(self, "imagesdk emulator")
        thread.start()
        self._thread = thread
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close, as ``async with`` does, and return when the thread has ended."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()

    async def __aenter__(self) -> Self:
        """Bind the port and serve.

        Raises:
            RuntimeError: If the server runs already.
            OSError: If the port cannot be bound.
        """
        if self._bound is not None:
            raise RuntimeError("the emulator runs already")
        self._closing.clear()
        async with AsyncExitStack() as stack:
            runner = Runner(
                self._app.build(),
                access_log=None,
                shutdown_timeout=_CLOSE_TIMEOUT,
                auto_decompress=False,  # see read_body
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
            raise RuntimeError(
                "the emulator does not run: use `with EmulatorServer()` or `async with EmulatorServer()`"
            )
        host, port = self._bound
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _sow(self) -> None:
        """Let everything that is drawn begin anew."""
        for rng in self._rngs:
            rng.seed(self._seed)

    def _new_limit(self) -> ImageLimit | None:
        """Return a limit that nothing counts against yet."""
        limit, kind = self._limit
        return None if limit is None else ImageLimit(limit, kind=kind)

    def _limit_status(self, api_key: str) -> LimitStatus | None:
        """Return what is left of the limit of a key."""
        limit = self._service.limit
        return None if limit is None else limit.status(api_key, self._service.clock())

    def _answered(self, request: RecordedRequest) -> None:
        """Tell of a request, and keep no more of them than are wanted."""
        if self._on_request is not None:
            self._on_request(request)
        if self._max_requests is None:
            return
        uploaded = [sum(len(file.data) for file in kept.files) for kept in self.requests]
        while self.requests and (
            len(uploaded) > self._max_requests or sum(uploaded) > _KEPT_UPLOAD_BYTES
        ):
            del self.requests[0], uploaded[0]


def _is_loopback(host: str) -> bool:
    """Return whether only this machine can reach *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
