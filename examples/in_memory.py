"""Send an image that is in memory: a BytesIO, or its bytes. No name is needed, the bytes tell the type."""

import asyncio
from io import BytesIO
from pathlib import Path

from imagesdk import ImageSession

HERE = Path(__file__).parent


async def main() -> None:
    """Vary an image from a BytesIO and from its bytes."""
    byte_stream = BytesIO(await asyncio.to_thread((HERE / "otter.png").read_bytes))
    byte_array = byte_stream.getvalue()
    async with ImageSession() as images:
        for image in (byte_stream, byte_array):
            result = await images.create_variation(image, n=1, size="1024x1024")
            path = await result.data[0].save(Path("out") / f"otter-{type(image).__name__}")
            print(f"from {type(image).__name__}: {path}")


if __name__ == "__main__":
    asyncio.run(main())
