"""Make the page of a run: ``imagesdk gallery``, and the end of a batch."""

from __future__ import annotations

import argparse
import asyncio
import webbrowser
from functools import partial
from pathlib import Path
from threading import Event

from imagesdk.batch.destination import folder_of
from imagesdk.batch.gallery import Page, build
from imagesdk.cli import EXIT_CODES
from imagesdk.cli.render import Console
from imagesdk.errors import ImageSDKError

__all__ = ("make_at_the_end", "run")

_WORTH_TELLING = 200
_AT_THE_END = 20.0
"""Most seconds for thumbnails when a batch ends; the command takes what it needs."""


async def run(arguments: argparse.Namespace) -> int:
    """Make the page and print where it is."""
    page = await _make(folder_of(arguments.out), Console(), thumbnails=not arguments.no_thumbnails)
    print(page.path)
    if arguments.open:
        await asyncio.to_thread(lambda: webbrowser.open(page.path.resolve().as_uri()))
    return EXIT_CODES["done"]


async def make_at_the_end(out: Path, console: Console, *, hurry: bool = False) -> None:
    """Make the page of a batch that has ended; a failure is told, and ends nothing.

    Args:
        out: The run's folder.
        console: Where to tell.
        hurry: Make no thumbnails: somebody waits for the end.
    """
    try:
        page = await _make(out, console, thumbnails=not hurry, seconds=_AT_THE_END)
    except (ImageSDKError, OSError) as error:
        console.say(f"the gallery could not be made: {error}")
    else:
        console.say(f"gallery: {page.path}")


async def _make(
    out: Path, console: Console, *, thumbnails: bool, seconds: float | None = None
) -> Page:
    """Make the page in a thread, which stops soon when this is cancelled."""
    loop = asyncio.get_running_loop()
    begun_at, is_cancelled, is_told = loop.time(), Event(), Event()

    def go_on(made: int, missing: int) -> bool:
        if missing >= _WORTH_TELLING and not is_told.is_set():
            is_told.set()
            console.say(f"making {missing:,} thumbnails")
        in_time = seconds is None or loop.time() - begun_at < seconds
        if not in_time:
            console.say(
                f"{missing - made:,} thumbnails were left out for now; "
                f"imagesdk gallery {out} makes them"
            )
        return in_time and not is_cancelled.is_set()

    try:
        return await asyncio.to_thread(partial(build, out, thumbnails=thumbnails, go_on=go_on))
    finally:
        is_cancelled.set()
