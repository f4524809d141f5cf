"""Make the calls with `openai.AsyncOpenAI` and its default transport, as its documentation does."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Self

from openai import AsyncOpenAI

__all__ = ("Client",)


class Client:
    """`AsyncOpenAI`, with its defaults."""

    def __init__(self, base_url: str) -> None:
        self._client = AsyncOpenAI(api_key="sk-benchmark", base_url=base_url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.close()

    async def small(self) -> None:
        """Get a URL."""
        answer = await self._client.images.generate(
            model="dall-e-2", prompt="a fox", n=1, size="1024x1024"
        )
        assert answer.data and answer.data[0].url  # noqa: S101, PT018

    async def save(self, n: int, folder: Path, number: int) -> None:
        """Save images."""
        answer = await self._client.images.generate(model="gpt-image-2", prompt="a fox", n=n)
        for index, image in enumerate(answer.data or ()):
            data = base64.b64decode(image.b64_json or "")
            (folder / f"{number}-{index}.png").write_bytes(data)

    async def upload(self, images: list[Path] | list[bytes] | list[object]) -> None:
        """Edit images."""
        await self._client.images.edit(model="gpt-image-2", image=images, prompt="a fox")  # type: ignore[arg-type]

    async def stream(self, partials: int, size_bytes: int) -> float:
        """Decode every image of a stream; return when the first was there."""
        first = 0.0
        stream = await self._client.images.generate(
            model="gpt-image-2", prompt="a fox", stream=True, partial_images=partials
        )
        async for event in stream:
            image = base64.b64decode(event.b64_json)
            first = first or asyncio.get_running_loop().time()
            assert len(image) == size_bytes  # noqa: S101
        return first
