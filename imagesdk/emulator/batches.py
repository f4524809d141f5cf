"""Batches: files of requests that the server runs when it has time, at half the price.

A batch is ``validating``, then ``in_progress``, ``finalizing`` and ``completed``; or it ends as
``failed`` (a line cannot be used), ``expired`` or ``cancelled``. Answers with status 200 go into its
output file, all others into its error file, in any order; what was not run is in the error file, too.

https://platform.openai.com/docs/guides/batch (read 2026-11-26 in openai-python 3.52,
``types/batch.py``); codes of ``errors``: https://github.com/stdapi-ai/stdapi.ai/issues/240
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, get_args

import attrs
import msgspec

from imagesdk.emulator.filestore import FileStore
from imagesdk.emulator.jobs import read_job
from imagesdk.emulator.refusals import Refusal, server_error
from imagesdk.emulator.service import Bill, ImageService, Order
from imagesdk.emulator.spec import Endpoint

__all__ = ("BATCH_ENDPOINTS", "Batch", "BatchPlan", "BatchRunner", "Status")

Status: TypeAlias = Literal[
    "validating",
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
]

_LATER: tuple[Status, ...] = get_args(Status)[1:]
_logger = logging.getLogger(__name__)

# images-api.md section 3.6, read 2026-11-20
BATCH_ENDPOINTS = {endpoint.value: endpoint for endpoint in (Endpoint.GENERATION, Endpoint.EDIT)}
_MAX_LINES = 50_000
_LINE_FIELDS = ("custom_id", "method", "url", "body")
_NOT_RUN: Mapping[str, tuple[str, str]] = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": ("batch_cancelled", "This request was not executed: the batch was cancelled."),
}


def _is_a_time(_plan: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{attribute.name} of batches must be 0 or more seconds: {value}")


@attrs.frozen(kw_only=True)
class BatchPlan:
    """How the emulator runs batches.

    Attributes:
        delay: Seconds before a batch is looked at.
        seconds_per_line: Seconds that each line takes beyond painting.
        window: Seconds after which what was not run expires, instead of the 24 hours.
        shuffle: Run the lines in another order than that of the file; so come the answers.
        failing: HTTP status of the lines that fail, by custom_id.

    Raises:
        ValueError: A time is negative or no number.
    """

    delay: float = attrs.field(default=0.0, validator=_is_a_time)
    seconds_per_line: float = attrs.field(default=0.0, validator=_is_a_time)
    window: float = attrs.field(default=24 * 3600.0, validator=_is_a_time)
    shuffle: bool = True
    failing: Mapping[str, int] = attrs.field(factory=dict)


@attrs.define(kw_only=True, eq=False)
class Batch:
    """A batch as the API describes it.

    Attributes:
        at: When it came into a status, epoch seconds by status.
        stopped: Set when it is cancelled.
    """

    id: str
    endpoint: str
    input_file_id: str
    metadata: Mapping[str, str] | None
    output_lifetime: int | None
    created_at: int
    expires_at: float
    status: Status = "validating"
    at: dict[Status, int] = attrs.field(factory=dict)
    model: str | None = None
    errors: list[dict[str, Any]] = attrs.field(factory=list)
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    stopped: asyncio.Event = attrs.field(factory=asyncio.Event)

    @property
    def has_ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.status in {"completed", "failed", "expired", "cancelled"}

    def describe(self) -> dict[str, Any]:
        """Return the batch object of the API."""
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": int(self.expires_at),
            **{f"{status}_at": self.at.get(status) for status in _LATER},
            "request_counts": {
                "total": self.total,
                "completed": self.completed,
                "failed": self.failed,
            },
            "usage": {
                "input_tokens": self.input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": self.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.input_tokens + self.output_tokens,
            },
            "metadata": self.metadata,
        }


@attrs.frozen(kw_only=True)
class _Line:
    """A line of an input file that can be run."""

    custom_id: str
    body: bytes


class _UnusableError(Exception):
    """A line of an input file cannot be used."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


@attrs.define(kw_only=True, eq=False)
class BatchRunner:
    """Runs batches in the background, each in a task of its own.

    Attributes:
        service: Answers the lines; what they deliver is charged when their batch ends.
        files: Where their files are.
        plan: How they are run.
        url_prefix: Returns the address below which pictures are served.
    """

    service: ImageService
    files: FileStore
    plan: BatchPlan
    url_prefix: Callable[[], str]
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)

    def start(self, batch: Batch, api_key: str) -> None:
        """Run *batch*."""
        task = asyncio.create_task(self._run(batch, api_key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """End all batches where they are, soon."""
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """End all batches where they are."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self, batch: Batch) -> None:
        """Let *batch* end after the line that is run."""
        if batch.status in {"validating", "in_progress"}:
            self._enter(batch, "cancelling")
            batch.stopped.set()

    async def _run(self, batch: Batch, api_key: str) -> None:
        try:
            end = await self._carry_out(batch, api_key)
        except Exception:
            _logger.exception("batch %s failed", batch.id)
            batch.errors.append(_error("server_error", server_error().message))
            end = "failed"
        self._enter(batch, end)

    async def _carry_out(self, batch: Batch, api_key: str) -> Status:
        """Run *batch* to its end, and return its last status."""
        bill = self.service.bill
        await _pause(batch, self.plan.delay)
        lines = await asyncio.to_thread(self._validate, batch)
        if batch.errors:
            return "failed"
        if batch.status == "validating":
            self._enter(batch, "in_progress")
        output, errors = await asyncio.to_thread(lambda: (self._new_file(), self._new_file()))
        # Its own service: a batch has limits of its own, and is charged at its end.
        service = attrs.evolve(self.service, limit=None, bill=Bill())
        with output, errors:
            end = await self._run_lines(batch, lines, service, api_key, (output, errors))
        if end == "completed":
            self._enter(batch, "finalizing")
        await asyncio.to_thread(self._keep_files, batch, output, errors)
        bill.images += service.bill.images
        return end

    async def _run_lines(
        self,
        batch: Batch,
        lines: list[_Line],
        service: ImageService,
        api_key: str,
        files: tuple[BinaryIO, BinaryIO],
    ) -> Literal["completed", "expired", "cancelled"]:
        """Run the lines one after the other, write what becomes of them, and return how it ended."""
        output, errors = files
        rng = random.Random(batch.id)  # noqa: S311
        for index, line in enumerate(lines):
            await _pause(batch, self.plan.seconds_per_line)
            end = self._early_end(batch)
            if end is not None:
                left = [_not_run(other, rng, *_NOT_RUN[end]) for other in lines[index:]]
                batch.failed += len(left)
                await asyncio.to_thread(_write, errors, left)
                return end
            request_id = f"req_{rng.randbytes(16).hex()}"
            answer = await self._answer(batch, line, service, api_key, request_id)
            status = answer.status if isinstance(answer, Refusal) else 200
            body = answer.envelope() if isinstance(answer, Refusal) else answer
            usage = body.get("usage", {})
            batch.input_tokens += usage.get("input_tokens", 0)
            batch.output_tokens += usage.get("output_tokens", 0)
            batch.completed += status == 200
            batch.failed += status != 200
            response = {"status_code": status, "request_id": request_id, "body": body}
            text = await asyncio.to_thread(_output_line, line, rng, response, None)
            await asyncio.to_thread(_write, output if status == 200 else errors, [text])
        return "completed"

    def _early_end(self, batch: Batch) -> Literal["expired", "cancelled"] | None:
        if batch.status == "cancelling":
            return "cancelled"
        return "expired" if self.service.clock() >= batch.expires_at else None

    async def _answer(
        self, batch: Batch, line: _Line, service: ImageService, api_key: str, request_id: str
    ) -> dict[str, Any] | Refusal:
        failing = self.plan.failing.get(line.custom_id)
        if failing is not None:
            return attrs.evolve(server_error(), status=failing)
        job = await asyncio.to_thread(
            read_job,
            BATCH_ENDPOINTS[batch.endpoint],
            "application/json",
            line.body,
            self.files.read_image,
        )
        if job.refusal is not None:
            return job.refusal
        if job.streams:
            return Refusal(message="Streaming is not supported in batches.", param="stream")
        order = Order(api_key=api_key, request_id=request_id, url_prefix=self.url_prefix())
        return await service.answer(job, order)

    def _enter(self, batch: Batch, status: Status) -> None:
        batch.status = status
        batch.at[status] = int(self.service.clock())

    def _new_file(self) -> BinaryIO:
        return self.files.new_path().open("xb")

    def _keep_files(self, batch: Batch, output: BinaryIO, errors: BinaryIO) -> None:
        """Make the files that are not empty files of the server's."""
        for file, field in ((output, "output_file_id"), (errors, "error_file_id")):
            path = Path(file.name)
            if path.stat().st_size:
                name = f"{batch.id}_{field.removesuffix('_file_id')}.jsonl"
                kept = self.files.add(path, name, "batch_output", batch.output_lifetime)
                setattr(batch, field, kept.id)
            else:
                path.unlink()

    def _validate(self, batch: Batch) -> list[_Line]:
        """Read the input file; what cannot be used becomes an error of the batch."""
        source = self.files.get(batch.input_file_id)
        if source is None or source.purpose != "batch":
            message = "The input file does not exist, or its purpose is not 'batch'."
            batch.errors.append(_error("invalid_input_file", message))
            return []
        with source.path.open("rb") as file:
            lines = list(self._read(batch, file))
        batch.total = len(lines)
        if not lines and not batch.errors:
            batch.errors.append(_error("empty_file", "The input file is empty."))
        if len(lines) > _MAX_LINES:
            message = f"The input file has more than {_MAX_LINES} requests."
            batch.errors.append(_error("too_many_tasks", message))
        if self.plan.shuffle:
            random.Random(batch.input_file_id).shuffle(lines)  # noqa: S311
        return lines

    def _read(self, batch: Batch, file: BinaryIO) -> Iterator[_Line]:
        seen: set[str] = set()
        for number, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                line, model = _read_line(text, batch.endpoint)
                _compare(line, model, batch, seen)
            except _UnusableError as error:
                batch.errors.append(_error(error.code, str(error), error.param, number))
            else:
                batch.model = model
                seen.add(line.custom_id)
                yield line


def _read_line(text: bytes, endpoint: str) -> tuple[_Line, str | None]:
    """Return a line and the model that it asks for.

    Raises:
        _UnusableError: It cannot be used.
    """
    try:
        data = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise _UnusableError("invalid_json_line", "This line is not parseable as valid JSON.")
    for name in _LINE_FIELDS:
        if data.get(name) is None:
            message = f"Missing required parameter: '{name}'."
            raise _UnusableError("missing_required_parameter", message, name)
    custom_id, method, url, body = (data[name] for name in _LINE_FIELDS)
    if not isinstance(custom_id, str) or not isinstance(body, dict) or method != "POST":
        message = "custom_id must be a string, method 'POST', and body an object."
        raise _UnusableError("invalid_json_line", message)
    if url != endpoint:
        message = f"The URL '{url}' is not the endpoint of the batch, '{endpoint}'."
        raise _UnusableError("url_mismatch", message, "url")
    model = body.get("model")
    return (
        _Line(custom_id=custom_id, body=msgspec.json.encode(body)),
        model if isinstance(model, str) else None,
    )


def _compare(line: _Line, model: str | None, batch: Batch, seen: set[str]) -> None:
    """See that a line goes with the lines before it.

    Raises:
        _UnusableError: It does not.
    """
    if line.custom_id in seen:
        message = f"The custom_id '{line.custom_id[:64]}' is used by another line."
        raise _UnusableError("duplicate_custom_id", message, "custom_id")
    if seen and model != batch.model:
        message = (
            f"The line asks for model '{model}', others for '{batch.model}': a batch can only have "
            "requests to a single model."
        )
        raise _UnusableError("model_mismatch", message, "body.model")


def _error(
    code: str, message: str, param: str | None = None, line: int | None = None
) -> dict[str, Any]:
    return {"code": code, "line": line, "message": message, "param": param}


async def _pause(batch: Batch, seconds: float) -> None:
    """Wait so long, or until the batch is cancelled."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await batch.stopped.wait()


def _write(file: BinaryIO, lines: Iterable[bytes]) -> None:
    """Write lines; runs in a thread."""
    file.writelines(lines)
    file.flush()


def _not_run(line: _Line, rng: random.Random, code: str, message: str) -> bytes:
    return _output_line(line, rng, None, {"code": code, "message": message})


def _output_line(
    line: _Line,
    rng: random.Random,
    response: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
) -> bytes:
    return (
        msgspec.json.encode(
            {
                "id": f"batch_req_{rng.randbytes(12).hex()}",
                "custom_id": line.custom_id,
                "response": response,
                "error": error,
            }
        )
        + b"\n"
    )
