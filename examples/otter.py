"""The three requests of the API reference: two otters, two with a beret, two variations."""

import asyncio
from pathlib import Path

from imagesdk import ImageSession

HERE = Path(__file__).parent


async def main() -> None:
    """Generate, edit and vary an otter."""
    async with ImageSession() as images:
        made = await images.generate("A cute baby sea otter", n=2, size="1024x1024")
        edited = await images.edit(
            HERE / "otter.png",
            "A cute baby sea otter wearing a beret",
            mask=HERE / "otter_mask.png",
            n=2,
            size="1024x1024",
        )
        varied = await images.create_variation(HERE / "otter.png", n=2, size="1024x1024")
        print("created:", made.created)
        for name, result in (("made", made), ("beret", edited), ("varied", varied)):
            for path in await result.save("out", name=f"otter-{name}"):
                print(f"{name}: {path}")


if __name__ == "__main__":
    asyncio.run(main())
