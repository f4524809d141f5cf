"""Make the calls with LiteLLM, in an interpreter that has it: this file needs nothing else.

LiteLLM wants an older openai than the newest, so it has an environment of its own. The list of
prices comes from its own files, not from the network, and its telemetry is off.
"""

from __future__ import annotations

import base64
import importlib
import os
from pathlib import Path
from typing import Any, Self

__all__ = ("Client",)


class Client:
    """The functions of ``litellm``, which keeps its connections itself."""

    def __init__(self, base_url: str) -> None:
        self._litellm = _load()
        self._server = {"api_base": base_url, "api_key": "sk-benchmark"}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Do nothing: the connections are not ours."""

    async def small(self) -> None:
        """Get a URL."""
        answer = await self._litellm.aimage_generation(
            model="openai/dall-e-2", prompt="a fox", n=1, size="1024x1024", **self._server
        )
        assert answer.data[0].url  # noqa: S101

    async def save(self, n: int, folder: Path, number: int) -> None:
        """Save images."""
        answer = await self._litellm.aimage_generation(
            model="openai/gpt-image-1.5", prompt="a fox", n=n, **self._server
        )
        for index, image in enumerate(answer.data):
            data = base64.b64decode(image.b64_json)
            (folder / f"{number}-{index}.png").write_bytes(data)

    async def upload(self, images: list[Any]) -> None:
        """Edit images; given a path it fails (1.106), so files are opened."""
        await self._litellm.aimage_edit(
            model="openai/gpt-image-1.5",
            image=[each.open("rb") if isinstance(each, Path) else each for each in images],
            prompt="a fox",
            **self._server,
        )


def _load() -> Any:  # noqa: ANN401 - a module that is not there when types are checked
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    module: Any = importlib.import_module("litellm")
    module.telemetry = False
    return module
