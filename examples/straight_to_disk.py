"""Write images to disk while they arrive: however large they are, memory stays small."""

import asyncio

from imagesdk import ImageSession, ImagesResponse, PartialResultError


async def main() -> None:
    """Ask for several pictures with save_to=, and say where they are."""
    async with ImageSession() as images:
        try:
            result: ImagesResponse = await images.generate("a harbour at dawn", n=3, save_to="out")
        except PartialResultError as error:  # the disk was full, or fewer images came
            print(error)
            result = error.result
        for image in result.data:
            print(image.path, image.mime_type, f"{image.width}x{image.height}")


if __name__ == "__main__":
    asyncio.run(main())
