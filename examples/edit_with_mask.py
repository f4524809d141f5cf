"""Edit an image where a mask is transparent.

The prompt describes the full new image, not just the erased area.
"""

import asyncio
from pathlib import Path

from imagesdk import ImageSession

HERE = Path(__file__).parent


async def main() -> None:
    """Put a flamingo into the pool."""
    async with ImageSession() as images:
        result = await images.edit(
            HERE / "sunlit_lounge.png",
            "A sunlit indoor lounge area with a pool containing a flamingo",
            mask=HERE / "mask.png",
            n=1,
            size="1024x1024",
        )
        print("url:", result.data[0].url)
        print("saved:", await result.data[0].save(Path("out") / "lounge"))


if __name__ == "__main__":
    asyncio.run(main())
