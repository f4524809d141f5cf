"""Make an image from a description, and save it."""

import asyncio
from pathlib import Path

from imagesdk import ImageSession


async def main() -> None:
    """Ask for one image; print its URL and where it was saved."""
    async with ImageSession() as images:
        result = await images.generate("a white siamese cat", n=1, size="1024x1024")
        print("url:", result.data[0].url)
        path = await result.data[0].save(Path("out") / "cat")
        print(f"saved: {path} ({result.data[0].width}x{result.data[0].height})")


if __name__ == "__main__":
    asyncio.run(main())
