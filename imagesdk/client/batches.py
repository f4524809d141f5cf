"""The server's own batches, for one session: lay out the lines, upload them, read what comes back.

https://platform.openai.com/docs/api-reference/batch (read 2026-11-26 in openai-python 3.52, ``types/batch.py``)
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
import msgspec

from imagesdk.client._assembly import join, read_inputs
from imagesdk.client._runner import MAX_BYTES_AN_IMAGE, Runner
from imagesdk.client.api import Api
from imagesdk.client.delivery import Delivery
from imagesdk.client.fanout import Outcome
from imagesdk.client.receiving import PIECE_BYTES, give_way, write_files
from imagesdk.client.session import ImageSession
from imagesdk.errors import ImageSDKError, InvalidRequestError, PayloadTooLargeError, ProtocolError
from imagesdk.inputs import resolve_path
from imagesdk.models.requests import ImageRequest, file_fields
from imagesdk.protocol.batchlines import AnswerLine, LineDecoder, batch_url, encode_line
from imagesdk.protocol.encode import BytesBody
from imagesdk.protocol.jsonbody import JSONBody
from imagesdk.protocol.multipart import FilePart, encode_multipart
from imagesdk.protocol.parts import PartSink
from imagesdk.sinks import FileSink, Folder
from imagesdk.transport.base import Reply

__all__ = ("ArrivedLine", "BatchCalls", "BatchStatus", "OnLine", "ServerBatch", "batches_of")

BatchStatus: TypeAlias = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]
_ENDED = frozenset({"failed", "completed", "expired", "cancelled"})
_MARK = "imagesdk"
"""Key in a batch's metadata; its value tells the batch from all others."""
_MOST_IMAGES_A_LINE = 10
_MAX_LINE_BYTES = _MOST_IMAGES_A_LINE * MAX_BYTES_AN_IMAGE * 4 // 3
_PAGE = 100
_log = logging.getLogger("imagesdk")
_ID = re.compile(r"[\w.:-]{1,200}")
"""It stands in the path of a URL."""


@attrs.frozen(kw_only=True)
class ServerBatch:
    """A batch of the server's, as it describes it.

    Attributes:
        id: ``batch_…``.
        status: ``"validating"``, ``"in_progress"``, ``"finalizing"``, ``"completed"``, ``"failed"``,
            ``"expired"``, ``"cancelling"``, ``"cancelled"``, or what the server says else.
        total: Requests in it, 0 before they were counted.
        completed: Requests that succeeded so far.
        failed: Requests that did not.
        created_at: Seconds since 1970.
        expires_at: Seconds since 1970, None if the server does not say.
        ended_at: Seconds since 1970, None as long as it has not.
        output_file_id: File of the answers, None without any.
        error_file_id: File of the refusals, None without any.
        errors: Why it failed: a mapping with code, message and line for each.
    """

    id: str
    status: BatchStatus | str
    total: int = 0
    completed: int = 0
    failed: int = 0
    created_at: int = 0
    expires_at: int | None = None
    ended_at: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: tuple[Mapping[str, Any], ...] = ()

    @property
    def has_ended(self) -> bool:
        """True if nothing comes any more."""
        return self.status in _ENDED


class ArrivedLine:
    """A line of a batch's file, while its images are on their way to the disk.

    Attributes:
        custom_id: Of the request.
        request_id: The server's, None if the request was not run.
    """

    def __init__(self, line: AnswerLine, delivery: Delivery, runner: Runner) -> None:
        self.custom_id: str = line.custom_id
        self.request_id: str | None = line.request_id
        self._result = line.result
        self._delivery = delivery
        self._runner = runner

    async def outcome(self, request: ImageRequest, images: int) -> Outcome[ImageRequest]:
        """Give the images their names in the folder; return them, or why there are none.

        Args:
            request: What was asked for.
            images: How many it asked for.
        """
        if isinstance(self._result, ImageSDKError):
            return Outcome(index=0, request=request, error=self._result)
        answers, unsaved = await self._delivery.finish([self._result])
        try:
            response = join(
                images, answers, (), fetch=self._runner.fetch, keep_partial=False, unsaved=unsaved
            )
        except ImageSDKError as error:
            return Outcome(index=0, request=request, error=error)
        return Outcome(index=0, request=request, response=response)


OnLine: TypeAlias = Callable[[ArrivedLine], Awaitable[None]]
"""Takes a line; images of one whose outcome it does not ask for are removed."""


class BatchCalls:
    """What a session can do with the server's own batches.

    Args:
        runner: Of the session.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._api = Api(
            transport=runner.pipeline.transport,
            endpoint=runner.endpoint,
            enter=runner.enter_loop,
            headers=lambda: runner.own_headers,
        )

    def lay_out(self, custom_id: str, request: ImageRequest) -> tuple[str | None, JSONBody]:
        """Return the model that a request is for, and its line; its images are paths. Blocks.

        Raises:
            InvalidRequestError: It breaks a rule, or no line can hold it.
            ConfigurationError: The server needs a model, and there is none.
        """
        if request.endpoint == "variations":
            raise InvalidRequestError(
                "the server's batches run generations and edits, no variations: run it with "
                "`imagesdk batch run`, or make it an edit with a prompt",
                field="image",
            )
        self._runner.check(request, in_json=True)
        request, family = self._runner.with_model(request)
        if isinstance(request.n, int) and request.n > family.max_n:
            raise InvalidRequestError(
                f"n is {request.n}; a line of the server's batch asks for at most {family.max_n}: "
                "split it into several lines, or run it with `imagesdk batch run`",
                field="n",
                value=request.n,
                limit=family.max_n,
            )
        files = []
        if file_fields(type(request)):
            if family.sends_response_format:  # images-api.md section 3.3: "GPT models only"
                raise InvalidRequestError(
                    "the edits of a batch are JSON, which GPT Image models alone take, and not "
                    f"{request.model or 'the classic API'}: run it with `imagesdk batch run`",
                    field="model",
                    value=request.model,
                )
            files = read_inputs(request, self._runner.profile, in_json=True)
        try:
            line = encode_line(
                custom_id,
                request,
                family,
                [entry.file for entry in files],
                boundary=os.urandom(16).hex(),
            )
        except (TypeError, ValueError) as error:
            if isinstance(error, ImageSDKError):
                raise
            raise InvalidRequestError(
                f"the request holds a value that cannot be sent: {error}", field="extra_body"
            ) from None
        return request.model, line

    async def upload(self, path: Path, filename: str) -> str:
        """Upload a file of lines, read while it is sent; return its id. To do so costs nothing.

        Raises:
            APIError: The server refused.
            TransportError: It did not arrive.
        """
        file = resolve_path("the batch's file", path).file
        part = FilePart(
            name="file", filename=filename, content_type="application/jsonl", source=file.source
        )
        body = encode_multipart([("purpose", "batch")], [part], boundary=os.urandom(16).hex())
        return _id_of(await self._api.ask("POST", "files", body))

    async def create(self, file_id: str, endpoint: str, mark: str) -> ServerBatch:
        """Let the server run a file that was uploaded: this is what is paid for.

        Args:
            file_id: From `upload`.
            endpoint: ``"generations"`` or ``"edits"``.
            mark: What `find` finds the batch by; also the Idempotency-Key.

        Raises:
            APIError: The server refused.
            TransportError: No answer arrived.
        """
        fields = {
            "input_file_id": file_id,
            "endpoint": batch_url(endpoint),
            "completion_window": "24h",
            "metadata": {_MARK: mark},
        }
        body = BytesBody(content_type="application/json", data=msgspec.json.encode(fields))
        headers = {"Idempotency-Key": mark}
        return _batch(await self._api.ask("POST", "batches", body, headers=headers, safe=False))

    async def find(self, mark: str, since: float) -> ServerBatch | None:
        """Return the batch that `create` made with *mark*, None if the server lists none.

        Args:
            mark: As it was given.
            since: Seconds since 1970: older batches are not looked at. The list begins with the newest.
        """
        after = ""
        while True:
            page = await self._api.ask("GET", f"batches?limit={_PAGE}{after}")
            found = [entry for entry in page.get("data") or () if isinstance(entry, dict)]
            for entry in found:
                if (entry.get("metadata") or {}).get(_MARK) == mark:
                    return _batch(entry)
            if not page.get("has_more") or not found or _number(found[-1], "created_at") < since:
                return None
            after = f"&after={_id_of(found[-1])}"

    async def get(self, batch_id: str) -> ServerBatch:
        """Return how far a batch is."""
        return _batch(await self._api.ask("GET", f"batches/{batch_id}"))

    async def cancel(self, batch_id: str) -> ServerBatch:
        """Let a batch end early; what it has done is paid for."""
        return _batch(await self._api.ask("POST", f"batches/{batch_id}/cancel"))

    async def read_file(self, file_id: str, folder: Folder, on_line: OnLine) -> None:
        """Read a batch's output or error file line by line, its images straight into *folder*.

        If that breaks off, it begins anew. A line that cannot be read is logged, and passed over.

        Args:
            file_id: Of the file.
            folder: For the images.
            on_line: Awaited with each line, while nothing further is read.

        Raises:
            APIError: The server refused.
            TransportError: It did not arrive.
            PayloadTooLargeError: A line is longer than any answer may be.
        """

        async def receive(reply: Reply) -> None:
            reader = _LineReader(reply)
            while not await reader.is_at_end():
                async with Delivery(folder, self._runner.downloader.fetch) as delivery:
                    try:
                        line = await self._read_line(reader, delivery)
                    except PayloadTooLargeError:  # in the middle of it
                        raise
                    except ProtocolError as error:
                        _log.warning("%s: %s", file_id, error)
                        continue
                    if line is not None:
                        await on_line(ArrivedLine(line, delivery, self._runner))

        await self._api.fetch(f"files/{file_id}/content", receive)

    async def _read_line(self, reader: _LineReader, delivery: Delivery) -> AnswerLine | None:
        """Return the next line, None for a blank one; its images are written while it arrives."""
        files: list[FileSink] = []

        def new_sink() -> PartSink:
            sink = delivery.new_sink()
            if isinstance(sink, FileSink):
                files.append(sink)
            return sink

        decoder = LineDecoder(new_sink, self._runner.endpoint.secret)
        kept_since: float | None = None
        ends = False
        while not ends:
            text, ends = await reader.piece()
            for start in range(0, len(text), PIECE_BYTES):
                kept_since = await give_way(kept_since, now=start > 0)
                decoder.feed(text[start : start + PIECE_BYTES])
                await write_files(files)
            if decoder.size_bytes > _MAX_LINE_BYTES:
                raise PayloadTooLargeError(
                    f"a line of the batch's file is longer than {_MAX_LINE_BYTES:,} bytes; reading "
                    "was stopped",
                    may_be_billed=True,
                    limit_bytes=_MAX_LINE_BYTES,
                )
        return decoder.finish() if decoder.size_bytes else None


class _LineReader:
    """Cuts what arrives at the ends of lines."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._rest = b""

    async def is_at_end(self) -> bool:
        """Return whether nothing follows."""
        if not self._rest:
            self._rest = await self._reply.read()
        return not self._rest

    async def piece(self) -> tuple[bytes, bool]:
        """Return the next piece of a line, and whether the line ends with it."""
        if await self.is_at_end():
            return b"", True
        text, end, self._rest = self._rest.partition(b"\n")
        return text, bool(end)


def _batch(said: Mapping[str, Any]) -> ServerBatch:
    """Read a batch object; what is not known, or of another type, is passed over."""
    counts, errors = said.get("request_counts"), said.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    ends = (_number(said, f"{status}_at") for status in _ENDED)
    return ServerBatch(
        id=_id_of(said),
        status=str(said.get("status")),
        created_at=_number(said, "created_at"),
        expires_at=_number(said, "expires_at") or None,
        ended_at=max(ends) or None,
        errors=tuple(entry for entry in listed or () if isinstance(entry, dict)),
        total=_number(counts, "total"),
        completed=_number(counts, "completed"),
        failed=_number(counts, "failed"),
        output_file_id=None
        if said.get("output_file_id") is None
        else _id_of(said, "output_file_id"),
        error_file_id=None if said.get("error_file_id") is None else _id_of(said, "error_file_id"),
    )


def _number(said: object, name: str) -> int:
    value = said.get(name) if isinstance(said, Mapping) else None
    return int(value) if isinstance(value, int | float) else 0


def _id_of(said: Mapping[str, Any], name: str = "id") -> str:
    found = said.get(name)
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise ProtocolError(f"the server's answer has no {name} that can be asked for: {found!r}")
    return found


def batches_of(session: ImageSession) -> BatchCalls:
    """Return what *session* can do with the server's own batches."""
    return BatchCalls(session._runner)  # noqa: SLF001 - a part of the session that its users do not see
