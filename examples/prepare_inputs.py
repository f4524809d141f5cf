"""Prepare a photo as a phone takes it, lying on its side and too wide, and make a mask for it."""

import asyncio
from io import BytesIO
from pathlib import Path

from PIL import Image

from imagesdk import ImageSession
from imagesdk.prepare import Prepared, mask_from_boxes, resize, square_png

HERE, OUT = Path(__file__).parent, Path("out")


def photo() -> bytes:
    """Return the lounge as a JPEG of 1536x1024 that is to be turned by 90 degrees."""
    with Image.open(HERE / "sunlit_lounge.png") as lounge:
        wide = lounge.convert("RGB").resize((1536, 1024))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = BytesIO()
    wide.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def prepare(data: bytes) -> tuple[Prepared, Prepared, Prepared, Prepared]:
    """Do all that Pillow does in one thread: it takes time, which the event loop does not have."""
    small = resize(data, "768x512", format="png")
    return (
        square_png(data, edge=512),  # what is left and right of the middle is cut off
        square_png(data, edge=512, fit="pad"),  # transparent above and below
        small,
        mask_from_boxes(small.data, (80, 300, 690, 480)),
    )


async def main() -> None:
    """Vary the photo, extend it, and edit its pool."""
    square, padded, small, mask = await asyncio.to_thread(prepare, photo())
    for name, prepared in (("square", square), ("padded", padded), ("mask", mask)):
        print(name, *prepared.changes, sep="\n  ")
    async with ImageSession() as images:
        varied = await images.create_variation(square.data, size="512x512")
        print("varied:", await varied.data[0].save(OUT / "varied"))
        # Without a mask, a classic server fills what is transparent.
        extended = await images.edit(padded.data, "a lounge below a tall ceiling", size="512x512")
        print("extended:", await extended.data[0].save(OUT / "extended"))
    async with ImageSession(model="gpt-image-2") as images:
        edited = await images.edit(small.data, "a lounge with a flower bed", mask=mask.data)
        print("edited:", await edited.data[0].save(OUT / "edited"))


if __name__ == "__main__":
    asyncio.run(main())
