"""Fixtures for pytest over the emulator: a server for a test, one for a whole run, and a session.

pytest loads this module by its entry point in every project that has imagesdk installed. It does
nothing until a fixture is asked for, and imports nothing heavy before.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec

import pytest

if TYPE_CHECKING:
    from imagesdk.client.session import ImageSession
    from imagesdk.emulator.server import EmulatorServer

__all__ = (
    "imagesdk_server",
    "imagesdk_server_options",
    "imagesdk_server_session",
    "imagesdk_session",
)

P = ParamSpec("P")

# So many that no test waits for the session's own limit; a 429 makes it wait all the same.
_IMAGES_PER_MINUTE = 1_000_000
# Seconds: tests of failures need not take long.
_BACKOFF = 0.01


@pytest.fixture(scope="session")
def imagesdk_server_options() -> dict[str, Any]:
    """Arguments of the servers: no rate limit, and plain pictures; override it to have others.

    An override for `imagesdk_server` can have any scope, one for `imagesdk_server_session` must have
    the scope ``session``.
    """
    return {"images_per_minute": None, "plain": True}


@pytest.fixture
def imagesdk_server(
    imagesdk_server_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmulatorServer]:
    """A running `imagesdk.emulator.EmulatorServer`, new for each test.

    It runs in a thread of its own, for synchronous tests and for any event loop. While the test
    runs, ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` point to it.
    """
    from imagesdk.emulator import EmulatorServer

    with EmulatorServer(**imagesdk_server_options) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        yield server


@pytest.fixture(scope="session")
def imagesdk_server_session(imagesdk_server_options: dict[str, Any]) -> Iterator[EmulatorServer]:
    """One running server for all tests, for applications that are started once.

    It changes no environment variable, and nothing resets it but `EmulatorServer.reset`.
    """
    from imagesdk.emulator import EmulatorServer

    with EmulatorServer(**imagesdk_server_options) as server:
        yield server


@pytest.fixture
def imagesdk_session(
    imagesdk_server: EmulatorServer, request: pytest.FixtureRequest
) -> Iterator[ImageSession]:
    """An `imagesdk.ImageSession` on `imagesdk_server`, closed at the end of the test.

    It has no limit of its own worth waiting for, and pauses for 10 ms where others pause for half a
    second. It is for asynchronous tests, whatever plugin runs them.
    """
    from imagesdk.client.session import ImageSession
    from imagesdk.retry import RetryPolicy

    session = ImageSession(
        base_url=imagesdk_server.base_url,
        api_key=imagesdk_server.api_key,
        images_per_minute=_IMAGES_PER_MINUTE,
        retry=RetryPolicy(backoff=_BACKOFF),
    )
    # The session belongs to the loop of the test, which is gone when fixtures end: the test function
    # itself must close it. Plugins for asynchronous tests look at the function after this.
    function = request.node.obj
    if not inspect.iscoroutinefunction(function):
        yield session
        asyncio.run(session.aclose())
        return
    request.node.obj = _closing(function, session)
    try:
        yield session
    finally:
        request.node.obj = function


def _closing(
    function: Callable[P, Awaitable[None]], session: ImageSession
) -> Callable[P, Awaitable[None]]:
    """Return a coroutine function that calls *function* and then closes *session*."""

    @functools.wraps(function)
    async def call(*arguments: P.args, **named: P.kwargs) -> None:
        try:
            await function(*arguments, **named)
        finally:
            await session.aclose()

    return call
