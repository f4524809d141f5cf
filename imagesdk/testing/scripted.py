"""A transport that plays a script instead of talking to a server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeAlias

import attrs
import msgspec

from imagesdk.errors import ImageSDKError, ResponseInterruptedError, TransportError
from imagesdk.protocol.encode import WireRequest
from imagesdk.transport.base import Credentials, Progress, Reply

__all__ = ("ScriptedAnswer", "ScriptedTransport", "SentRequest", "Step")


@attrs.frozen
class ScriptedAnswer:
    """One answer of the script.

    Attributes:
        body: Bytes, or JSON data to encode.
        status: HTTP status.
        headers: Names in lower case.
        delay: Seconds before the head of the answer arrives.
        break_after: Break the connection after so many bytes of the body; None to send it whole.
        chunk_bytes: Size of the pieces in which the body arrives.
        chunk_delay: Seconds before each piece of the body after the first.
    """

    body: bytes | Mapping[str, Any] | list[Any] | None = b""
    status: int = attrs.field(default=200, kw_only=True)
    headers: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    delay: float = attrs.field(default=0.0, kw_only=True)
    break_after: int | None = attrs.field(default=None, kw_only=True)
    chunk_bytes: int = attrs.field(default=65_536, kw_only=True)
    chunk_delay: float = attrs.field(default=0.0, kw_only=True)


@attrs.frozen(kw_only=True)
class SentRequest:
    """A request that the transport was given.

    Attributes:
        method: ``"POST"`` or ``"GET"``.
        url: Absolute.
        headers: As sent, without credentials.
        credentials: Headers with secrets, as sent.
        body: All of it.
        at: Loop time in seconds.
        foreign: A server named the URL, and it leads elsewhere.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    credentials: Mapping[str, str] = attrs.field(repr=False)
    body: bytes
    at: float
    foreign: bool = False

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON data
        """The body, decoded."""
        return msgspec.json.decode(self.body)


Step: TypeAlias = ScriptedAnswer | ImageSDKError


class ScriptedTransport:
    """Answer requests from a script; for tests, usually in `virtual_time`.

    Args:
        script: The answers in order, where an exception is raised instead of answering; or a function
            from the request to the answer.

    Attributes:
        requests: What was sent, in order.
        open: Exchanges that are open at the moment.

    Example:
        >>> from imagesdk import ImageSession
        >>> from imagesdk.testing import ScriptedAnswer, ScriptedTransport, virtual_time
        >>> transport = ScriptedTransport([ScriptedAnswer({"data": [{"url": "https://example.org/a.png"}]})])
        >>> async def main():
        ...     async with ImageSession(base_url="http://server/v1", transport=transport) as images:
        ...         return (await images.generate("a fox")).data[0].url
        >>> with virtual_time() as runner:
        ...     runner.run(main())
        'https://example.org/a.png'
    """

    def __init__(self, script: Iterable[Step] | Callable[[SentRequest], Step]) -> None:
        self.requests: list[SentRequest] = []
        self.open: int = 0
        self.closed: bool = False
        if callable(script):
            self._next = script
        else:
            self._steps = deque(script)
            self._next = self._next_step

    @asynccontextmanager
    async def send(
        self,
        request: WireRequest,
        *,
        credentials: Credentials,
        progress: Progress,
        connect_timeout: float | None = None,
        foreign: bool = False,
    ) -> AsyncGenerator[Reply, None]:
        """Play the next step; see `imagesdk.transport.base.Transport.send`."""
        del connect_timeout
        loop = asyncio.get_running_loop()
        sent = SentRequest(
            method=request.method,
            url=request.path,
            headers=request.headers,
            credentials=dict(credentials),
            body=await _read(request),
            at=loop.time(),
            foreign=foreign,
        )
        self.requests.append(sent)
        step = self._next(sent)
        self.open += 1
        try:
            if isinstance(step, ImageSDKError):
                progress.phase = step.phase if isinstance(step, TransportError) else "receive"
                raise attrs.evolve(step)
            progress.phase, progress.sent_at = "receive", loop.time()
            await asyncio.sleep(step.delay)
            yield _ScriptedReply(step)
        finally:
            self.open -= 1

    def _next_step(self, request: SentRequest) -> Step:
        if not self._steps:
            raise AssertionError(
                f"the script has no answer left for request {len(self.requests)}, "
                f"{request.method} {request.url}"
            )
        return self._steps.popleft()

    async def aclose(self) -> None:
        """Note that the session closed the transport."""
        self.closed = True


async def _read(request: WireRequest) -> bytes:
    """Return the whole body, as it would be written."""
    body = bytearray()
    for segment in request.body.segments if request.body is not None else ():
        if isinstance(segment, bytes):
            body += segment
        else:
            async with aclosing(segment.chunks()) as chunks:
                async for chunk in chunks:
                    body += chunk
    return bytes(body)


class _ScriptedReply:
    def __init__(self, answer: ScriptedAnswer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        whole = answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
        self._breaks = answer.break_after is not None
        self._left = whole[: answer.break_after]
        self._chunk_bytes = answer.chunk_bytes
        self._chunk_delay = answer.chunk_delay
        self._begun = False

    async def read(self) -> bytes:
        if self._begun and self._left:
            await asyncio.sleep(self._chunk_delay)
        self._begun = True
        piece, self._left = self._left[: self._chunk_bytes], self._left[self._chunk_bytes :]
        if not piece and self._breaks:
            raise ResponseInterruptedError(
                "the connection broke", phase="receive", status=self.status
            )
        return piece
