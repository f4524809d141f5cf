"""Say what the simulation asks of a contender, and set up our own client as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, Self, TypeAlias

import attrs

from benchmarks._sim_network import SimAnswer, SimFaultError, SimServer
from imagesdk import (
    ConnectError,
    GenerateRequest,
    ImageSDKError,
    ImageSession,
    PartialResultError,
    RateLimitError,
    RateLimitTooLongError,
    RequestTimeoutError,
    ResponseInterruptedError,
)
from imagesdk.protocol.encode import WireRequest
from imagesdk.transport.base import Credentials, Progress, Reply

__all__ = (
    "MODEL",
    "URL",
    "Asked",
    "Contender",
    "Fate",
    "Imagesdk",
    "SimTransport",
    "Tell",
    "work_off",
)

URL = "http://sim/v1"
MODEL = "gpt-image-2"
_KEY = "sk-simulation"

Asked: TypeAlias = tuple[str, int]
"""A prompt, which is the number of the call, and how many images it asks for."""


@attrs.frozen(kw_only=True)
class Fate:
    """What became of the images of one call.

    Attributes:
        delivered: Arrived.
        refused: Lost for good because of a limit.
        failed: Lost for good because of a fault.
    """

    delivered: int = 0
    refused: int = 0
    failed: int = 0


Tell: TypeAlias = Callable[[Fate], None]


class Contender(Protocol):
    """A client as a user would set it up, entered before its first call."""

    async def generate(self, asked: Asked) -> Fate:
        """Make one call; its failure is a fate, not an exception."""
        ...

    async def batch(self, asked: Iterator[Asked], tell: Tell) -> None:
        """Work off a list that never ends, until cancelled."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


class SimTransport:
    """The transport of imagesdk over a `SimServer`."""

    def __init__(self, server: SimServer) -> None:
        self._server = server

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
        """Carry one exchange; see `imagesdk.transport.base.Transport.send`."""
        del credentials, connect_timeout, foreign
        segments = request.body.segments if request.body is not None else ()
        body = b"".join(segment for segment in segments if isinstance(segment, bytes))

        def written() -> None:
            progress.phase = "receive"

        try:
            answer = await self._server.exchange(body, written)
        except SimFaultError as fault:
            if fault.reached:
                raise ResponseInterruptedError("the connection broke", phase="receive") from None
            raise ConnectError("the connection was refused", phase="connect") from None
        yield _Reply(answer)

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""


class _Reply:
    def __init__(self, answer: SimAnswer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._body = answer.body

    async def read(self) -> bytes:
        piece, self._body = self._body, b""
        return piece


class Imagesdk:
    """Our client: a real session, with its own limiter, retry policy and pipeline.

    Args:
        server: To talk to.
        concurrency: Of the batch.
        options: Further arguments of `imagesdk.ImageSession`.
    """

    def __init__(self, server: SimServer, *, concurrency: int, options: Mapping[str, Any]) -> None:
        self._session = ImageSession(
            api_key=_KEY, base_url=URL, model=MODEL, transport=SimTransport(server), **options
        )
        self._concurrency = concurrency

    async def generate(self, asked: Asked) -> Fate:
        """Make an interactive call."""
        prompt, n = asked
        try:
            await self._session.generate(prompt, n=n)
        except ImageSDKError as error:
            return _fate(n, error)
        return Fate(delivered=n)

    async def batch(self, asked: Iterator[Asked], tell: Tell) -> None:
        """Map over the list."""
        requests = (GenerateRequest(prompt, n=n) for prompt, n in asked)
        async with self._session.map(requests, concurrency=self._concurrency) as outcomes:
            async for outcome in outcomes:
                n = outcome.request.n or 1
                tell(Fate(delivered=n) if outcome.error is None else _fate(n, outcome.error))

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.aclose()


def _fate(n: int, error: ImageSDKError) -> Fate:
    delivered = 0
    errors: tuple[ImageSDKError, ...] = (error,)
    if isinstance(error, PartialResultError):
        delivered = len(error.result.data)
        errors = error.errors or errors
    if any(_is_limit(part) for part in errors):
        return Fate(delivered=delivered, refused=n - delivered)
    return Fate(delivered=delivered, failed=n - delivered)


def _is_limit(error: ImageSDKError) -> bool:
    """Return True if a limit is why a call failed: refused, or out of time after it was refused."""
    if isinstance(error, RateLimitError | RateLimitTooLongError):
        return True
    throttled = any(attempt.outcome == "throttled" for attempt in error.attempts)
    return isinstance(error, RequestTimeoutError) and throttled


async def work_off(
    contender: Contender, asked: Iterator[Asked], tell: Tell, *, workers: int
) -> None:
    """Run a batch as worker loops, for contenders that bring nothing of the kind."""

    async def worker() -> None:
        for one in asked:
            tell(await contender.generate(one))

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(worker())
