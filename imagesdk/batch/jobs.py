r"""Read the jobs of a batch from JSON lines.

A line has one of two shapes, told apart line by line:

- the server's own Batch line: ``{"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": {…}}``
  (https://platform.openai.com/docs/guides/batch, read 2026-11-20);
- flat: ``{"prompt": "a fox", "size": "512x512"}``, with ``"image"`` (a path, or a list of paths) and ``"mask"``
  for edits, ``"image"`` without a prompt for variations, and an optional ``"id"``.

Paths are relative to the file. Fields that are no parameters of ours go into the body as they are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import msgspec

from imagesdk.errors import BatchError
from imagesdk.models.requests import (
    EditRequest,
    Endpoint,
    GenerateRequest,
    ImageRequest,
    VariationRequest,
    file_fields,
)

__all__ = ("Job", "read_jobs")

_TYPES: dict[Endpoint, type[GenerateRequest | EditRequest | VariationRequest]] = {
    "generations": GenerateRequest,
    "edits": EditRequest,
    "variations": VariationRequest,
}
_FILES = file_fields(EditRequest)
_BATCH_LINE = frozenset({"custom_id", "method", "url", "body"})


@attrs.frozen(kw_only=True)
class Job:
    """One line of the file.

    Attributes:
        custom_id: Unique in the file; ``line-7`` for the seventh line if it names none.
        line: Number of the line, from 1.
        request: What to ask for.
        params: The body as it was written, for the manifest; paths as they stand in the file.
        key: Hash of endpoint and body: the same request has the same key.
    """

    custom_id: str
    line: int
    request: ImageRequest
    params: Mapping[str, Any]
    key: str


def read_jobs(lines: Iterable[str | bytes], folder: Path) -> Iterator[Job]:
    """Yield the jobs, one for each line that is not blank.

    Args:
        lines: JSON objects.
        folder: What the paths of images are relative to.

    Raises:
        BatchError: A line cannot be used; it names line and field.
    """
    first_lines: dict[str, int] = {}
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        job = _read_line(number, text, folder)
        if job.custom_id in first_lines:
            raise _wrong(
                number,
                f"custom_id {job.custom_id!r} stands in line {first_lines[job.custom_id]}, too; "
                "each line needs its own",
            )
        first_lines[job.custom_id] = number
        yield job


def _read_line(number: int, text: str | bytes, folder: Path) -> Job:
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        data = msgspec.json.decode(decoded.removeprefix("\ufeff"))  # some editors write a mark
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _wrong(number, f"is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise _wrong(number, f"is {data!r}; it must be a JSON object")
    if "body" in data and "url" in data:
        custom_id, endpoint, body = _batch_line(number, data)
    else:
        custom_id = data.pop("custom_id" if "custom_id" in data else "id", None)
        body = data
        endpoint = _endpoint_of(number, body)
    custom_id = f"line-{number}" if custom_id is None else custom_id
    if not isinstance(custom_id, str) or not custom_id.strip():
        raise _wrong(number, f"custom_id is {custom_id!r}; it must be a text")
    return Job(
        custom_id=custom_id,
        line=number,
        request=_request(number, endpoint, body, folder),
        params=body,
        key=_key(endpoint, body),
    )


def _batch_line(number: int, data: dict[str, Any]) -> tuple[Any, Endpoint, dict[str, Any]]:
    for name in data.keys() - _BATCH_LINE:
        raise _wrong(number, f"{name} is no field of a batch line; parameters stand in body")
    if data.get("method", "POST") != "POST":
        raise _wrong(number, f"method is {data['method']!r}; it must be 'POST'")
    endpoint = str(data["url"]).rpartition("/images/")[2]
    if endpoint not in _TYPES:
        known = ", ".join(f"/v1/images/{name}" for name in _TYPES)
        raise _wrong(number, f"url is {data['url']!r}; it must be one of {known}")
    if not isinstance(data["body"], dict):
        raise _wrong(number, f"body is {data['body']!r}; it must be a JSON object")
    return data.get("custom_id"), endpoint, data["body"]


def _endpoint_of(number: int, body: Mapping[str, Any]) -> Endpoint:
    """Tell from its fields what a flat line asks for."""
    if body.get("image") is not None:
        return "edits" if body.get("prompt") is not None else "variations"
    if body.get("prompt") is not None:
        return "generations"
    raise _wrong(number, "has neither prompt nor image")


def _request(
    number: int, endpoint: Endpoint, body: Mapping[str, Any], folder: Path
) -> ImageRequest:
    kind = _TYPES[endpoint]
    files = file_fields(kind)
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    names = {a.name for a in attrs.fields(kind)} - {"extra_body", "extra_headers"}
    for name, value in body.items():
        if value is None:
            continue
        if name in files:
            values[name] = _paths(number, name, value, folder)
        elif name in _FILES:
            raise _wrong(number, f"{name} is no field of {endpoint}")
        elif name in names:
            values[name] = _checked(number, name, value)
        else:
            extra[name] = value
    for name in ("image", "prompt"):
        if name in names and name not in values:
            raise _wrong(number, f"{name} is missing; {endpoint} need it")
    return kind(**values, extra_body=extra or None)


def _checked(number: int, name: str, value: object) -> object:
    """Return *value* if all jobs can be counted with it; the session checks the rest."""
    if name == "n" and (isinstance(value, bool) or not isinstance(value, int | None)):
        raise _wrong(number, f"n is {value!r}; it must be a whole number")
    if name == "model" and not isinstance(value, str | None):
        raise _wrong(number, f"model is {value!r}; it must be a text")
    return value


def _paths(number: int, name: str, value: object, folder: Path) -> Path | list[Path]:
    if isinstance(value, list):
        return [_path(number, f"{name}[{i}]", entry, folder) for i, entry in enumerate(value)]
    return _path(number, name, value, folder)


def _path(number: int, name: str, value: object, folder: Path) -> Path:
    if not isinstance(value, str) or not value:
        raise _wrong(number, f"{name} is {value!r}; it must be the path of an image file")
    path = folder / value
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        raise _wrong(number, f"{name} is {value!r}; there is no such file in {folder}")
    return path


def _key(endpoint: str, body: Mapping[str, Any]) -> str:
    canonical = msgspec.json.encode([endpoint, body], order="deterministic")
    return hashlib.sha256(canonical).hexdigest()[:16]


def _wrong(number: int, what: str) -> BatchError:
    return BatchError(f"line {number}: {what}", line=number)
