"""The official client for Python, 1.x and newer: each image call with each kind of upload, files and batches.

usage: openai_python.py FOLDER-OF-EXAMPLES, with OPENAI_BASE_URL and OPENAI_API_KEY set
"""
# mypy: ignore-errors
# ruff: noqa: PT017 - there is no pytest
# It runs in environments of its own, with versions of the client that the checks do not see.

from __future__ import annotations

import base64
import io
import json
import sys
import time
import urllib.request
from pathlib import Path

import openai

PNG = b"\x89PNG"


def kind_of(image) -> bytes:
    """Return the first bytes of an image of an answer."""
    if image.b64_json is not None:
        return base64.b64decode(image.b64_json)[:4]
    with urllib.request.urlopen(image.url) as response:  # noqa: S310
        return response.read(4)


def classic(client: openai.OpenAI, otter: Path, mask: Path) -> None:
    """Make the calls of the documents."""
    made = client.images.generate(prompt="A cute baby sea otter", n=2, size="256x256")
    assert [kind_of(image) for image in made.data] == [PNG, PNG]
    with otter.open("rb") as image, mask.open("rb") as masking:
        edited = client.images.edit(
            image=image, mask=masking, prompt="an otter with a beret", n=2, size="256x256"
        )
    assert [kind_of(image) for image in edited.data] == [PNG, PNG]
    content = otter.read_bytes()
    uploads = (
        otter,
        content,  # has no name
        io.BytesIO(content),
        ("image.png", content),
        ("blob", content, "application/octet-stream"),
    )
    for upload in uploads:
        varied = client.images.create_variation(
            image=upload, size="256x256", response_format="b64_json"
        )
        assert kind_of(varied.data[0]) == PNG


def errors(client: openai.OpenAI) -> None:
    """Meet refusals as the client's exceptions."""
    try:
        client.images.generate(prompt="a", n=11)
    except openai.BadRequestError as error:
        assert error.param == "n"
        assert error.status_code == 400
    else:
        raise AssertionError("n=11 was taken")
    try:
        client.images.generate(prompt="a", model="nothing")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("an unknown model was taken")
    try:
        client.with_options(api_key="wrong").images.generate(prompt="a")
    except openai.AuthenticationError as error:
        assert error.request_id.startswith("req_")
    else:
        raise AssertionError("a wrong key was taken")


def gpt(client: openai.OpenAI, otter: Path, mask: Path) -> None:
    """Make the calls of today's API."""
    model = "gpt-image-1"
    several = [otter, otter]
    edited = client.images.edit(model=model, image=several, mask=mask, prompt="two otters")
    assert kind_of(edited.data[0]) == PNG
    assert edited.usage.output_tokens
    calls = (
        lambda: client.images.generate(model=model, prompt="a", stream=True, partial_images=2),
        lambda: client.images.edit(
            model=model, image=otter, prompt="a", stream=True, partial_images=2
        ),
    )
    for call in calls:
        types = [event.type.rpartition(".")[2] for event in call()]
        assert types == ["partial_image", "partial_image", "completed"]


def batch(client: openai.OpenAI) -> None:
    """Upload a file, have it run, and read the answers."""
    endpoint = "/v1/images/generations"
    body = {"prompt": "a fox", "size": "256x256", "response_format": "b64_json"}
    lines = [
        {"custom_id": name, "method": "POST", "url": endpoint, "body": body} for name in ("a", "b")
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    file = client.files.create(file=("lines.jsonl", text), purpose="batch")
    assert client.files.retrieve(file.id).bytes == len(text)
    made = client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", metadata={"a": "b"}
    )
    deadline = time.monotonic() + 60
    while made.status not in {"completed", "failed"} and time.monotonic() < deadline:
        time.sleep(0.1)  # noqa: TID251
        made = client.batches.retrieve(made.id)
    assert made.status == "completed"
    assert made.id in [each.id for each in client.batches.list()]
    answers = client.files.content(made.output_file_id).text.splitlines()
    assert {json.loads(answer)["custom_id"] for answer in answers} == {"a", "b"}
    assert client.files.delete(file.id).deleted


def main(folder: str) -> None:
    """Do it all."""
    otter, mask = Path(folder, "otter.png"), Path(folder, "otter_mask.png")
    with openai.OpenAI(max_retries=0) as client:
        classic(client, otter, mask)
        errors(client)
        gpt(client, otter, mask)
        batch(client)
    print(f"openai (Python) {openai.__version__}")  # noqa: T201


main(*sys.argv[1:])
