"""Show an image while it is made: each partial image is closer to the completed one.

Models of the GPT Image line stream; each partial image is billed.
"""

import asyncio
from pathlib import Path

from imagesdk import ImageSession, PartialImage


async def main() -> None:
    """Save what there is of a fox as it arrives, and then the fox."""
    async with (
        ImageSession(model="gpt-image-2") as images,
        images.stream_generate("a red fox in the snow", partial_images=2) as events,
    ):
        async for event in events:
            if isinstance(event, PartialImage):
                print("so far:", await event.image.save(Path("out") / f"fox-{event.index}"))
            else:
                print("saved:", await event.image.save(Path("out") / "fox"))
                print("tokens:", event.usage and event.usage["total_tokens"])


if __name__ == "__main__":
    asyncio.run(main())
