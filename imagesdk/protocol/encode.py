"""Turn a request record into the method, path, headers and body that a server understands.

Generations are JSON, edits and variations are forms, or JSON where the server's profile says so. By
default one image is the field ``image``, several are ``image[]``: servers refuse a repeated ``image``
(https://github.com/openai/openai-ruby/pull/311) and some refuse ``image[]`` for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from imagesdk.models.dialects import spell
from imagesdk.models.families import ModelFamily
from imagesdk.models.profiles import ServerProfile
from imagesdk.models.requests import FILE_ID, ImageRequest, StreamOptions, body_fields
from imagesdk.protocol.jsonbody import DataURL, JSONBody, encode_json
from imagesdk.protocol.multipart import FilePart, MultipartBody, Source, encode_multipart

__all__ = ("BytesBody", "InputFile", "WireRequest", "encode", "json_image")

_PLAIN = ServerProfile(name="classic")


@attrs.frozen(kw_only=True)
class BytesBody:
    """A small body that is held in memory.

    Attributes:
        content_type: Value of the Content-Type header.
        data: The bytes.
    """

    content_type: str
    data: bytes

    @property
    def size_bytes(self) -> int:
        """Exact length of the body."""
        return len(self.data)

    @property
    def segments(self) -> tuple[bytes | Source, ...]:
        """The body as one segment."""
        return (self.data,)


@attrs.frozen(kw_only=True)
class InputFile:
    """An image input that is ready to be sent.

    Attributes:
        field: ``"image"``, ``"mask"`` or ``"markup"``.
        filename: Name for the server.
        content_type: MIME type, from the bytes.
        source: The bytes.
        reference: A URL, or ``"file_id:…"`` of an uploaded file, that the server fetches by itself: then
            there are no bytes. Else ``""``.
    """

    field: str
    filename: str
    content_type: str
    source: Source
    reference: str = ""


@attrs.frozen(kw_only=True)
class WireRequest:
    """An HTTP request without the server's origin and without credentials.

    Attributes:
        method: ``"POST"``, or ``"GET"`` for downloads.
        path: Relative to base_url, without a leading slash; or an absolute URL.
        headers: Names as they are sent.
        body: None for GET.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: BytesBody | JSONBody | MultipartBody | None

    @property
    def replayable(self) -> bool:
        """True if the body can be sent more than once."""
        if self.body is None:
            return True
        return all(isinstance(s, bytes) or s.replayable for s in self.body.segments)


def encode(
    request: ImageRequest,
    family: ModelFamily,
    files: Sequence[InputFile],
    *,
    boundary: str,
    profile: ServerProfile = _PLAIN,
    stream: StreamOptions | None = None,
    url: str | None = None,
    own_headers: Mapping[str, str] | None = None,
) -> WireRequest:
    """Encode *request* for one attempt.

    Args:
        request: Arguments left at None are omitted.
        family: Says whether ``response_format`` may be sent.
        files: The image inputs, in the order of the request.
        boundary: Between the parts of a form: see `imagesdk.protocol.multipart.encode_multipart`.
        profile: How the server wants it.
        stream: How the answer is streamed, None for one document.
        url: Where it goes, None for the bare path that the profile names.
        own_headers: Headers that the request's own may replace.
    """
    fields = body_fields(request)
    if not family.sends_response_format:
        fields.pop("response_format", None)
    if not profile.is_standard:
        fields = spell(fields, request.endpoint, profile)
    accept = "application/json"
    if stream is not None:
        accept = f"text/event-stream, {accept}"
        fields["stream"] = True
        if stream.partial_images is not None:
            fields["partial_images"] = stream.partial_images
    if request.extra_body:
        fields |= request.extra_body
    body: BytesBody | JSONBody | MultipartBody
    if request.endpoint == "generations":
        body = BytesBody(content_type="application/json", data=_JSON.encode(fields))
    elif request.endpoint == "edits" and profile.edit_body == "json":
        body = encode_json(fields | _json_images(files, profile), boundary=boundary)
    else:
        parts = _file_parts(files, profile)
        body = encode_multipart(_flatten(fields), parts, boundary=boundary)
    headers = {**(own_headers or {}), "Accept": accept}
    if request.extra_headers:
        given = {name.lower() for name in request.extra_headers}
        headers = {name: value for name, value in headers.items() if name.lower() not in given}
        headers |= request.extra_headers
    path = profile.paths[request.endpoint] if url is None else url
    return WireRequest(method="POST", path=path, headers=headers, body=body)


def _file_parts(files: Sequence[InputFile], profile: ServerProfile) -> list[FilePart]:
    several = sum(file.field == "image" for file in files) > 1
    image = profile.images_field if several else None
    names = {"image": image or profile.image_field, "mask": profile.mask_field or "mask"}
    return [
        FilePart(
            name=names.get(file.field, file.field),
            filename=file.filename,
            content_type=file.content_type,
            source=file.source,
        )
        for file in files
    ]


def json_image(file: InputFile, url_key: str | None) -> object:
    """Return what stands for an image in JSON: its URL, for itself or in an object under *url_key*."""
    if file.reference.startswith(FILE_ID) and url_key is not None:
        return {"file_id": file.reference.removeprefix(FILE_ID)}
    url = file.reference or DataURL(file.content_type, file.source)
    return url if url_key is None else {url_key: url}


def _json_images(files: Sequence[InputFile], profile: ServerProfile) -> dict[str, Any]:
    """Return the fields of a JSON body that hold images."""
    key = profile.url_key
    images = [json_image(file, key) for file in files if file.field == "image"]
    as_list = len(images) > 1 or profile.image_field == profile.images_field
    name = profile.images_field if as_list else None
    body: dict[str, Any] = {name or profile.image_field: images if as_list else images[0]}
    for file in files:
        if file.field == "mask":
            body[profile.mask_field or "mask"] = json_image(file, key)
    return body


def _plain(value: object) -> object:
    """Give msgspec a dict for a mapping of another type."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} has no form in JSON")


_JSON = msgspec.json.Encoder(enc_hook=_plain)


def _flatten(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Spell nested fields as forms do: ``svg[reasoning][effort]``, ``loras[][name]``."""
    match value:
        case None:
            pass
        case Mapping():
            for key, item in value.items():
                yield from _flatten(item, f"{name}[{key}]" if name else str(key))
        case list() | tuple():
            for item in value:
                yield from _flatten(item, f"{name}[]")
        case bool():
            yield name, "true" if value else "false"
        case _:
            yield name, str(value)
