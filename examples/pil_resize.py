"""Resize an image with Pillow before it is sent; a PIL image can be passed as it is."""

import asyncio
from io import BytesIO
from pathlib import Path

from PIL import Image

from imagesdk import ImageSession

HERE = Path(__file__).parent


def resized() -> Image.Image:
    """Return the picture as a square, as variations need it."""
    with Image.open(HERE / "image.png") as image:
        return image.resize((256, 256))


async def main() -> None:
    """Vary the resized picture, once as PIL image and once as PNG bytes."""
    image = await asyncio.to_thread(resized)
    byte_stream = BytesIO()
    image.save(byte_stream, format="PNG")
    async with ImageSession() as images:
        first = await images.create_variation(image, n=1, size="1024x1024")
        second = await images.create_variation(byte_stream.getvalue(), n=1, size="1024x1024")
        print("from a PIL image:", await first.data[0].save(Path("out") / "resized-pil"))
        print("from PNG bytes:", await second.data[0].save(Path("out") / "resized-bytes"))


if __name__ == "__main__":
    asyncio.run(main())
