"""Handle errors: the server's refusals have a status and an error object, all others a message."""

import asyncio
from pathlib import Path

from imagesdk import ImageSDKError, ImageSession, ModerationError

HERE = Path(__file__).parent


async def main() -> None:
    """Make three mistakes."""
    async with ImageSession() as images:
        try:  # the emulator refuses prompts with this word in them
            await images.generate("a [blocked] thing", size="256x256")
        except ModerationError as e:
            print("refused by the safety system:", e.code)
            print(e.status, e.error)

        async with ImageSession(api_key="wrong") as stranger:
            try:
                await stranger.create_variation(HERE / "otter.png", n=1, size="1024x1024")
            except ImageSDKError as e:
                print(e.status, e.error)

        try:  # never sent: image.png is no square
            await images.create_variation(HERE / "image.png", n=1, size="1024x1024")
        except ImageSDKError as e:
            print(e.status, e.error)
            print(e)


if __name__ == "__main__":
    asyncio.run(main())
