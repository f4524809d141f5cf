"""Open the session that the arguments of a command ask for."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from imagesdk.client.session import ImageSession

__all__ = ("EMULATOR_KEY", "open_session")

EMULATOR_KEY = "sk-test-emulator"


@contextlib.asynccontextmanager
async def open_session(arguments: argparse.Namespace) -> AsyncIterator[ImageSession]:
    """Open a session as the arguments say, against an emulator if they ask for one."""
    async with contextlib.AsyncExitStack() as stack:
        options: dict[str, Any] = {"base_url": arguments.base_url}
        if arguments.emulator:
            from imagesdk.emulator import EmulatorServer

            rate = arguments.images_per_minute
            limit = None if rate == "off" else 50.0 if rate in (None, "auto") else rate
            server = EmulatorServer(images_per_minute=limit, record_requests=False)
            await stack.enter_async_context(server)
            options = {"base_url": server.base_url, "api_key": EMULATOR_KEY}
        if arguments.images_per_minute is not None:
            rate = arguments.images_per_minute
            options["images_per_minute"] = None if rate == "off" else rate
        if arguments.timeout is not None:
            options["timeout"] = arguments.timeout
        session = ImageSession(
            model=arguments.model,
            max_wait=arguments.max_wait,
            validate=arguments.validate,
            **options,
        )
        yield await stack.enter_async_context(session)
