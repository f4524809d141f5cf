"""Receive what a server sends: read it in pieces, hand it on, and write files beside the event loop.

No more than a piece is decoded at once on the loop, and no more than a few pieces of an image on
its way to a file are held in memory. Whatever ends an exchange early leaves no file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from imagesdk.errors import ImageSDKError, ProtocolError, TransportError
from imagesdk.protocol.decode import Answer, AnswerDecoder
from imagesdk.protocol.parts import PartSink
from imagesdk.sinks import FileSink
from imagesdk.transport.base import Reply, WrappedReply, too_large

__all__ = (
    "IN_THREAD_BYTES",
    "PIECE_BYTES",
    "NewSink",
    "Unhurried",
    "close_files",
    "give_way",
    "receive_answer",
    "receive_image",
    "write_files",
)

NewSink: TypeAlias = Callable[[], PartSink]
S = TypeVar("S", bound=PartSink)

PIECE_BYTES = 256 * 1024
"""What is decoded at once, without a copy of what asyncio reads at once: 0.1 ms of work."""
_KEPT = 0.005
"""Seconds that the event loop may be kept."""
IN_THREAD_BYTES = 256 * 1024
"""Usual size from which on answers are put together in a thread: what is not image may be large, too."""


async def receive_answer(
    reply: Reply,
    *,
    limit_bytes: int,
    new_sink: NewSink,
    secret: str,
    list_key: str = "data",
    cut_off: Callable[[], ImageSDKError | None] = lambda: None,
    in_thread_bytes: int = IN_THREAD_BYTES,
) -> Answer:
    """Return the answer that *reply* brings; its images go into sinks while they arrive.

    Args:
        reply: An answer with status 2xx.
        limit_bytes: Most bytes of the body that are read, decompressed.
        new_sink: Makes the sink of an image.
        secret: The API key, blotted out of what an error keeps.
        list_key: Where the list of images is in the answer.
        cut_off: Asked when the task is cancelled: why no more is read, if the images that are complete
            are wanted all the same; None if they are not.
        in_thread_bytes: Answers from this size on are put together in a thread.

    Raises:
        TransportError: It broke off before an image was complete.
        PayloadTooLargeError: It was longer, and no image was complete.
        ProtocolError: No image can be read from it.
        APIError: It is an error object, in spite of its status.
    """
    files: list[FileSink] = []

    def new_part() -> PartSink:
        sink = new_sink()
        if isinstance(sink, FileSink):
            files.append(sink)
        return sink

    decoder = AnswerDecoder(
        reply.status,
        reply.headers,
        new_sink=new_part,
        secret=secret,
        list_key=list_key,
        max_unpacked_bytes=limit_bytes,
    )
    interrupted: ImageSDKError | None = None
    is_cut_off = False
    try:
        try:
            await _feed(decoder, reply, limit_bytes, files)
        except (TransportError, ProtocolError) as error:
            interrupted = error
        except asyncio.CancelledError:
            if (interrupted := cut_off()) is None:
                raise
            is_cut_off = True
        if decoder.size_bytes < in_thread_bytes:
            answer = decoder.finish(interrupted)
        else:
            answer = await asyncio.to_thread(decoder.finish, interrupted)
        if files:
            await write_files(files)
    except BaseException:
        decoder.discard()
        await close_files(files)
        if is_cut_off:  # and no image is complete
            raise asyncio.CancelledError from None
        raise
    return answer


class Unhurried(WrappedReply):
    """A reply that lets the event loop turn before each piece, also before one that is there."""

    async def read(self) -> bytes:
        """Return the next piece of the body."""
        await asyncio.sleep(0)
        return await super().read()


async def _feed(
    decoder: AnswerDecoder, reply: Reply, limit_bytes: int, files: Sequence[FileSink]
) -> None:
    """Read *reply* to its end; see `receive_answer`."""
    kept_since: float | None = None
    while piece := await reply.read():
        if decoder.size_bytes + len(piece) > limit_bytes:
            raise too_large(reply, limit_bytes)
        for start in range(0, len(piece), PIECE_BYTES):
            if decoder.size_bytes:  # the first piece is not the one that keeps the loop
                kept_since = await give_way(kept_since, now=start > 0)
            decoder.feed(piece[start : start + PIECE_BYTES])
            if files:
                await write_files(files)


async def receive_image(
    reply: Reply, *, limit_bytes: int, new_sink: Callable[[], S]
) -> tuple[S, int]:
    """Return the sink that has taken the body of *reply*, and the number of bytes.

    Raises:
        TransportError: It broke off.
        PayloadTooLargeError: It is longer than *limit_bytes*.
    """
    sink = new_sink()
    files = [sink] if isinstance(sink, FileSink) else []
    try:
        size_bytes = await _fill(reply, sink, files, limit_bytes)
    except BaseException:
        await close_files(files)
        raise
    return sink, size_bytes


async def _fill(reply: Reply, sink: PartSink, files: Sequence[FileSink], limit_bytes: int) -> int:
    """Write the body of *reply* into *sink*, and return the number of bytes."""
    received = 0
    while piece := await reply.read():
        received += len(piece)
        if received > limit_bytes:
            raise too_large(reply, limit_bytes)
        sink.write(piece)
        await write_files(files)
    sink.finish()
    await write_files(files)
    return received


async def give_way(kept_since: float | None, *, now: bool = False) -> float:
    """Let the event loop turn if it was kept for long; return since when it is.

    To read does not wait, and so does not let it turn, while what has arrived unpacks to more.

    Args:
        kept_since: What this function returned before, None at first.
        now: Let it turn in any case.
    """
    loop = asyncio.get_running_loop()
    if kept_since is None:
        return loop.time()
    if not now and loop.time() - kept_since < _KEPT:
        return kept_since
    await asyncio.sleep(0)
    return loop.time()


async def close_files(files: Sequence[FileSink]) -> None:
    """Close *files*, which removes those that were not published, also if the loop ends meanwhile."""

    def close() -> None:
        for file in files:
            file.close()

    if files:
        # Not to_thread(), whose task the end of the loop could cancel before close() runs.
        closing = asyncio.get_running_loop().run_in_executor(None, close)
        await asyncio.shield(closing)


async def write_files(files: Sequence[FileSink]) -> None:
    """Let a thread write what waits: so no more is read than the disk takes."""
    for file in files:
        if file.is_due:
            await asyncio.to_thread(file.flush)
