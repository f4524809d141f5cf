"""The official client for Python before 1.0: the calls of the two documents that the project started from.

usage: openai_python_0.py FOLDER-OF-EXAMPLES, with OPENAI_BASE_URL and OPENAI_API_KEY set
"""
# mypy: ignore-errors
# ruff: noqa: PT017 - there is no pytest
# It runs in an environment of its own, with a version of the client that the checks do not see.

from __future__ import annotations

import base64
import io
import os
import sys
import urllib.request
from pathlib import Path

import openai

PNG = b"\x89PNG"
SIZE = "256x256"


def main(folder: str) -> None:
    """Do it all."""
    openai.api_key = os.getenv("OPENAI_API_KEY")
    openai.api_base = os.getenv("OPENAI_BASE_URL")
    otter, mask = Path(folder, "otter.png"), Path(folder, "otter_mask.png")

    response = openai.Image.create(prompt="a white siamese cat", n=1, size="1024x1024")
    with urllib.request.urlopen(response["data"][0]["url"]) as answer:  # noqa: S310
        assert answer.read(4) == PNG
    with otter.open("rb") as image, mask.open("rb") as masking:
        response = openai.Image.create_edit(
            image=image, mask=masking, prompt="an otter with a beret", n=2, size=SIZE
        )
    assert len(response["data"]) == 2
    with otter.open("rb") as image:
        response = openai.Image.create_variation(image=image, n=1, size=SIZE)
    assert len(response["data"]) == 1

    # "In-memory image data": named image, and of type octet-stream
    byte_stream = io.BytesIO(otter.read_bytes())
    response = openai.Image.create_variation(
        image=byte_stream.getvalue(), n=1, size=SIZE, response_format="b64_json"
    )
    assert base64.b64decode(response["data"][0]["b64_json"])[:4] == PNG

    # "Error handling"
    try:
        openai.Image.create_variation(image=mask.read_bytes()[:100], n=1, size="1024x1024")
    except openai.error.OpenAIError as error:
        assert error.http_status == 400
        assert error.error["message"]
    else:
        raise AssertionError("a torn picture was taken")
    try:
        openai.Image.create(prompt="a", n=11)
    except openai.error.InvalidRequestError as error:
        assert error.param == "n"
    else:
        raise AssertionError("n=11 was taken")
    print(f"openai (Python) {openai.version.VERSION}")  # noqa: T201


main(*sys.argv[1:])
