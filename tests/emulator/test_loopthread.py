from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from imagesdk.emulator.loopthread import LoopThread


def test_a_context_is_open_from_start_to_stop() -> None:
    """It is entered and left in the thread, and calls are made there."""
    seen: list[tuple[str, str]] = []

    def note(what: str) -> None:
        seen.append((what, threading.current_thread().name))

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        note("enter")
        yield
        note("leave")

    thread = LoopThread(context(), "held")
    thread.start()
    thread.call(lambda: note("call"))
    thread.call(lambda: thread.call(lambda: note("inner")))
    thread.stop()
    assert seen == [(what, "held") for what in ("enter", "call", "inner", "leave")]
    assert "held" not in {running.name for running in threading.enumerate()}


def test_what_keeps_it_from_opening_is_raised() -> None:
    """The error of the context is that of `start`, and no thread is left."""

    @asynccontextmanager
    async def context(port: int | None = None) -> AsyncIterator[None]:
        if port is None:
            raise OSError("no port")
        yield

    thread = LoopThread(context(), "failed")
    with pytest.raises(OSError, match="no port"):
        thread.start()


def test_what_a_call_raises_is_raised() -> None:
    """The loop goes on."""

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        yield

    def fail() -> None:
        asyncio.get_running_loop()
        raise ValueError("no")

    thread = LoopThread(context(), "calls")
    thread.start()
    with pytest.raises(ValueError, match="no"):
        thread.call(fail)
    thread.call(lambda: None)
    thread.stop()


def test_what_goes_wrong_on_leaving_is_not_lost() -> None:
    """The thread reports it as any thread does that fails."""
    seen: list[threading.ExceptHookArgs] = []

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        yield
        raise OSError("late")

    thread = LoopThread(context(), "late")
    before, threading.excepthook = threading.excepthook, seen.append
    try:
        thread.start()
        thread.stop()
    finally:
        threading.excepthook = before
    assert [str(args.exc_value) for args in seen] == ["late"]
