"""Open what the arguments of a command ask for: a session, and what does the jobs of a batch."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal

from imagesdk.batch.destination import Destination
from imagesdk.batch.engine import Engine
from imagesdk.batch.worker import Worker, WorkerSpec
from imagesdk.client.config import read_endpoint, shared_limiter
from imagesdk.client.session import ImageSession
from imagesdk.errors import ConfigurationError

__all__ = ("open_engine", "open_session")

_EMULATOR_KEY = "sk-test-emulator"


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
            options = {"base_url": server.base_url, "api_key": _EMULATOR_KEY}
        elif getattr(arguments, "dry_run", False):
            options["api_key"] = "none-is-needed"  # nothing is sent
        rate = _rate(arguments)
        if arguments.limiter is None:
            options["images_per_minute"] = rate
        else:
            endpoint = read_endpoint(
                api_key=options.get("api_key"),
                base_url=options["base_url"],
                organization=None,
                project=None,
                server=arguments.server,
            )
            options["limiter"] = await stack.enter_async_context(
                shared_limiter(arguments.limiter, rate, endpoint.profile)
            )
        if arguments.timeout is not None:
            options["timeout"] = arguments.timeout
        session = ImageSession(
            model=arguments.model,
            server=arguments.server,
            max_wait=arguments.max_wait,
            validate=arguments.validate,
            **options,
        )
        yield await stack.enter_async_context(session)


@contextlib.asynccontextmanager
async def open_engine(
    arguments: argparse.Namespace, session: ImageSession, out: Destination
) -> AsyncIterator[Engine]:
    """Open what does the jobs of a batch: this event loop, or a cluster.

    Args:
        arguments: Of ``batch run``.
        session: As `open_session` opened it.
        out: Where the images go.
    """
    name = arguments.engine
    if name == "local":
        if arguments.workers is not None:
            raise ConfigurationError("--workers needs --engine ray")
        yield Worker(session, out)
        return
    if name != "ray" and not name.startswith("ray://"):
        raise ConfigurationError(f"--engine is {name!r}; it must be local, ray or ray://HOST:PORT")
    from imagesdk.batch._ray import RayEngine

    options: dict[str, Any] = {}
    if arguments.timeout is not None:
        options["timeout"] = arguments.timeout
    spec = WorkerSpec(
        out=str(out),
        base_url=session.base_url,
        server=arguments.server,
        model=arguments.model,
        images_per_minute=_rate(arguments),
        limiter=arguments.limiter,
        max_wait=arguments.max_wait,
        validate=arguments.validate,
        **options,
    )
    async with RayEngine(
        spec,
        address=None if name == "ray" else name,
        workers=arguments.workers,
        concurrency=arguments.concurrency,
        environment={"OPENAI_API_KEY": _EMULATOR_KEY} if arguments.emulator else None,
    ) as engine:
        yield engine


def _rate(arguments: argparse.Namespace) -> float | Literal["profile", "auto"] | None:
    rate: float | Literal["auto", "off"] | None = arguments.images_per_minute
    if rate is None:
        return "profile"
    return None if rate == "off" else rate
