"""Request bodies: multipart forms and JSON into text fields, values and files. Pure.

The whole body is at hand (the server bounds it), so the form parser is a split at the boundary:
https://www.rfc-editor.org/rfc/rfc7578 and https://www.rfc-editor.org/rfc/rfc2046#section-5.1
(read 2026-11-21). It accepts what browsers, curl, requests, httpx, aiohttp and Node send.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from typing import Any, TypeAlias

import attrs
import msgspec

from imagesdk.emulator.refusals import (
    Refusal,
    array_too_long,
    duplicate_parameter,
    invalid_image,
    invalid_type,
    invalid_value,
    malformed_body,
    missing_parameter,
    string_too_long,
)

__all__ = (
    "FindFile",
    "Form",
    "UploadedFile",
    "media_type",
    "no_files",
    "parse_json",
    "parse_multipart",
    "read_references",
)

# Not in the documents: far above 16 images and all parameters.
_MAX_PARTS = 256
# images-api.md section 3.3, read 2026-11-20
_MAX_URL_CHARS = 20_971_520
_MAX_IMAGES = 16
_DATA_URL = re.compile(r"data:([\w.+/-]+)(?:;[\w=-]+)*;base64,", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class UploadedFile:
    """A file as it came in.

    Attributes:
        field: Name of the form field, such as ``image`` or ``image[]``.
        filename: Name that the client gave it.
        content_type: Type that the client declared, lower case, without parameters.
        data: The bytes.
    """

    field: str
    filename: str
    content_type: str
    data: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Form:
    """A parsed multipart body: text fields and files, in order."""

    fields: tuple[tuple[str, str], ...]
    files: tuple[UploadedFile, ...]


def media_type(header: str) -> str:
    """Return the type in a Content-Type header, lower case, without parameters."""
    return header.partition(";")[0].strip().lower()


def parse_json(body: bytes) -> dict[str, Any] | Refusal:
    """Return the object in a JSON body, or refuse the body."""
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return malformed_body("JSON")
    return value if isinstance(value, dict) else malformed_body("JSON")


def parse_multipart(body: bytes, content_type: str) -> Form | Refusal:
    """Return the fields and files of a multipart body, or refuse the body.

    Args:
        body: The body.
        content_type: The whole Content-Type header, which names the boundary.
    """
    boundary = _header_value("Content-Type", content_type, "boundary")
    parts = _split(body, boundary.encode("utf-8", "replace")) if boundary else None
    if parts is None:
        return malformed_body("multipart form")
    fields: list[tuple[str, str]] = []
    files: list[UploadedFile] = []
    for part in parts:
        entry = _read_part(part)
        if entry is None:
            return malformed_body("multipart form")
        if isinstance(entry, UploadedFile):
            files.append(entry)
        else:
            fields.append(entry)
    return _without_duplicates(Form(fields=tuple(fields), files=tuple(files)))


def _split(body: bytes, boundary: bytes) -> list[bytes] | None:
    """Return the parts between boundaries, or None if the body is no finished multipart body."""
    delimiter = b"\r\n--" + boundary
    pieces = (b"\r\n" + body).split(delimiter, _MAX_PARTS + 1)
    preamble_and_parts, end = pieces[:-1], pieces[-1]
    if not preamble_and_parts or not end.startswith(b"--"):
        return None
    return preamble_and_parts[1:]


def _read_part(part: bytes) -> tuple[str, str] | UploadedFile | None:
    """Return the text field or the file in a part, or None if it is neither."""
    line_rest, newline, rest = part.partition(b"\r\n")
    if line_rest.strip(b" \t") or not newline:
        return None
    head, blank, data = (b"\r\n" + rest).partition(b"\r\n\r\n")
    headers = _read_headers(head)
    disposition = headers.get("content-disposition", "")
    name = _header_value("Content-Disposition", disposition, "name")
    if not blank or name is None:
        return None
    filename = _header_value("Content-Disposition", disposition, "filename")
    if filename is not None:
        # https://www.rfc-editor.org/rfc/rfc7578#section-4.4: octet-stream if the type is unknown
        content_type = headers.get("content-type", "application/octet-stream")
        return UploadedFile(
            field=name, filename=filename, content_type=media_type(content_type), data=data
        )
    try:
        return name, data.decode()
    except UnicodeDecodeError:
        return None


def _read_headers(head: bytes) -> dict[str, str]:
    """Return the headers of a part, names in lower case."""
    lines = head.decode("utf-8", "replace").split("\r\n")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _header_value(header: str, text: str, parameter: str) -> str | None:
    """Return a parameter of a header, plain, quoted or RFC 2231 (``filename*``), or None."""
    message = Message()
    message[header] = text.encode("utf-8", "replace").decode().replace("\n", " ").replace("\r", " ")
    value = message.get_param(parameter, header=header)
    if isinstance(value, tuple):  # charset, language, text
        charset, _, encoded = value
        try:
            return encoded.encode("latin-1", "replace").decode(charset or "utf-8", "replace")
        except LookupError:
            return encoded
    return value


def _without_duplicates(form: Form) -> Form | Refusal:
    """Refuse a form with a field that came twice, except ``name[]``."""
    names = Counter([name for name, _ in form.fields] + [file.field for file in form.files])
    for name, count in names.items():
        if count > 1 and not name.endswith("[]"):
            return duplicate_parameter(name)
    return form


FindFile: TypeAlias = Callable[[str], UploadedFile | None]
"""Returns the file of an id, None if there is none."""


def no_files(_file_id: str) -> None:
    """Find no file."""


def read_references(
    params: Mapping[str, Any], find_file: FindFile = no_files
) -> tuple[UploadedFile, ...] | Refusal:
    """Return the files that ``images`` and ``mask`` of a JSON edit carry or name, or refuse them.

    The emulator reaches for no network: of URLs only data URLs carry a file.

    Args:
        params: The body.
        find_file: Looks in the server's own files.
    """
    images = params["images"]
    if not images:
        return missing_parameter("images")
    if len(images) > _MAX_IMAGES:
        return array_too_long("images", _MAX_IMAGES, len(images))
    sources = [("image", f"images[{index}]", image) for index, image in enumerate(images)]
    if params.get("mask") is not None:
        sources.append(("mask", "mask", params["mask"]))
    return _collect([_read_reference(*source, find_file) for source in sources])


def _collect(results: Sequence[UploadedFile | Refusal]) -> tuple[UploadedFile, ...] | Refusal:
    """Return all files, or the first refusal."""
    files: list[UploadedFile] = []
    for result in results:
        if isinstance(result, Refusal):
            return result
        files.append(result)
    return tuple(files)


def _read_reference(
    role: str, param: str, reference: object, find_file: FindFile
) -> UploadedFile | Refusal:
    """Return the file behind ``{"image_url": ...}`` or ``{"file_id": ...}``, or refuse the reference."""
    if not isinstance(reference, dict):
        return invalid_type(param, "an object", reference)
    if len(reference) != 1 or not reference.keys() <= {"image_url", "file_id"}:
        return invalid_value(
            param, f"Invalid '{param}': give exactly one of 'image_url' and 'file_id'."
        )
    if "file_id" in reference:
        file_id = reference["file_id"]
        found = find_file(file_id) if isinstance(file_id, str) else None
        if found is None:
            what = "The file does not exist."
            return invalid_image(param, what, "image_file_not_found")
        return attrs.evolve(found, field=role)
    return _read_url(role, f"{param}.image_url", reference["image_url"])


def _read_url(role: str, param: str, url: object) -> UploadedFile | Refusal:
    """Return the file in a data URL, or refuse the URL."""
    if not isinstance(url, str):
        return invalid_type(param, "a string", url)
    if len(url) > _MAX_URL_CHARS:
        return string_too_long(param, _MAX_URL_CHARS, len(url))
    if url.startswith(("http://", "https://")):
        return invalid_image(
            param,
            "Failed to download the image: the emulator reaches for no network, "
            "send a data URL instead.",
            "failed_to_download_image",
        )
    head = _DATA_URL.match(url)
    if head is None:
        return invalid_image(param, f"Invalid '{param}': no image URL.", "invalid_image_url")
    try:
        data = b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        return invalid_image(param, f"Invalid '{param}': bad base64.", "invalid_base64_image")
    return UploadedFile(field=role, filename="", content_type=head[1].lower(), data=data)
