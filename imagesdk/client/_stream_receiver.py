"""Read a streamed answer while it arrives, and hand out its partial images."""

from __future__ import annotations

import asyncio

import attrs

from imagesdk.client._pipeline import Call, Pipeline
from imagesdk.client._turns import Turns
from imagesdk.client.receiving import PIECE_BYTES, give_way
from imagesdk.client.results import Image
from imagesdk.client.streaming import Deliver, PartialImage
from imagesdk.errors import ImageSDKError, StreamIncompleteError, TransportError
from imagesdk.events import Partial
from imagesdk.observability._logging import LOGGER
from imagesdk.protocol.decode import Answer
from imagesdk.protocol.imagestream import PartialItem, StreamDecoder, StreamItem
from imagesdk.transport.base import Reply, WrappedReply

__all__ = ("StreamReceiver",)

_BEGINNINGS = (b"data:", b"event:", b":", b"id:", b"retry:", b"\xef\xbb\xbf")
_BEGIN_BYTES = max(map(len, _BEGINNINGS))
_PILED_BYTES = 32 * 1024
"""Bytes of a piece that has piled up: the server is faster than what decodes it."""
_END_WAIT = 0.25
"""Seconds for the end of a stream whose image is complete: then its connection can be used again."""
_END_BYTES = 64 * 1024


@attrs.define(kw_only=True, eq=False)
class StreamReceiver:
    """Receives one call, in all its attempts; what `imagesdk.client._pipeline.Call.receive` wants.

    Attributes:
        pipeline: Reads an answer that is no stream, and tells of events.
        turns: Of the session's streams.
        deliver: Takes the partial images.
        whole_answers: Whether the completed image comes in an event that is a whole answer.
    """

    pipeline: Pipeline
    turns: Turns
    deliver: Deliver
    whole_answers: bool = False
    _last: PartialImage | None = attrs.field(default=None, init=False)

    async def __call__(self, call: Call, reply: Reply) -> Answer:
        """Return the completed image.

        Raises:
            StreamIncompleteError: It did not arrive. It was billed, so the call is not sent again.
            TransportError: The connection broke before the first event.
            APIError: An error event.
            ProtocolError: The completed image cannot be used.
        """
        begin = await _begin(reply)
        reply = _Peeked(reply, begin)
        if not _is_stream(reply, begin):
            return await self.pipeline.collect(call, reply)
        decoder = StreamDecoder(
            reply.status,
            reply.headers,
            max_event_bytes=call.max_body_bytes,
            secret=self.pipeline.secret,
            list_key=self.pipeline.list_key if self.whole_answers else None,
        )
        why = "it ended early"
        broken: TransportError | None = None
        try:
            more, kept_since = True, None
            while more:
                piece = await reply.read()
                more = bool(piece)
                if len(piece) >= _PILED_BYTES:
                    await self.turns.take(self)
                for start in range(0, len(piece) or 1, PIECE_BYTES):
                    kept_since = await give_way(kept_since, now=start > 0)
                    part = piece[start : start + PIECE_BYTES]
                    for item in decoder.feed(part) if part else decoder.finish():
                        self.turns.leave(self)
                        if isinstance(item, Answer):
                            await _read_end(call, reply)
                            return item
                        await self._take(call, item)
                        kept_since = await give_way(kept_since)  # a piece holds many small events
                self.turns.keep(self)
        except TransportError as error:
            if not call.begun:
                raise
            why, broken = str(error), error
        finally:
            self.turns.leave(self)
        incomplete: StreamIncompleteError = decoder.incomplete(why)
        incomplete.partial = self._last
        # Its frames hold the raw stream, in which a server may echo the key.
        raise incomplete from (broken and broken.with_traceback(None))

    async def _take(self, call: Call, item: StreamItem) -> None:
        if not isinstance(item, PartialItem):
            LOGGER.warning(
                "images.%s call %d: an event of the stream was passed over: %s",
                call.request.endpoint,
                call.number,
                item,
            )
            return
        image = Image(content=item.content, extra=item.extra)
        call.begun = True
        self._last = PartialImage(index=item.index, image=image)
        if self.pipeline.on_event is not None:
            self.pipeline.emit(
                Partial(
                    call=call.number,
                    endpoint=call.request.endpoint,
                    model=call.request.model,
                    index=item.index,
                    size_bytes=len(item.content),
                )
            )
        await self.deliver(self._last)


async def _begin(reply: Reply) -> bytes:
    """Return the first bytes of a body, enough to tell what it is; white space before them is dropped."""
    begin, kept_since = b"", None
    while len(begin) < _BEGIN_BYTES and (piece := await reply.read()):
        begin = (begin + piece).lstrip()
        kept_since = await give_way(kept_since)
    return begin


def _is_stream(reply: Reply, begin: bytes) -> bool:
    """Tell a stream from a document, whatever the server calls it."""
    if reply.headers.get("content-type", "").startswith("text/event-stream"):
        return not begin.startswith((b"{", b"["))
    return begin.startswith(_BEGINNINGS)


@attrs.define
class _Peeked(WrappedReply):
    """A reply whose first piece was read before."""

    first: bytes
    _begun: bool = attrs.field(default=False, init=False)

    async def read(self) -> bytes:
        if self._begun:
            return await super().read()
        self._begun = True
        return self.first


async def _read_end(call: Call, reply: Reply) -> None:
    """Read what is left of a stream, if it is little and near."""
    left = _END_BYTES
    try:
        async with asyncio.timeout(_END_WAIT):
            while left > 0 and (piece := await reply.read()):
                left -= len(piece)
    except (ImageSDKError, TimeoutError):
        pass
    except asyncio.CancelledError:
        if not call.out_of_time:  # the image is there: a deadline comes too late
            raise
