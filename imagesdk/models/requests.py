"""The records of what a user asks for, and the types of its image inputs.

Types only: limits are data in `imagesdk.models.profiles` and are checked in `imagesdk.models.checks`.
Fields are spelled as on the wire. A field that is None is left out of the request, and the server's
default applies.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from operator import attrgetter
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import attrs

from imagesdk.models.choices import (
    Background,
    Complexity,
    InputFidelity,
    Model,
    Moderation,
    OutputFormat,
    Quality,
    ResponseFormat,
    Size,
    Style,
)

__all__ = (
    "FILE_ID",
    "BinaryReader",
    "EditRequest",
    "Endpoint",
    "GenerateRequest",
    "ImageInfo",
    "ImageInput",
    "ImageRequest",
    "InputInfos",
    "NamedImage",
    "PathLike",
    "PictureObject",
    "StreamOptions",
    "VariationRequest",
    "body_fields",
    "file_fields",
    "given_repr",
    "shape_of",
)

Endpoint: TypeAlias = Literal["generations", "edits", "variations"]


class BinaryReader(Protocol):
    """A binary file object: ``open(path, "rb")``, BytesIO, an upload of a web framework."""

    def read(self, size: int = ..., /) -> bytes:
        """Return at most *size* bytes, ``b""`` at the end."""
        ...


class PathLike(Protocol):
    """A path: `pathlib.Path`, `os.DirEntry` and whatever else `os.fspath` takes."""

    def __fspath__(self) -> str:
        """Return the path as text."""
        ...


class PictureObject(Protocol):
    """The part of ``PIL.Image.Image`` that is used: enough to encode it as PNG."""

    @property
    def mode(self) -> str:
        """Pixel format, for example ``"RGBA"``."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        ...

    def save(self, fp: Any, format: str | None = ..., **params: Any) -> None:  # noqa: A002, ANN401
        """Encode the image into a file."""
        ...


FILE_ID = "file_id:"
"""What stands before the id of a file that was uploaded to the server before."""

NamedImage: TypeAlias = (
    tuple[str | None, bytes | bytearray | memoryview | BinaryReader]
    | tuple[str | None, bytes | bytearray | memoryview | PathLike | BinaryReader, str | None]
)
"""(filename, content) or (filename, content, MIME type); None lets the bytes decide."""

ImageInput: TypeAlias = (
    bytes | bytearray | memoryview | str | PathLike | BinaryReader | NamedImage | PictureObject
)
"""An image: bytes, a path, a data URL, a binary file object, (filename, content, MIME type), a PIL image.
Servers whose edits are JSON also take the http(s) URL of one, or ``"file_id:…"`` of a file uploaded before.

A `BytesIO` is sent whole, as ``getvalue()`` gives it, wherever its position is. Other file objects are
sent from their current position and are never closed.
"""


@attrs.frozen(kw_only=True)
class ImageInfo:
    """What the header of an image file says, read without decoding a pixel.

    Attributes:
        format: ``"png"``, ``"jpeg"``, ``"webp"`` or ``"gif"``.
        width: In pixels.
        height: In pixels.
        has_alpha: True if it has an alpha channel or a transparent palette entry or colour.
        size_bytes: Size of the file.
    """

    format: str
    width: int
    height: int
    has_alpha: bool
    size_bytes: int


@attrs.frozen(kw_only=True)
class InputInfos:
    """The headers of a request's image inputs.

    Attributes:
        images: In the order in which they were given.
        mask: None without a mask.
        markup: None without a markup.
    """

    images: tuple[ImageInfo, ...] = ()
    mask: ImageInfo | None = None
    markup: ImageInfo | None = None


def given_repr(record: attrs.AttrsInstance, *known: str) -> str:
    """Return the repr of a record that has many fields, without those that are None; *known* stands first."""
    fields = [a for a in attrs.fields(type(record)) if a.repr]
    given = [(a, value) for a in fields if (value := getattr(record, a.name)) is not None]
    shown = [f"{a.name}={a.repr(value) if callable(a.repr) else repr(value)}" for a, value in given]
    return f"{type(record).__name__}({', '.join([*known, *shown])})"


@attrs.frozen
class GenerateRequest:
    """Text to image: ``POST /images/generations``.

    Attributes:
        prompt: The wanted picture. The more detailed, the more likely it is to be what you want.
        model: None for the session's model.
        n: Number of images, any number from 1 up: more than one request may carry is split.
        size: ``"1024x1024"`` and so on; smaller is faster.
        quality: For example ``"low"``, ``"high"``, ``"auto"``.
        style: dall-e-3 only: ``"vivid"`` or ``"natural"``.
        response_format: ``"url"`` or ``"b64_json"``; not sent to GPT Image models, which always send b64_json.
        background: ``"transparent"`` (png and webp only), ``"opaque"`` or ``"auto"``.
        moderation: ``"low"`` or ``"auto"``.
        output_format: ``"png"``, ``"jpeg"`` or ``"webp"``; ``"gif"`` and ``"svg"`` need preview access.
        output_compression: 0 to 100, for webp and jpeg.
        complexity: ``"low"``, ``"medium"`` or ``"high"``.
        frame_count: 2 to 16, for gif.
        frame_duration_ms: Milliseconds a frame, for gif.
        svg: Options of svg output: ``{"model": …, "reasoning": {"effort": …}}``.
        safety_identifier: A stable, anonymous identifier of your end user.
        user: The older name of safety_identifier.
        extra_body: Further fields for the body; they win over the fields above.
        extra_headers: Further headers of the request.
    """

    endpoint: ClassVar[Endpoint] = "generations"

    prompt: str
    model: Model | None = attrs.field(default=None, kw_only=True)
    n: int | None = attrs.field(default=None, kw_only=True)
    size: Size | None = attrs.field(default=None, kw_only=True)
    quality: Quality | None = attrs.field(default=None, kw_only=True)
    style: Style | None = attrs.field(default=None, kw_only=True)
    response_format: ResponseFormat | None = attrs.field(default=None, kw_only=True)
    background: Background | None = attrs.field(default=None, kw_only=True)
    moderation: Moderation | None = attrs.field(default=None, kw_only=True)
    output_format: OutputFormat | None = attrs.field(default=None, kw_only=True)
    output_compression: int | None = attrs.field(default=None, kw_only=True)
    complexity: Complexity | None = attrs.field(default=None, kw_only=True)
    frame_count: int | None = attrs.field(default=None, kw_only=True)
    frame_duration_ms: int | None = attrs.field(default=None, kw_only=True)
    svg: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    safety_identifier: str | None = attrs.field(default=None, kw_only=True)
    user: str | None = attrs.field(default=None, kw_only=True)
    extra_body: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    extra_headers: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, repr=False)

    def __repr__(self) -> str:
        return given_repr(self)


@attrs.frozen
class EditRequest:
    """Edit or combine images: ``POST /images/edits``.

    Attributes:
        image: The image, or up to 16 for GPT Image models. Classic: square PNG smaller than 4 MiB; without
            a mask its own transparent area is edited.
        prompt: The full new image, not just the erased area.
        mask: PNG with the size of the (first) image. Where its alpha is 0 the image is edited; what
            colour the rest of the mask has does not matter.
        markup: GPT Image 2.5: transparent PNG with the size of the image, drawn instructions; not with mask.
        input_fidelity: ``"high"`` or ``"low"``.

    The other attributes are those of `GenerateRequest`.
    """

    endpoint: ClassVar[Endpoint] = "edits"

    image: ImageInput | Sequence[ImageInput] = attrs.field(repr=False)
    prompt: str
    mask: ImageInput | None = attrs.field(default=None, kw_only=True, repr=False)
    markup: ImageInput | None = attrs.field(default=None, kw_only=True, repr=False)
    model: Model | None = attrs.field(default=None, kw_only=True)
    n: int | None = attrs.field(default=None, kw_only=True)
    size: Size | None = attrs.field(default=None, kw_only=True)
    quality: Quality | None = attrs.field(default=None, kw_only=True)
    response_format: ResponseFormat | None = attrs.field(default=None, kw_only=True)
    background: Background | None = attrs.field(default=None, kw_only=True)
    input_fidelity: InputFidelity | None = attrs.field(default=None, kw_only=True)
    output_format: OutputFormat | None = attrs.field(default=None, kw_only=True)
    output_compression: int | None = attrs.field(default=None, kw_only=True)
    complexity: Complexity | None = attrs.field(default=None, kw_only=True)
    frame_count: int | None = attrs.field(default=None, kw_only=True)
    frame_duration_ms: int | None = attrs.field(default=None, kw_only=True)
    svg: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    safety_identifier: str | None = attrs.field(default=None, kw_only=True)
    user: str | None = attrs.field(default=None, kw_only=True)
    extra_body: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    extra_headers: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, repr=False)

    def __repr__(self) -> str:
        return given_repr(self)


@attrs.frozen
class VariationRequest:
    """Variations of an image: ``POST /images/variations``, served by classic servers only.

    Attributes:
        image: Square PNG smaller than 4 MiB.

    The other attributes are those of `GenerateRequest`.
    """

    endpoint: ClassVar[Endpoint] = "variations"

    image: ImageInput = attrs.field(repr=False)
    model: Model | None = attrs.field(default=None, kw_only=True)
    n: int | None = attrs.field(default=None, kw_only=True)
    size: Size | None = attrs.field(default=None, kw_only=True)
    response_format: ResponseFormat | None = attrs.field(default=None, kw_only=True)
    user: str | None = attrs.field(default=None, kw_only=True)
    extra_body: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)
    extra_headers: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, repr=False)

    def __repr__(self) -> str:
        return given_repr(self)


@attrs.frozen(kw_only=True)
class StreamOptions:
    """How the answer to a request is streamed.

    Attributes:
        partial_images: Images on the way, 0 to 3; None for the server's default.
    """

    partial_images: int | None = None


ImageRequest: TypeAlias = GenerateRequest | EditRequest | VariationRequest

_FILES = ("image", "mask", "markup")
_NOT_IN_BODY = frozenset((*_FILES, "extra_body", "extra_headers"))
_NAMES: dict[Endpoint, tuple[str, ...]] = {
    kind.endpoint: tuple(a.name for a in attrs.fields(kind))
    for kind in (GenerateRequest, EditRequest, VariationRequest)
}
_BODY_FIELDS = {
    endpoint: (body_names, attrgetter(*body_names))
    for endpoint, names in _NAMES.items()
    for body_names in [tuple(name for name in names if name not in _NOT_IN_BODY)]
}
_SHAPE = attrgetter(
    *({*_BODY_FIELDS["generations"][0]} - {"prompt", "svg", "user", "safety_identifier"})
)
_FILE_NAMES = {
    endpoint: tuple(name for name in _FILES if name in names) for endpoint, names in _NAMES.items()
}


def body_fields(request: ImageRequest) -> dict[str, Any]:
    """Return the fields of the body that were given, by their wire names, without files and extras."""
    names, values_of = _BODY_FIELDS[request.endpoint]
    values = values_of(request)
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def shape_of(request: ImageRequest) -> Hashable | None:
    """Return what is the same for two requests that differ in their prompts and end users alone.

    None if that is not told: for requests with files, or with fields that are no plain values.
    """
    if not isinstance(request, GenerateRequest) or request.svg or request.extra_body:
        return None
    values = _SHAPE(request)
    try:
        hash(values)
    except TypeError:
        return None
    types = tuple(map(type, values))  # True == 1, and is no number of images
    return values, types, type(request.user), type(request.safety_identifier)


def file_fields(kind: type[ImageRequest]) -> tuple[str, ...]:
    """Return the names of the fields of a request's type that take image files."""
    return _FILE_NAMES[kind.endpoint]
