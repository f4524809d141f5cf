"""Extend an image beyond its border: put it on a larger transparent canvas and edit that.

Without a mask, the transparent area of the image itself says where to edit.
"""

import asyncio
from pathlib import Path

from PIL import Image

from imagesdk import ImageSession

HERE = Path(__file__).parent


def on_larger_canvas(path: Path, size: int) -> Image.Image:
    """Return the picture at half its size in the middle of a transparent square."""
    canvas = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    with Image.open(path) as picture:
        small = picture.convert("RGBA").resize((size // 2, size // 2))
    canvas.paste(small, (size // 4, size // 4))
    return canvas


async def main() -> None:
    """Let the server paint what is around the otter."""
    canvas = await asyncio.to_thread(on_larger_canvas, HERE / "otter.png", 512)
    async with ImageSession() as images:
        result = await images.edit(
            canvas, "A cute baby sea otter, floating in a wide blue sea", size="512x512"
        )
        print("saved:", await result.data[0].save(Path("out") / "otter-at-sea"))


if __name__ == "__main__":
    asyncio.run(main())
