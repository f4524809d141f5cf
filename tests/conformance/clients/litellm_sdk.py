"""LiteLLM's SDK: generations, edits and variations of an OpenAI-compatible server.

usage: litellm_sdk.py FOLDER-OF-EXAMPLES, with OPENAI_BASE_URL and OPENAI_API_KEY set
"""
# mypy: ignore-errors
# ruff: noqa: PT017 - there is no pytest
# It runs in an environment of its own, with a package that the checks do not see.

from __future__ import annotations

import base64
import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it asks the network at import
import litellm

PNG = b"\x89PNG"


def main(folder: str) -> None:
    """Do it all."""
    where = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": os.environ["OPENAI_API_KEY"]}
    otter = Path(folder, "otter.png")
    made = litellm.image_generation(
        model="openai/gpt-image-1", prompt="a fox", n=2, size="1024x1024", **where
    )
    assert [base64.b64decode(image.b64_json)[:4] for image in made.data] == [PNG, PNG]
    made = litellm.image_generation(
        model="openai/dall-e-2", prompt="a fox", size="256x256", **where
    )
    assert made.data[0].url.startswith("http://")
    with otter.open("rb") as image:
        edited = litellm.image_edit(
            model="openai/gpt-image-1", image=image, prompt="an otter with a beret", **where
        )
    assert base64.b64decode(edited.data[0].b64_json)[:4] == PNG
    with otter.open("rb") as image:
        varied = litellm.image_variation(
            model="openai/dall-e-2", image=image, n=1, size="256x256", **where
        )
    assert varied.data[0].url.startswith("http://")
    try:
        litellm.image_generation(model="openai/dall-e-2", prompt="a", n=11, **where)
    except litellm.BadRequestError as error:
        assert error.status_code == 400
    else:
        raise AssertionError("n=11 was taken")
    print(f"LiteLLM {version('litellm')}")  # noqa: T201


main(*sys.argv[1:])
