"""The more detailed the description, the more likely the result is what you want: two prompts."""

import asyncio
from pathlib import Path

from imagesdk import ImageSession

PROMPTS = {
    "short": "a white siamese cat",
    "detailed": "a close up, studio photographic portrait of a white siamese cat that looks "
    "curious, backlit ears",
}


async def main() -> None:
    """Ask for both at once; results come as they complete."""
    names = {prompt: name for name, prompt in PROMPTS.items()}
    async with ImageSession() as images, images.map(PROMPTS.values()) as outcomes:
        async for outcome in outcomes:
            result = outcome.unwrap()
            path = await result.data[0].save(Path("out") / f"cat-{names[outcome.request]}")
            print(f"{outcome.request!r}: {path}")


if __name__ == "__main__":
    asyncio.run(main())
