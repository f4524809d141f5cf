r"""Read the jobs of a batch from the lines of a file.

A line of JSON has one of two shapes, told apart line by line:

- the server's own Batch line: ``{"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": {…}}``
  (https://platform.openai.com/docs/guides/batch, read 2026-11-20); of an edit ``images`` and ``mask`` are
  objects with ``image_url`` or ``file_id``, or as in the other shape;
- flat: ``{"prompt": "a fox", "size": "512x512"}``, with ``"image"`` (a path, or a list of paths) and ``"mask"``
  for edits, ``"image"`` without a prompt for variations, and an optional ``"id"``.

Rows of a table are flat, too. Paths are relative to the file. Fields that are no parameters of ours go into the body as they are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import msgspec

from imagesdk.batch.rows import Format, line_error, read_rows
from imagesdk.errors import ImageSDKError
from imagesdk.models.checks import MOST_IMAGES
from imagesdk.models.requests import (
    FILE_ID,
    EditRequest,
    Endpoint,
    GenerateRequest,
    ImageRequest,
    VariationRequest,
    file_fields,
)

__all__ = ("Job", "Rules", "checked", "images_asked", "jobs_of_rows", "read_jobs")

_TYPES: dict[Endpoint, type[GenerateRequest | EditRequest | VariationRequest]] = {
    "generations": GenerateRequest,
    "edits": EditRequest,
    "variations": VariationRequest,
}
_FILES = file_fields(EditRequest)
_REFERENCES = ("data:", "http://", "https://")
_BATCH_LINE = frozenset({"custom_id", "method", "url", "body"})
_REMEMBERED_FILES = 1024

Rules: TypeAlias = Callable[[ImageRequest], None]
"""Raises an `imagesdk.ImageSDKError` for a request that must not be sent."""


@attrs.frozen(kw_only=True)
class Job:
    """One line of the file.

    Attributes:
        custom_id: ``line-7`` for the seventh line if it names none.
        line: Number of the line, from 1.
        endpoint: ``"generations"``, ``"edits"`` or ``"variations"``.
        params: The body as it was written, for the manifest; paths as they stand in the file.
        folder: What those paths are relative to.
        key: Hash of endpoint, body and the bytes of the images: the same request has the same key.
    """

    custom_id: str
    line: int
    endpoint: Endpoint
    params: Mapping[str, Any]
    folder: Path
    key: str

    @property
    def request(self) -> ImageRequest:
        """What to ask for."""
        return _request(self.line, self.endpoint, self.params, self.folder)

    @property
    def files(self) -> list[Path]:
        """The images that go with it."""
        return [self.folder / path for _, path in _files_of(self.params)]


def images_asked(params: Mapping[str, Any]) -> int:
    """Return how many images a body asks for."""
    asked = params.get("n")
    return min(max(asked, 1), MOST_IMAGES) if isinstance(asked, int) else 1


def read_jobs(
    lines: Iterable[str | bytes], folder: Path, *, kind: Format = "jsonl"
) -> Iterator[Job]:
    """Yield the jobs, one for each line that is not blank.

    That each has an id of its own is seen to when they are run: here, no job is held.

    Args:
        lines: Of the file.
        folder: What the paths of images are relative to.
        kind: What the lines are; see `imagesdk.batch.rows.read_rows`.

    Raises:
        BatchError: A line cannot be used; it names line and field.
    """
    return _read(read_rows(lines, kind), folder)


def jobs_of_rows(rows: Iterable[Mapping[str, Any]], folder: Path) -> Iterator[Job]:
    """Yield the jobs of mappings that are what a line of JSON may be; they are counted from 1.

    Raises:
        BatchError: A row cannot be used, or is no JSON; it names number and field.
    """
    return _read(((number, dict(row)) for number, row in enumerate(rows, start=1)), folder)


def checked(jobs: Iterable[Job], rules: Rules) -> Iterator[Job]:
    """Yield *jobs* as they are, once each keeps the rules.

    Raises:
        BatchError: One breaks a rule; it names line and field.
    """
    for job in jobs:
        try:
            rules(job.request)
        except ImageSDKError as error:
            found = line_error(job.line, str(error))
            for note in getattr(error, "__notes__", ()):
                found.add_note(f"line {job.line}: {note}")
            raise found from None
        yield job


def _read(rows: Iterable[tuple[int, dict[str, Any]]], folder: Path) -> Iterator[Job]:
    digest = lru_cache(_REMEMBERED_FILES)(_digest)  # the same picture often goes into many lines
    for number, row in rows:
        yield _read_row(number, row, folder, digest)


def _read_row(number: int, row: dict[str, Any], folder: Path, digest: Callable[[str], str]) -> Job:
    if "body" in row and "url" in row:
        custom_id, endpoint, body = _batch_line(number, row)
    else:
        custom_id = row.pop("custom_id" if "custom_id" in row else "id", None)
        body = row
        endpoint = _endpoint_of(number, body)
    custom_id = f"line-{number}" if custom_id is None else custom_id
    if not isinstance(custom_id, str) or not custom_id.strip():
        raise line_error(number, f"custom_id is {custom_id!r}; it must be a text, and not blank")
    _ = _request(number, endpoint, body, folder)  # says what is wrong with it
    named = _files_of(_in_our_words(number, endpoint, body))
    digests = [_digest_of(number, field, folder, path, digest) for field, path in named]
    return Job(
        custom_id=custom_id,
        line=number,
        endpoint=endpoint,
        params=body,
        folder=folder,
        key=_key(number, endpoint, body, digests),
    )


def _batch_line(number: int, data: dict[str, Any]) -> tuple[Any, Endpoint, dict[str, Any]]:
    for name in data.keys() - _BATCH_LINE:
        raise line_error(number, f"{name} is no field of a batch line; parameters stand in body")
    if data.get("method", "POST") != "POST":
        raise line_error(number, f"method is {data['method']!r}; it must be 'POST'")
    endpoint = str(data["url"]).rpartition("/images/")[2]
    if endpoint not in _TYPES:
        known = ", ".join(f"/v1/images/{name}" for name in _TYPES)
        raise line_error(number, f"url is {data['url']!r}; it must be one of {known}")
    if not isinstance(data["body"], dict):
        raise line_error(number, f"body is {data['body']!r}; it must be a JSON object")
    return data.get("custom_id"), endpoint, data["body"]


def _endpoint_of(number: int, body: Mapping[str, Any]) -> Endpoint:
    """Tell from its fields what a flat line asks for."""
    if body.get("image") is not None:
        return "edits" if body.get("prompt") is not None else "variations"
    if body.get("prompt") is not None:
        return "generations"
    named = f"it names {', '.join(body)[:100]}" if body else "it names nothing"
    raise line_error(number, f"has neither prompt nor image; {named}")


def _request(
    number: int, endpoint: Endpoint, body: Mapping[str, Any], folder: Path
) -> ImageRequest:
    kind = _TYPES[endpoint]
    body = _in_our_words(number, endpoint, body)
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
            raise line_error(number, f"{name} is no field of {endpoint}")
        elif name in names:
            values[name] = _checked(number, name, value)
        else:
            extra[name] = value
    for name in ("image", "prompt"):
        if name in names and name not in values:
            raise line_error(number, f"{name} is missing; {endpoint} need it")
    return kind(**values, extra_body=extra or None)


def _in_our_words(number: int, endpoint: Endpoint, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body that has its images as the server's JSON edits have them with ``image`` and ``mask``."""
    if endpoint != "edits" or "images" not in body:
        return body
    images = body["images"]
    if "image" in body or not isinstance(images, list) or not images:
        raise line_error(
            number,
            "images must be a list of objects with image_url or file_id, without image beside it",
        )
    plain = {name: value for name, value in body.items() if name != "images"}
    plain["image"] = [_referred(number, f"images[{i}]", image) for i, image in enumerate(images)]
    if body.get("mask") is not None:
        plain["mask"] = _referred(number, "mask", body["mask"])
    return plain


def _referred(number: int, name: str, value: object) -> str:
    match value:
        case {"image_url": str(url), **rest} if url.startswith(_REFERENCES) and not rest:
            return url
        case {"file_id": str(file_id), **rest} if file_id and not rest:
            return FILE_ID + file_id
    raise line_error(
        number,
        f"{name} is {repr(value)[:100]}; it must be an object with image_url (a URL) or file_id",
    )


def _checked(number: int, name: str, value: object) -> object:
    """Return *value* if all jobs can be counted with it; the session checks the rest."""
    if name == "n" and (isinstance(value, bool) or not isinstance(value, int | None)):
        raise line_error(number, f"n is {value!r}; it must be a whole number")
    if name == "n" and isinstance(value, int) and value > MOST_IMAGES:
        most = f"a line asks for {MOST_IMAGES:,} images at most: make several lines of it"
        raise line_error(number, f"n is {value:,}; {most}")
    if name == "model" and not isinstance(value, str | None):
        raise line_error(number, f"model is {value!r}; it must be a text")
    return value


def _files_of(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield field and path of each image, as they stand in the file."""
    for name in _FILES:
        value = body.get(name)
        if isinstance(value, list):
            named = [(f"{name}[{index}]", path) for index, path in enumerate(value)]
        else:
            named = [] if value is None else [(name, value)]
        yield from (each for each in named if not each[1].startswith((*_REFERENCES, FILE_ID)))


def _digest_of(
    number: int, field: str, folder: Path, path: str, digest: Callable[[str], str]
) -> str:
    whole = os.fspath(folder / path)
    try:
        if os.path.isfile(whole):  # noqa: PTH113 - Path.is_file raises for a name that is too long
            return digest(whole)
    except OSError as error:
        raise line_error(number, f"{field} is {path!r}; it cannot be read: {error}") from None
    raise line_error(number, f"{field} is {path!r}; there is no such file in {folder}")


def _digest(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123 - a text is what is remembered
        return hashlib.file_digest(file, "sha256").hexdigest()


def _paths(number: int, name: str, value: object, folder: Path) -> Path | str | list[Path | str]:
    if isinstance(value, list):
        return [_path(number, f"{name}[{i}]", entry, folder) for i, entry in enumerate(value)]
    return _path(number, name, value, folder)


def _path(number: int, name: str, value: object, folder: Path) -> Path | str:
    if not isinstance(value, str) or not value:
        raise line_error(number, f"{name} is {value!r}; it must be the path of an image file")
    return value if value.startswith((*_REFERENCES, FILE_ID)) else folder / value


def _key(number: int, endpoint: str, body: Mapping[str, Any], digests: list[str]) -> str:
    what = [endpoint, body, digests] if digests else [endpoint, body]
    try:
        canonical = msgspec.json.encode(what, order="deterministic")
    except (TypeError, ValueError, RecursionError) as error:
        raise line_error(number, f"holds a value that is no JSON: {error}") from None
    return hashlib.sha256(canonical).hexdigest()[:16]
