"""Ask the server for anything but images: its files, its batches. JSON in, JSON out.

The limiter has no part in it: its unit is the image. A request that changes nothing is sent again
whatever became of it; one that does is sent again only if the server cannot have taken it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, TypeVar
from urllib.parse import urlencode

import attrs
import msgspec

from imagesdk.client.config import Endpoint
from imagesdk.errors import ImageSDKError, ProtocolError, RequestTimeoutError
from imagesdk.protocol.encode import BytesBody, WireRequest
from imagesdk.protocol.multipart import MultipartBody
from imagesdk.protocol.refusals import MAX_ERROR_BYTES, clip, redact, refusal, shown_url
from imagesdk.retry import RetryContext, RetryPolicy, classify, retrying
from imagesdk.transport.base import Progress, Reply, Transport, WrappedReply, read_all

__all__ = ("Api", "FreeCall")

T = TypeVar("T")

_MAX_BODY_BYTES = 8 * 1024 * 1024
_LONGEST_PAUSE = 60.0
"""Seconds between two attempts; if the server asks for more, its refusal is raised."""
_SILENCE = 120.0
"""Seconds without a byte after which an exchange is given up."""
_SLOWEST_UPLOAD = 50_000
"""Bytes a second that are waited for."""


@attrs.define(eq=False)
class FreeCall:
    """What the retry policy asks about a call that costs nothing: it counts its attempts, and waits as long as it is told."""

    attempts: int = 0
    replayable: bool = True
    remaining: float | None = _LONGEST_PAUSE
    max_pause: float | None = None
    ambiguous_failures: int = 0

    @property
    def counted_attempts(self) -> int:
        """Exchanges so far."""
        return self.attempts


class _IfNotTaken(RetryPolicy):
    """Sends again what the server has not taken."""

    def allows(self, error: ImageSDKError, context: RetryContext) -> bool:
        """Return True if nobody can have acted on the request."""
        return classify(error) in ("not_sent", "throttled") and super().allows(error, context)


_SAFE = RetryPolicy(5, ambiguous="always")
_ONCE = _IfNotTaken(5)


@attrs.define(kw_only=True, eq=False)
class Api:
    """The server's other endpoints, for one session.

    Attributes:
        transport: Shared with the session.
        endpoint: Where the server is, and the credentials for it.
        enter: Awaited before each call: binds the session to the loop, or raises that it is closed.
        headers: Returns what every request has, then.
    """

    transport: Transport
    endpoint: Endpoint
    enter: Callable[[], Awaitable[None]]
    headers: Callable[[], Mapping[str, str]]

    async def ask(
        self,
        method: str,
        path: str,
        body: BytesBody | MultipartBody | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        safe: bool = True,
    ) -> dict[str, Any]:
        """Return the object that the server answers with.

        Args:
            method: HTTP method.
            path: Behind base_url, with a query.
            body: Made afresh for every attempt.
            headers: Further ones.
            safe: False if to send it twice does more than to send it once: then it is not sent again
                once the server may have taken it.

        Raises:
            APIError: The server refused.
            TransportError: No answer arrived.
            ProtocolError: The answer is no JSON object.
        """
        return await self._call(method, path, body, headers or {}, self._read_object, safe=safe)

    async def fetch(self, path: str, receive: Callable[[Reply], Awaitable[T]]) -> T:
        """Return what *receive* makes of a successful answer to a GET; it begins anew if that breaks off.

        Raises:
            APIError: The server refused.
            TransportError: It did not arrive, in several attempts.
        """
        return await self._call("GET", path, None, {}, receive, safe=True)

    async def _call(
        self,
        method: str,
        path: str,
        body: BytesBody | MultipartBody | None,
        headers: Mapping[str, str],
        receive: Callable[[Reply], Awaitable[T]],
        *,
        safe: bool,
    ) -> T:
        await self.enter()
        query = urlencode(self.endpoint.profile.query)
        joined = f"{path}{'&' if '?' in path else '?'}{query}" if query else path
        request = WireRequest(
            method=method,
            path=f"{self.endpoint.base_url}/{joined}",
            headers={"Accept": "application/json", **self.headers(), **headers},
            body=body,
        )
        call = FreeCall(replayable=request.replayable)
        again = retrying(_SAFE if safe else _ONCE, call, lambda _error, _delay: None)
        answered: T = await again(self._attempt, call, request, receive)
        return answered

    async def _attempt(
        self, call: FreeCall, request: WireRequest, receive: Callable[[Reply], Awaitable[T]]
    ) -> T:
        call.attempts += 1
        progress = Progress()
        try:
            return await self._exchange(request, progress, receive)
        except ImageSDKError as error:
            failure = error
        except TimeoutError:
            failure = RequestTimeoutError(
                f"{request.method} {shown_url(request.path)}: nothing came for {_SILENCE:g} s",
                phase=progress.phase,
            )
        # The frames below hold the raw answer, in which a server may echo the key.
        failure.__context__ = None
        raise failure.with_traceback(None)

    async def _exchange(
        self, request: WireRequest, progress: Progress, receive: Callable[[Reply], Awaitable[T]]
    ) -> T:
        size_bytes = request.body.size_bytes if request.body is not None else 0
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(_SILENCE + size_bytes / _SLOWEST_UPLOAD):
                reply = await stack.enter_async_context(
                    self.transport.send(
                        request, credentials=self.endpoint.credentials, progress=progress
                    )
                )
            if reply.status < 300:
                return await receive(_Impatient(reply))
            words = await read_all(_Impatient(reply), MAX_ERROR_BYTES, cut=True)
        raise refusal(reply.status, reply.headers, bytes(words), secret=self.endpoint.secret)

    async def _read_object(self, reply: Reply) -> dict[str, Any]:
        body = bytes(await read_all(reply, _MAX_BODY_BYTES))
        try:
            found = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(
                f"the server's answer is no JSON object: {error}",
                status=reply.status,
                request_id=reply.headers.get("x-request-id"),
                body=clip(body, self.endpoint.secret),
            ) from None
        known: dict[str, Any] = redact(found, self.endpoint.secret)
        return known


class _Impatient(WrappedReply):
    """A reply that does not wait for ever for its next piece."""

    async def read(self) -> bytes:
        async with asyncio.timeout(_SILENCE):
            return await super().read()
