"""Open a picture in whatever form it is given, and encode the one that is made of it.

The only part of the package that decodes what users bring: its size in pixels is checked before.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import pybase64

from imagesdk.errors import ConfigurationError, InvalidImageError
from imagesdk.models.requests import ImageInput

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = ("MAX_PIXELS", "Draft", "Prepared", "draft", "has_alpha", "invalid")

MAX_PIXELS = 64_000_000
"""Most pixels that are decoded unless the caller says otherwise: 256 MB in memory."""
_ORIENTATION = 0x0112  # the tag of EXIF
_MODES = ("L", "LA", "RGB", "RGBA")
_SAME_COLOURS = ("1", "P", "PA", "La", "RGBa")
_LOSSY_QUALITY = 92


@attrs.frozen(kw_only=True)
class Prepared:
    """A picture that is ready to be sent.

    Attributes:
        data: The image file: pass it as an image or a mask, or write it to disk.
        format: ``"png"``, ``"jpeg"``, ``"webp"``, or what the picture was if nothing was changed.
        width: In pixels.
        height: In pixels.
        changes: What was done to the picture, in order, one sentence each; empty if it is byte for
            byte what was given.
    """

    data: bytes = attrs.field(repr=False)
    format: str
    width: int
    height: int
    changes: tuple[str, ...] = ()


@attrs.define(kw_only=True, eq=False)
class Draft:
    """A picture that is worked on.

    Attributes:
        picture: As it is now: upright, in mode L, LA, RGB or RGBA.
        data: The file that it came from, None if it came from no file or was changed.
        format: Of that file, in lower case; ``"png"`` without one.
        losses: What else is done to the picture if it is encoded anew.
        changes: What was done to it on purpose.
        turned: How it was turned upright, ``""`` if it was upright.
    """

    picture: Picture
    data: bytes | None
    format: str
    losses: list[str] = attrs.field(factory=list)
    changes: list[str] = attrs.field(factory=list)
    turned: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.picture.size

    def change(self, picture: Picture, what: str) -> None:
        """Go on with another picture, and say what was done."""
        self.picture, self.data = picture, None
        self.changes.append(what)

    def as_it_is(self) -> Prepared | None:
        """Return the file that was given, None if the picture was changed."""
        if self.data is None:
            return None
        width, height = self.size
        return Prepared(data=self.data, format=self.format, width=width, height=height)

    def encode(self, kind: str) -> Prepared:
        """Encode it: ``"png"``, ``"jpeg"`` or ``"webp"``. Of its metadata only the colour profile is kept."""
        changes = [*self.losses, *self.changes]
        if kind != self.format:
            changes.append(f"encoded as {kind} instead of {self.format}")
        picture = self.picture
        if kind == "jpeg" and picture.mode in ("LA", "RGBA"):
            if picture.getchannel("A").getextrema() != (255, 255):
                changes.append("put on white: JPEG has no transparency")
            picture = _flattened(picture)
        options: dict[str, Any] = {} if kind == "png" else {"quality": _LOSSY_QUALITY}
        if profile := picture.info.get("icc_profile"):
            options["icc_profile"] = profile
        buffer = io.BytesIO()
        picture.save(buffer, kind.upper(), **options)
        width, height = picture.size
        return Prepared(
            data=buffer.getvalue(),
            format=kind,
            width=width,
            height=height,
            changes=tuple(changes),
        )


def draft(name: str, image: ImageInput, max_pixels: int) -> Draft:
    """Open *image*, turn it upright and decode it.

    Args:
        name: Of the argument, for messages.
        image: See `imagesdk.ImageInput`; a file object is read from its position, which is then as before.
        max_pixels: Most width x height.

    Raises:
        InvalidImageError: It cannot be read, is no image or has more pixels than that.
        ConfigurationError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ConfigurationError(
            "imagesdk.prepare needs Pillow: python -m pip install 'imagesdk[prepare]'"
        ) from error
    content = _content(name, image)
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    with _told_as_ours(name):
        try:
            picture = (
                Image.open(io.BytesIO(content))
                if isinstance(content, bytes)
                else cast("Picture", content)
            )
        except bombs as error:
            raise invalid(name, str(error), f"at most {max_pixels:,} pixels", "scale it") from None
        except UnidentifiedImageError:
            begin = f"a file that begins with {content[:8]!r}"
            formats = "an image file that Pillow reads"
            raise invalid(name, begin, formats, "convert it to PNG or JPEG") from None
        pixels = picture.width * picture.height
        if pixels > max_pixels:
            raise invalid(
                name,
                f"{picture.width}x{picture.height}, {pixels:,} pixels",
                f"at most {max_pixels:,} pixels",
                "scale it down, or raise max_pixels if there is memory for it",
            )
        found = Draft(
            picture=picture,
            data=content if isinstance(content, bytes) else None,
            format=(getattr(picture, "format", None) or "png").lower(),
            losses=list(_losses(picture, content)),
        )
        turned = picture.getexif().get(_ORIENTATION, 1)
        picture.load()  # of an animation, the first frame
        if turned in range(2, 9):
            found.turned = f"turned upright (EXIF orientation {turned})"
            found.change(ImageOps.exif_transpose(picture), found.turned)
        if picture.mode not in _MODES:
            found.picture = found.picture.convert("RGBA" if has_alpha(picture) else "RGB")
    return found


def _losses(picture: Picture, content: object) -> Iterator[str]:
    """Yield what a picture loses when it is encoded anew."""
    if (frames := getattr(picture, "n_frames", 1)) > 1:
        yield f"kept the first of {frames} frames"
    if picture.mode not in (*_MODES, *_SAME_COLOURS):
        yield f"converted from {picture.mode} to RGB"
    if set(picture.getexif()) - {_ORIENTATION}:
        yield "left out EXIF metadata"
    if isinstance(content, bytes) and b"c2pa" in content:
        yield "left out content credentials (C2PA), which hold for the original alone"


def has_alpha(picture: Picture) -> bool:
    """Tell whether a picture has transparency of any kind."""
    return picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info


def _flattened(picture: Picture) -> Picture:
    """Put a picture with transparency on white."""
    from PIL import Image

    with_alpha = picture.convert("RGBA")
    white = Image.new("RGBA", with_alpha.size, "white")
    return Image.alpha_composite(white, with_alpha).convert("RGB")


def _content(name: str, image: Any) -> Any:  # noqa: ANN401 - whatever it is
    """Return the bytes of an image input, or the PIL image that it is."""
    if isinstance(image, tuple) and len(image) in (2, 3):  # (filename, content, MIME type)
        image = image[1]
    if all(hasattr(image, attribute) for attribute in ("mode", "size", "save", "convert")):
        return image
    with _told_as_ours(name):
        if isinstance(image, bytes | bytearray | memoryview):
            return bytes(image)
        if isinstance(image, io.BytesIO):
            return image.getvalue()
        if isinstance(image, str) and image.startswith("data:"):
            return pybase64.b64decode(image.partition(",")[2], validate=True)
        if isinstance(image, str | os.PathLike):
            return Path(image).read_bytes()
        if callable(read := getattr(image, "read", None)):
            return _read(image, read)
    raise invalid(
        name,
        type(image).__name__,
        "an image",
        "pass bytes, a path, a binary file object, a data URL, (filename, content, type) or a PIL image",
    )


def _read(file: Any, read: Callable[[], Any]) -> bytes:  # noqa: ANN401 - a file of any kind
    """Read a file object from its position, and go back there if it can."""
    position: int | None = None
    with suppress(AttributeError, OSError):
        position = file.tell()
    data = read()
    if position is not None:
        with suppress(OSError):
            file.seek(position)
    if not isinstance(data, bytes):
        raise ValueError(f"{type(data).__name__} from a file object: open it with mode 'rb'")  # noqa: TRY004
    return data


@contextmanager
def _told_as_ours(name: str) -> Iterator[None]:
    """Raise what goes wrong with a file or its decoder as an error of ours."""
    try:
        yield
    except InvalidImageError:
        raise
    except FileNotFoundError as error:
        raise invalid(name, f"{error.filename!r}", "a file that exists", "check the path") from None
    except (OSError, SyntaxError, ValueError) as error:  # Pillow: SyntaxError for a broken PNG
        what = f"not readable: {error}"
        raise invalid(name, what, "an image file that Pillow reads", "check it") from error


def invalid(name: str, value: object, limit: str, advice: str) -> InvalidImageError:
    """Return an error that says what was wrong, the value, the limit and the next step."""
    message = f"{name} is {value}; it must be {limit} ({advice})"
    return InvalidImageError(message, field=name, value=value, limit=limit, problems=(message,))
