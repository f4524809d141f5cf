"""Uploaded pictures: reading them safely, and the rules for what they must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO

import attrs
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from imagesdk.emulator.refusals import Refusal, invalid_image
from imagesdk.emulator.spec import UploadLimits

__all__ = ("MAX_PIXELS", "Picture", "check_pictures", "read_picture")

# Not in the documents: keeps a small upload from unpacking into gigabytes.
MAX_PIXELS = 64 * 1024 * 1024
# images-api.md section 3.3, read 2026-11-20
_MAX_MASK_BYTES = 4 * 1024 * 1024
# The last chunk of every PNG; Pillow does not miss it when it has been cut off.
_PNG_END = b"IEND\xaeB`\x82"

_OPENERS: tuple[tuple[str, Callable[[bytes], bool], type[ImageFile]], ...] = (
    ("png", lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), PngImageFile),
    ("jpeg", lambda data: data.startswith(b"\xff\xd8\xff"), JpegImageFile),
    ("webp", lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", WebPImageFile),
)


@attrs.frozen(kw_only=True)
class Picture:
    """An uploaded file after a look at its bytes.

    Attributes:
        role: ``image``, ``mask`` or ``markup``.
        content_type: Declared type.
        size_bytes: Length of the file.
        format: ``png``, ``jpeg``, ``webp``, or None if the bytes are none of them.
        size: Width and height in pixels, upright; (0, 0) if unknown.
        image: Decoded pixels, or None if the bytes are damaged or there are too many pixels.
        has_alpha: Whether there is an alpha channel or a transparent colour.
    """

    role: str
    content_type: str
    size_bytes: int
    format: str | None = None
    size: tuple[int, int] = (0, 0)
    image: Image.Image | None = attrs.field(default=None, repr=False)
    has_alpha: bool = False


def read_picture(role: str, content_type: str, data: bytes) -> Picture:
    """Decode an upload. Never raises; slow, so call it in a thread.

    Pillow's openers are chosen by signature and called directly: no format outside the contract
    is ever tried, and the number of pixels is known before the first one is decoded.
    """
    picture = Picture(role=role, content_type=content_type, size_bytes=len(data))
    for name, matches, opener in _OPENERS:
        if matches(data):
            picture = attrs.evolve(picture, format=name)
            cut_short = name == "png" and _PNG_END not in data
            return picture if cut_short else _decode(picture, opener, data)
    return picture


def _decode(picture: Picture, opener: type[ImageFile], data: bytes) -> Picture:
    """Return *picture* with its pixels, or without them if the bytes are damaged."""
    try:
        file = opener(BytesIO(data))
        if file.width * file.height > MAX_PIXELS:
            return attrs.evolve(picture, size=file.size)
        file.load()
        image = ImageOps.exif_transpose(file)
        has_alpha = image.has_transparency_data
    except Exception:  # noqa: BLE001  # decoders raise whatever the damage makes them raise
        return picture
    return attrs.evolve(picture, size=image.size, image=image, has_alpha=has_alpha)


def check_pictures(
    limits: UploadLimits, pictures: Sequence[Picture], *, alpha_is_mask: bool
) -> Refusal | None:
    """Refuse a request for its pictures, or return None.

    Args:
        limits: What the family accepts.
        pictures: All uploads of the request.
        alpha_is_mask: Whether an image without a mask must itself be transparent somewhere.
    """
    images = [picture for picture in pictures if picture.role == "image"]
    overlays = [picture for picture in pictures if picture.role != "image"]
    for picture in images:
        if refusal := _check_image(limits, picture):
            return refusal
    for picture in overlays:
        if refusal := _check_overlay(limits, picture, images[0]):
            return refusal
    if alpha_is_mask and not overlays and images and not images[0].has_alpha:
        return invalid_image(
            "image",
            "Invalid input image - without a mask the image must have transparency, "
            "which is used as the mask.",
            "invalid_image_mode",
        )
    return None


def _check_image(limits: UploadLimits, picture: Picture) -> Refusal | None:
    """Refuse one input image."""
    refusal = _check_file(picture, limits.mimetypes, limits.formats, limits.max_bytes)
    if refusal is None and limits.square and picture.size[0] != picture.size[1]:
        return invalid_image(
            "image", f"Uploaded image must be square, but it is {_times(picture.size)} pixels."
        )
    return refusal


def _check_overlay(limits: UploadLimits, picture: Picture, image: Picture) -> Refusal | None:
    """Refuse a mask or a markup that does not fit *image*."""
    mimetypes = None if limits.mimetypes is None else ("image/png",)
    if refusal := _check_file(picture, mimetypes, ("png",), _MAX_MASK_BYTES):
        return refusal
    role = picture.role
    if picture.size != image.size:
        return invalid_image(
            role,
            f"Invalid {role}: it must have the dimensions of the image, "
            f"{_times(image.size)}, but has {_times(picture.size)}.",
        )
    if not picture.has_alpha:
        return invalid_image(
            role, f"Invalid {role}: it must have an alpha channel.", "invalid_image_mode"
        )
    if role == "markup" and not _is_see_through(picture):
        return invalid_image(
            role, "Invalid markup: it must contain transparent pixels.", "invalid_image_mode"
        )
    return None


def _check_file(
    picture: Picture,
    mimetypes: tuple[str, ...] | None,
    formats: tuple[str, ...],
    max_bytes: int,
) -> Refusal | None:
    """Refuse a file for its declared type, length, format or damage."""
    role = picture.role
    names = ", ".join(name.upper() for name in formats)
    # whether it is at fault, code, message; the first fault counts
    faults = (
        (picture.size_bytes == 0, "empty_image_file", f"Invalid file '{role}': it is empty."),
        (
            mimetypes is not None and picture.content_type not in mimetypes,
            "unsupported_file_mimetype",
            _mimetype_message(picture),
        ),
        (
            picture.size_bytes >= max_bytes,
            "image_file_too_large",
            f"Uploaded {role} must be less than {max_bytes // 1024**2} MB.",
        ),
        (
            picture.format not in formats,
            "invalid_image_format",
            f"Uploaded {role} must be a {names}.",
        ),
        (
            picture.size[0] * picture.size[1] > MAX_PIXELS,
            "image_too_large",
            f"Uploaded {role} has more than {MAX_PIXELS} pixels.",
        ),
        (
            picture.image is None,
            "invalid_image",
            f"Invalid image file '{role}': it is damaged or cut short.",
        ),
    )
    found = ((code, message) for at_fault, code, message in faults if at_fault)
    return next((invalid_image(role, message, code) for code, message in found), None)


def _mimetype_message(picture: Picture) -> str:
    """Return the server's words for a declared type that it does not take."""
    supported = (
        "Supported file formats are 'image/jpeg', 'image/png', and 'image/webp'."
        if picture.role == "image"
        else "Supported file format is 'image/png'."
    )
    return (
        f"Invalid file '{picture.role}': unsupported mimetype "
        f"('{picture.content_type[:200]}'). {supported}"
    )


def _is_see_through(picture: Picture) -> bool:
    """Return whether any pixel is not fully opaque."""
    if picture.image is None:  # pragma: no cover - damaged pictures are refused before
        return False
    return picture.image.convert("RGBA").getchannel("A").getextrema() != (255, 255)


def _times(size: tuple[int, int]) -> str:
    """Write a size as the API does."""
    return f"{size[0]}x{size[1]}"
