"""Keep an asynchronous context open in a thread of its own, for programs that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager

__all__ = ("LoopThread",)


class LoopThread:
    """An event loop in a thread that holds *context* open, from `start` to `stop`.

    Args:
        context: Entered and left in the thread.
        name: Name of the thread.
    """

    def __init__(self, context: AbstractAsyncContextManager[object], name: str) -> None:
        self._context = context
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._stop = asyncio.Event()
        # daemon: a program that forgets to stop it can end all the same
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Return when the context is open, or raise what kept it from opening."""
        self._thread.start()
        self._started.result()

    def stop(self) -> None:
        """Close the context, and return when the thread has ended."""
        self._started.result().call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def call(self, function: Callable[[], None]) -> None:
        """Call *function* in the loop, from any thread; return when it has returned."""
        if threading.current_thread() is self._thread:
            function()
            return
        done: Future[None] = Future()

        def call() -> None:
            try:
                function()
            except Exception as error:  # noqa: BLE001  # raised where it was asked for
                done.set_exception(error)
            else:
                done.set_result(None)

        self._started.result().call_soon_threadsafe(call)
        done.result()

    def _run(self) -> None:
        try:
            asyncio.run(self._hold())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _hold(self) -> None:
        async with self._context:
            self._started.set_result(asyncio.get_running_loop())
            await self._stop.wait()
