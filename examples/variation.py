"""Make a variation of an image (servers of the classic API)."""

import asyncio
from pathlib import Path

from imagesdk import ImageSession

HERE = Path(__file__).parent


async def main() -> None:
    """Vary a picture of a corgi and a cat's paw."""
    async with ImageSession() as images:
        with (HERE / "corgi_and_cat_paw.png").open("rb") as file:
            result = await images.create_variation(file, n=1, size="1024x1024")
        print("url:", result.data[0].url)
        print("saved:", await result.data[0].save(Path("out") / "corgi"))


if __name__ == "__main__":
    asyncio.run(main())
