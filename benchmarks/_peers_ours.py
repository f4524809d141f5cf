"""Make the calls with imagesdk: its limiter, its retry policy and its checks are on."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path
from typing import Self

from imagesdk import ImageSession

__all__ = ("Client",)

_IMAGES_PER_MINUTE = 1e9
"""A limit that is never reached: what it costs to count is measured, and no wait."""


class Client:
    """An `ImageSession`."""

    def __init__(self, base_url: str) -> None:
        self._session = ImageSession(
            api_key="sk-benchmark", base_url=base_url, images_per_minute=_IMAGES_PER_MINUTE
        )

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.aclose()

    async def small(self) -> None:
        """Get a URL."""
        answer = await self._session.generate("a fox", model="dall-e-2", n=1, size="1024x1024")
        assert answer.data[0].url  # noqa: S101

    async def save(self, n: int, folder: Path, number: int) -> None:
        """Save images."""
        folder /= str(number)
        await self._session.generate("a fox", model="gpt-image-2", n=n, save_to=folder)

    async def upload(self, images: list[Path] | list[bytes] | list[BytesIO]) -> None:
        """Edit images."""
        await self._session.edit(images, "a fox", model="gpt-image-2")

    async def stream(self, partials: int, size_bytes: int) -> float:
        """Decode every image of a stream; return when the first was there."""
        first = 0.0
        stream = self._session.stream_generate(
            "a fox", model="gpt-image-2", partial_images=partials
        )
        async with stream as events:
            async for event in events:
                image = await event.image.read()
                first = first or asyncio.get_running_loop().time()
                assert len(image) == size_bytes  # noqa: S101
        return first

    async def many(self, requests: int, concurrency: int) -> None:
        """Get URLs through `map`."""
        prompts = (f"fox {number}" for number in range(requests))
        async with self._session.map(prompts, concurrency=concurrency) as outcomes:
            async for outcome in outcomes:
                assert outcome.unwrap().data[0].url  # noqa: S101
