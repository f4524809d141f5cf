"""Run many requests at once, a bounded number in flight, and hand out their outcomes.

There is no background feeder: taking an outcome is what starts the next request. So a slow consumer
slows the requests down, and memory is that of *concurrency* requests, however many there are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import GenericAlias, TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import attrs

from imagesdk.client.results import ImagesResponse, SavedTo_co
from imagesdk.errors import ConfigurationError, ImageSDKError

__all__ = ("ImageMap", "Outcome")

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class Outcome(Generic[R, SavedTo_co]):
    """What became of one request of `ImageSession.map`: *response* or *error*.

    Attributes:
        index: Place of the request in the input, from 0.
        request: The request, as it was given.
        response: The images, None if it failed.
        error: Why it failed, None if it did not. An `imagesdk.PartialResultError` has images, too.
    """

    index: int
    request: R
    response: ImagesResponse[SavedTo_co] | None = None
    error: ImageSDKError | None = None

    if not TYPE_CHECKING:  # ``Outcome[str]`` is a type also where a TypeVar has no default
        __class_getitem__ = classmethod(GenericAlias)

    def unwrap(self) -> ImagesResponse[SavedTo_co]:
        """Return the response, or raise the error.

        Raises:
            ImageSDKError: The request failed.
        """
        if self.error is not None:
            raise self.error
        if self.response is None:
            raise AssertionError("an outcome has a response or an error")
        return self.response


class ImageMap(Generic[R, SavedTo_co]):
    """The outcomes of many requests: ``async with images.map(requests) as outcomes: async for …``.

    Leaving the block early cancels what is in flight and drops what was not taken yet, although it
    may be billed. A plain ``async for`` is fine when it runs to
    its end; otherwise the session ends the rest when it is closed. One consumer at a time.
    """

    if not TYPE_CHECKING:  # as above
        __class_getitem__ = classmethod(GenericAlias)

    def __init__(
        self,
        run: Callable[[R], Awaitable[ImagesResponse[SavedTo_co]]],
        requests: Iterable[R] | AsyncIterable[R],
        *,
        concurrency: int,
        ordered: bool,
        forget: Callable[[ImageMap[R, Any]], None] = lambda _: None,
    ) -> None:
        if concurrency < 1:
            raise ConfigurationError(f"concurrency is {concurrency!r}; it must be 1 or more")
        if isinstance(requests, str):  # each of its letters would be a prompt to pay for
            raise ConfigurationError("map() takes several requests: put a single prompt in a list")
        if not isinstance(requests, Iterable | AsyncIterable):
            raise ConfigurationError(
                f"map() takes several requests; {type(requests).__name__} is one: put it in a list"
            )
        self._run = run
        self._forget = forget
        self._source: Iterator[R] | AsyncIterator[R] = (
            aiter(requests) if isinstance(requests, AsyncIterable) else iter(requests)
        )
        self._concurrency = concurrency
        self._ordered = ordered
        self._index = 0
        self._exhausted = False
        self._cut_short = False
        self._source_error: BaseException | None = None
        self._pull: asyncio.Task[None] | None = None
        self._running: deque[asyncio.Task[Outcome[R, SavedTo_co]]] = deque()
        self._finished: deque[asyncio.Task[Outcome[R, SavedTo_co]]] = deque()
        self._news = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[R, SavedTo_co]:
        while True:
            self._fill()
            if (task := self._ready()) is not None:
                return task.result()
            if not self._running and self._pull is None:
                self._forget(self)
                if self._source_error is not None:
                    raise self._source_error
                if self._cut_short:
                    raise ConfigurationError(
                        "the session was closed before the map came to the end of its requests"
                    )
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel what is in flight and wait until it has ended."""
        tasks: list[asyncio.Task[Any]] = [*self._running]
        self._running.clear()  # a consumer that still waits gets none of them
        self._finished.clear()
        await self._stop(tasks)

    async def end(self) -> None:
        """Start nothing more, and wait for what is in flight: for the session, which has ended it.

        A consumer gets what came of it, and then an error if there were more requests.
        """
        self._cut_short = not self._exhausted
        await self._stop([])
        if self._running:
            await asyncio.wait(self._running)

    async def _stop(self, tasks: list[asyncio.Task[Any]]) -> None:
        self._exhausted = True
        if self._pull is not None:
            tasks.append(self._pull)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._news.set()
        self._forget(self)

    def _fill(self) -> None:
        """Start requests until *concurrency* are in flight or wait to be taken."""
        while not self._exhausted and self._pull is None and self._room > 0:
            if isinstance(self._source, AsyncIterator):
                self._pull = asyncio.create_task(self._pull_one(self._source))
                self._pull.add_done_callback(self._pulled)
                return
            try:
                request = next(self._source)
            except StopIteration:
                self._exhausted = True
            except Exception as error:  # noqa: BLE001 - raised again once what was paid for is handed out
                self._exhausted, self._source_error = True, error
            else:
                self._start(request)

    @property
    def _room(self) -> int:
        held = len(self._running) if self._ordered else len(self._running) + len(self._finished)
        return self._concurrency - held

    async def _pull_one(self, source: AsyncIterator[R]) -> None:
        try:
            request = await anext(source)
        except StopAsyncIteration:
            self._exhausted = True
        else:
            self._start(request)

    def _pulled(self, task: asyncio.Task[None]) -> None:
        self._pull = None
        self._news.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._exhausted, self._source_error = True, error

    def _start(self, request: R) -> None:
        self._add(asyncio.create_task(self._one(self._index, request)))
        self._index += 1

    def _add(self, task: asyncio.Task[Any]) -> None:
        self._running.append(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        if not self._ordered and task in self._running:
            self._running.remove(task)
            self._finished.append(task)
        self._news.set()

    def _ready(self) -> asyncio.Task[Outcome[R, SavedTo_co]] | None:
        """Take the next outcome, None if there is none yet."""
        if self._ordered:
            return self._running.popleft() if self._running and self._running[0].done() else None
        return self._finished.popleft() if self._finished else None

    async def _one(self, index: int, request: R) -> Outcome[R, SavedTo_co]:
        try:
            response = await self._run(request)
        except ImageSDKError as error:
            return Outcome(index=index, request=request, error=error)
        return Outcome(index=index, request=request, response=response)
