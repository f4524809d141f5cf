"""What a stream hands out: images on the way, then the completed one."""

from __future__ import annotations

import asyncio
import builtins
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias

import attrs

from imagesdk.client.results import Image, ImagesResponse, SavedTo_co
from imagesdk.errors import ConfigurationError

__all__ = ("CompletedImage", "Deliver", "ImageStream", "PartialImage")


@attrs.frozen(kw_only=True, eq=False)
class PartialImage:
    """An image on its way: each is closer to the completed one.

    Attributes:
        index: As the server counts, from 0.
        image: What there is of it: a whole image file, to read or save.
    """

    index: int
    image: Image

    @property
    def bytes(self) -> builtins.bytes:
        """The image file."""
        return self.image._content or b""  # noqa: SLF001 - the two classes are one handle


@attrs.frozen(kw_only=True, eq=False)
class CompletedImage(Generic[SavedTo_co]):
    """The last event of a stream.

    Attributes:
        image: The image.
        usage: Tokens, as the server counts them; None if it does not say.
        response: The same as `ImageSession.generate` would have returned it.
    """

    image: Image[SavedTo_co]
    usage: Mapping[str, Any] | None
    response: ImagesResponse[SavedTo_co]


Deliver: TypeAlias = Callable[[PartialImage], Awaitable[None]]


class ImageStream(Generic[SavedTo_co]):
    """The events of one stream: ``async with images.stream_generate(…) as events: async for …``.

    They are any number of `PartialImage`, also none, and then exactly one `CompletedImage`; or an
    error. The request is sent when the block is entered, or at the first event that is asked for. One
    event is read ahead; a slow consumer slows the server down.

    Leaving the block early closes the connection at once and gives the permit back; the image may be
    billed all the same. A plain ``async for`` is fine when it runs to its end; otherwise the session
    ends the stream when it is closed. One consumer at a time; it may be cancelled and ask again.
    """

    def __init__(
        self,
        run: Callable[[Deliver], Coroutine[Any, Any, CompletedImage[SavedTo_co]]],
        *,
        forget: Callable[[ImageStream[Any]], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._forget = forget
        self._task: asyncio.Task[CompletedImage[SavedTo_co]] | None = None
        self._ready: deque[PartialImage] = deque()
        self._closed = False
        self._ended = False
        self._news = asyncio.Event()
        self._taken = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PartialImage | CompletedImage[SavedTo_co]:
        self._start()
        while self._task is not None:
            if self._ready:
                self._taken.set()
                return self._ready.popleft()
            if self._task.done():
                break
            self._news.clear()
            await self._news.wait()
        if self._ended:
            raise StopAsyncIteration
        self._ended = True
        if self._task is None or self._task.cancelled():
            raise ConfigurationError("the stream was closed before its completed image arrived")
        return self._task.result()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream if it still runs, and wait until its connection is closed."""
        self._closed = True
        self._ready.clear()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        self._news.set()
        self._forget(self)

    async def end(self) -> None:
        """Wait until the call has ended: for the session, which has ended it."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task])

    def _start(self) -> None:
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run(self._deliver))
            self._task.add_done_callback(self._done)

    async def _deliver(self, event: PartialImage) -> None:
        """Hand out an event, once the one before it is taken."""
        while self._ready:
            self._taken.clear()
            await self._taken.wait()
        self._ready.append(event)
        self._news.set()

    def _done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # a consumer that has left does not ask for it
        self._news.set()
        self._forget(self)
