"""Deliver the images of one call: into memory, or straight into a folder.

Files get their names when all parts of the call have ended, in the server's order: so the numbers
follow the images, and a call that fails leaves nothing. What the disk does not take stays in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypeAlias

import attrs

from imagesdk.client.downloads import expiry
from imagesdk.client.receiving import close_files
from imagesdk.errors import ImageSDKError
from imagesdk.protocol.decode import Answer, AnswerItem
from imagesdk.protocol.parts import MemorySink, PartSink
from imagesdk.sinks import FileSink, Folder

__all__ = ("Delivery", "FetchFile")

_AT_ONCE = 32
"""Downloads of one call side by side: each has a connection and an open file."""

FetchFile: TypeAlias = Callable[[str, datetime | None, Callable[[], FileSink]], Awaitable[FileSink]]
"""Downloads the image at a URL; see `imagesdk.client.downloads.Downloader.fetch`."""


@attrs.define(eq=False)
class Delivery:
    """Where the images of one call go; leaving it removes every file that has no name yet.

    Attributes:
        folder: None keeps them in memory.
        fetch: Downloads what is at a URL, if there is a folder.
    """

    folder: Folder | None
    fetch: FetchFile
    _files: list[FileSink] = attrs.field(factory=list, init=False)

    async def __aenter__(self) -> Self:
        """Make the folder.

        Raises:
            InvalidRequestError: Images cannot be written there.
        """
        if self.folder is not None:
            await asyncio.to_thread(self.folder.prepare)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await close_files(self._files)

    def new_sink(self) -> PartSink:
        """Return what takes one image."""
        return MemorySink() if self.folder is None else self._new_file(self.folder)

    async def finish(
        self, answers: Sequence[Answer | BaseException]
    ) -> tuple[Sequence[Answer | BaseException], Sequence[ImageSDKError]]:
        """Download what is at URLs, and give the files their names.

        Args:
            answers: Those of the call's parts, in order.

        Returns:
            The answers, where each image that is on disk has its file as its part; and why others are
            not on disk.
        """
        if self.folder is None:
            return answers, ()
        good = [answer for answer in answers if isinstance(answer, Answer)]
        room = asyncio.Semaphore(_AT_ONCE)
        outcomes = iter(
            await asyncio.gather(
                *(
                    self._file_of(item, a.created, self.folder, room)
                    for a in good
                    for item in a.items
                ),
            )
        )
        parts = [[next(outcomes) for _ in answer.items] for answer in good]
        files = [part for several in parts for part in several if isinstance(part, FileSink)]
        await asyncio.to_thread(_publish, files)
        errors = [part for several in parts for part in several if isinstance(part, ImageSDKError)]
        kept = iter(
            attrs.evolve(
                answer,
                items=tuple(
                    attrs.evolve(item, part=part) if isinstance(part, FileSink) else item
                    for item, part in zip(answer.items, several, strict=True)
                    if not _is_lost(part)
                ),
            )
            for answer, several in zip(good, parts, strict=True)
        )
        return (
            [next(kept) if isinstance(answer, Answer) else answer for answer in answers],
            [*errors, *_failures(files, self.folder)],
        )

    def _new_file(self, folder: Folder) -> FileSink:
        file = FileSink(folder)
        self._files.append(file)
        return file

    async def _file_of(
        self, item: AnswerItem, created: int | None, folder: Folder, room: asyncio.Semaphore
    ) -> PartSink | ImageSDKError | None:
        """Return what took an image; an error for one whose download failed."""
        if isinstance(item.part, MemorySink):  # the completed image of a stream
            file = self._new_file(folder)
            file.write(item.part.content)
            file.finish()
            return file
        if item.part is not None or item.url is None:
            return item.part
        try:
            async with room:
                return await self.fetch(
                    item.url, expiry(item.url, created), lambda: self._new_file(folder)
                )
        except ImageSDKError as error:
            return error


def _publish(files: Sequence[FileSink]) -> None:
    for file in files:
        file.publish()


def _is_lost(part: PartSink | ImageSDKError | None) -> bool:
    return isinstance(part, FileSink) and part.stored is None and part.content is None


def _failures(files: Sequence[FileSink], folder: Folder) -> list[ImageSDKError]:
    """Return an error for what the disk did not take."""
    failures: list[ImageSDKError] = []
    for lost in (False, True):
        failed = [f for f in files if f.failure is not None and _is_lost(f) is lost]
        if not failed:
            continue
        count = (
            f"{len(failed)} of {len(files)} images could not be written into {str(folder.path)!r}"
        )
        fate = "cannot be read back: lost" if lost else "kept in memory: save .result elsewhere"
        error = ImageSDKError(f"{count} ({failed[0].failure}); {fate}", may_be_billed=lost)
        error.__cause__ = failed[0].failure
        failures.append(error)
    return failures
