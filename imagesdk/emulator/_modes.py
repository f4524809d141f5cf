"""Bring pictures of any mode to 8 bits and the painter's modes."""

from __future__ import annotations

from PIL import Image, ImageChops

__all__ = ("opaque", "rgba", "shrunk")


def opaque(image: Image.Image) -> bool:
    """Tell whether no pixel of the RGBA *image* lets anything through."""
    return image.getchannel("A").getextrema()[0] == 255


def rgba(image: Image.Image) -> Image.Image:
    """Return *image* as 8-bit RGBA without metadata, with palette transparency as alpha."""
    clear = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        data = image.tobytes()
        big = image.mode.endswith("B")
        high = Image.frombytes("L", image.size, data[0 if big else 1 :: 2])
        low = Image.frombytes("L", image.size, data[1 if big else 0 :: 2])
        result = high.convert("RGBA")
        if isinstance(clear, int):
            same = ImageChops.multiply(
                high.point([255 * (i == clear >> 8) for i in range(256)]),
                low.point([255 * (i == clear & 255) for i in range(256)]),
            )
            result.putalpha(ImageChops.invert(same))
        return result
    if image.mode in {"I", "F"}:
        # The 32-bit modes have no fixed range: 16-bit files are read into them, too.
        top = image.convert("F").getextrema()[1]
        scale = 255 / 65535 if isinstance(top, float) and top > 255 else 1.0
        image = image.convert("F").point(lambda i: i * scale).convert("L")
    if image.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        # Pillow reads 16-bit RGB as 8-bit but leaves the transparent colour as it was.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    result = image.convert("RGBA")
    result.info = {}
    return result if result is not image else image.copy()


def shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return *image* as 8-bit RGBA, reduced in proportion if it does not fit into *size*."""
    share = min(size[0] / image.width, size[1] / image.height)
    if share >= 1:
        return rgba(image)
    target = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    # These modes survive reduction as they are, which spares a large copy in another mode.
    plain = image.mode in {"RGB", "RGBA", "L"} and "transparency" not in image.info
    source = image if plain else rgba(image)
    return rgba(source.resize(target, Image.Resampling.BICUBIC, reducing_gap=2.0))
