"""`RedisLimiter`: one limit for several processes, which share a time line in Redis."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

from imagesdk.errors import ConfigurationError
from imagesdk.limiters._limits import Adopt
from imagesdk.limiters._redis_queue import OnStoreError, SharedQueue
from imagesdk.limiters._redis_scripts import SCRIPT
from imagesdk.limiters._redis_store import RedisStore, StoreUnavailable
from imagesdk.limiters._schedule import JITTER
from imagesdk.limiters.local import ImageLimiter

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ("RedisConnection", "RedisLimiter")

_SLICES = 10
"""Parts in which the timeout is waited for; the event loop gets so many rounds at least."""
_SCHEMES = ("redis", "rediss", "unix")


class RedisLimiter(ImageLimiter):
    """Admit at most *images_per_minute* images in any minute, over all processes that share a Redis.

    It is used as `ImageLimiter` is: ``ImageSession(limiter=RedisLimiter("redis://localhost"))`` in each
    process, with the same numbers. Processes and machines need no common clock: the server's counts.
    Pauses after a 429, and limits that a server names or its refusals teach, are shared. Needs the
    extra ``redis``: ``python -m pip install 'imagesdk[redis]'``.

    A request costs one script call, or two if it has to wait; nothing is polled. The server may
    restart, lose its data or forget its scripts at any time. Use it as ``async with``, or call `aclose`
    when you are done with it; the session does not close it.

    Args:
        url: ``redis://host:6379/0``, ``rediss://`` for TLS, ``unix:///path/to/socket``; with user, password
            and options as redis-py's ``from_url`` takes them. A single server (or what looks like one).
        images_per_minute: The limit of the key over all processes; None if *windows* say it.
        name: What the keys in Redis begin with. Processes that use one API key give one name; another
            key or another server needs another name.
        on_store_error: What to do while Redis does not answer. ``"local"``: each process goes on with the
            places that it has and then with its share of the limit; calls for more than the share
            wait, and are split if that lasts. ``"raise"``: calls end with `imagesdk.LimiterUnavailableError`,
            nothing is sent. ``"open"``: calls are sent without a limit.
        burst: See `ImageLimiter`; for each process.
        requests_per_minute: See `ImageLimiter`.
        input_images_per_minute: See `ImageLimiter`.
        windows: See `ImageLimiter`.
        adopt: See `ImageLimiter`.
        max_pause: See `ImageLimiter`.
        jitter: See `ImageLimiter`.
        store_timeout: Seconds that Redis may take for an answer, connecting included. Nobody waits longer
            for it. After that it is not asked for two seconds.

    Raises:
        ConfigurationError: A value is out of range, the URL cannot be used, or the package redis is missing.
    """

    def __init__(
        self,
        url: str,
        images_per_minute: float | None = 50.0,
        *,
        name: str = "imagesdk",
        on_store_error: OnStoreError = "local",
        burst: int | None = None,
        requests_per_minute: float | None = None,
        input_images_per_minute: float | None = None,
        windows: Iterable[tuple[int, float]] = (),
        adopt: Adopt = "down",
        max_pause: float = 300.0,
        jitter: float = JITTER,
        store_timeout: float = 0.25,
    ) -> None:
        super().__init__(
            images_per_minute,
            burst=burst,
            requests_per_minute=requests_per_minute,
            input_images_per_minute=input_images_per_minute,
            windows=windows,
            adopt=adopt,
            max_pause=max_pause,
            jitter=jitter,
        )
        if not name or not name.isprintable() or set(name) & set("{}"):
            raise ConfigurationError(f"name is {name!r}; it must be printable text without braces")
        if on_store_error not in ("local", "raise", "open"):
            raise ConfigurationError(
                f"on_store_error is {on_store_error!r}; it must be 'local', 'raise' or 'open'"
            )
        if not 0 < store_timeout <= 60:
            raise ConfigurationError(
                f"store_timeout is {store_timeout!r}; it must be above 0 and at most 60 seconds"
            )
        self._name = name
        self._on_store_error: OnStoreError = on_store_error
        self._timeout = store_timeout
        self._connection = RedisConnection(url, timeout=store_timeout)

    async def aclose(self) -> None:
        """Close this event loop's connections. The limiter can be used again: it connects anew."""
        await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _queue(self, scope: str) -> SharedQueue:
        queue = self._queues.get(scope)
        if not isinstance(queue, SharedQueue):
            queue = self._queues.setdefault(scope, self._new_queue(scope))  # atomic
        assert isinstance(queue, SharedQueue)  # noqa: S101 - for the type checker
        return queue

    def _new_queue(self, scope: str) -> SharedQueue:
        settings = self.settings
        tag = f"{{{self._name}:{scope}}}"  # a cluster keeps the keys of one scope together
        store = RedisStore(
            partial(self._connection.call, [f"{tag}:{key}" for key in ("log", "state", "peers")]),
            windows=[("images", images, seconds) for images, seconds in settings.windows],
            minute={dimension: limit.configured for dimension, limit in settings.limits().items()},
            jitter=settings.jitter,
            adopt=settings.adopt,
            timeout=self._timeout,
        )
        return SharedQueue(settings, self._stop_all, store, self._on_store_error)


class _Client(NamedTuple):
    """The connections of one event loop."""

    redis: Redis
    script: Any


class RedisConnection:
    """Run the script on a server, and give up in time.

    Connections belong to the event loop that uses them first; another loop gets its own.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, with what redis-py's ``from_url`` takes.
        timeout: Seconds for a call, connecting included.

    Raises:
        ConfigurationError: The URL cannot be used, or the package redis is missing.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        try:
            import redis.asyncio
            from redis.backoff import NoBackoff
            from redis.exceptions import RedisError
        except ImportError as error:
            raise ConfigurationError(
                "RedisLimiter needs redis: python -m pip install 'imagesdk[redis]'"
            ) from error
        scheme = urlsplit(url).scheme
        if scheme not in _SCHEMES:
            raise ConfigurationError(
                f"the URL of the store begins with {scheme!r}; it must be redis://, rediss:// or "
                "unix://"
            )
        from redis.asyncio.retry import Retry

        self._url = url
        self._options: dict[str, Any] = {
            # A connection that the server closed meanwhile is opened once more; nothing else is tried.
            "retry": Retry(NoBackoff(), 1),
            "protocol": 2,
            **_anonymous(),
        }
        if scheme != "unix":
            self._options["socket_keepalive"] = True
        self._timeout = timeout
        self._errors: tuple[type[Exception], ...] = (RedisError, OSError)
        self._lock = threading.Lock()
        self._clients: dict[asyncio.AbstractEventLoop, _Client] = {}
        try:
            # Not connected: what the URL says is only looked at when there is one.
            pool = redis.asyncio.ConnectionPool.from_url(url, **self._options)
            pool.make_connection()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"the URL of the store cannot be used: {error}") from None

    async def call(self, keys: Sequence[str], ask: bytes) -> bytes:
        """Run the script.

        Args:
            keys: Of the log, the state and the peers.
            ask: A JSON object.

        Raises:
            StoreUnavailable: There was no answer within the timeout, or it was an error.
        """
        task = asyncio.ensure_future(self._run(keys, ask))
        try:
            # In slices: a loop that is busy with other things does not wait for the store meanwhile.
            for _ in range(_SLICES):
                await asyncio.wait({task}, timeout=self._timeout / _SLICES)
                if task.done():
                    break
            else:
                raise StoreUnavailable(f"no answer within {self._timeout:g} s")
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        return task.result()

    async def aclose(self) -> None:
        """Close this event loop's connections."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.redis.aclose()

    async def _run(self, keys: Sequence[str], ask: bytes) -> bytes:
        try:
            answer: bytes | str = await self._client().script(keys=keys, args=(ask,))
        except self._errors as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        return answer if isinstance(answer, bytes) else answer.encode()

    def _client(self) -> _Client:
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._clients:
                import redis.asyncio

                for closed in [other for other in self._clients if other.is_closed()]:
                    del self._clients[closed]
                client = redis.asyncio.Redis.from_url(self._url, **self._options)
                self._clients[loop] = _Client(client, client.register_script(SCRIPT))
            return self._clients[loop]


def _anonymous() -> dict[str, Any]:
    """Return the options by which a connection does not introduce itself.

    To tell its version, redis-py reads its metadata from the disk for each connection.
    """
    if find_spec("redis.driver_info") is None:  # before 7.1
        return {"lib_name": None, "lib_version": None}
    return {"driver_info": None}
