"""`imagesdk serve`: the emulator, for as long as it is wanted, with a line for each request."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from imagesdk.cli import EXIT_CODES
from imagesdk.errors import ConfigurationError

if TYPE_CHECKING:
    from imagesdk.emulator.recording import RecordedRequest
    from imagesdk.emulator.server import EmulatorServer

__all__ = ("run",)

# Requests that GET /_emulator/requests shows.
_KEPT_REQUESTS = 100


async def run(arguments: argparse.Namespace) -> int:
    """Run the emulator until a signal ends it, or as long as a program runs against it."""
    program = arguments.program[1:] if arguments.program[:1] == ["--"] else arguments.program
    async with _server(arguments) as server:
        if program:
            return await _run_program(program, server)
        stop = _stop_event()  # before anybody can know that there is a server to stop
        if arguments.json:
            print(json.dumps({"base_url": server.base_url, "api_key": server.api_key}), flush=True)
        else:
            print(f"Images API emulator on {server.base_url} (Ctrl-C ends it)", flush=True)
            print("any key that begins with sk-test is right, for example:", file=sys.stderr)
            print(f"  export OPENAI_BASE_URL={server.base_url}", file=sys.stderr)
            print(f"  export OPENAI_API_KEY={server.api_key}", file=sys.stderr)
        await stop.wait()
    return EXIT_CODES["done"]


def _server(arguments: argparse.Namespace) -> EmulatorServer:
    """Return the server that *arguments* describe.

    Raises:
        ConfigurationError: An argument is one that no server can have.
    """
    from imagesdk.emulator.batches import BatchPlan
    from imagesdk.emulator.server import BLOCKED_MARKER, EmulatorServer

    rate = arguments.images_per_minute
    try:
        return EmulatorServer(
            host=arguments.host,
            port=arguments.port,
            images_per_minute=None if rate == "off" else rate,
            limit_kind=arguments.limit_kind,
            url_lifetime=arguments.url_lifetime,
            batches=BatchPlan(delay=arguments.batch_delay),
            blocked_prompts=arguments.blocked_prompt or (BLOCKED_MARKER,),
            seconds_per_image=arguments.seconds_per_image,
            faults=arguments.fault,
            idempotency=arguments.idempotency,
            seed=arguments.seed,
            plain=arguments.plain,
            control=not arguments.no_control,
            record_requests=_KEPT_REQUESTS,
            on_request=None if arguments.quiet else _log_json if arguments.json else _log,
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _log(request: RecordedRequest) -> None:
    print(f"{request.method} {request.path} {request.status or 'dropped'}", file=sys.stderr)


def _log_json(request: RecordedRequest) -> None:
    print(json.dumps(request.summary()), file=sys.stderr, flush=True)


def _stop_event() -> asyncio.Event:
    """Return an event that Ctrl-C or SIGTERM sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(name, stop.set)
    return stop


async def _run_program(program: list[str], server: EmulatorServer) -> int:
    """Run a program that finds the emulator in its environment; return its exit code as a shell does.

    The program decides what Ctrl-C and SIGTERM do to it, and the server is there until it has ended.
    """
    address = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.api_key}
    try:
        process = await asyncio.create_subprocess_exec(*program, env=os.environ | address)
    except OSError as error:
        raise ConfigurationError(f"{program[0]!r} cannot be run: {error.strerror}") from None
    try:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(signal.SIGTERM, process.terminate)
            loop.add_signal_handler(signal.SIGINT, _hand_on_ctrl_c, process)
        code = await process.wait()
        return code if code >= 0 else 128 - code
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _hand_on_ctrl_c(process: asyncio.subprocess.Process) -> None:
    """Send SIGINT on, unless a terminal has sent it to the whole group: twice means "at once" to many."""
    with contextlib.suppress(OSError):  # no terminal
        terminal = os.open("/dev/tty", os.O_RDONLY)
        try:
            if os.tcgetpgrp(terminal) == os.getpgrp():
                return
        finally:
            os.close(terminal)
    process.send_signal(signal.SIGINT)
