from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from imagesdk.emulator.jobs import Job, read_job
from imagesdk.emulator.spec import Endpoint

Encode = Callable[..., bytes]
MULTIPART = "multipart/form-data; boundary=b"


def _json(endpoint: Endpoint, **params: object) -> Job:
    return read_job(endpoint, "application/json", msgspec.json.encode(params))


def test_defaults_are_the_classic_ones() -> None:
    """A prompt alone asks for one classic picture of the default size."""
    job = _json(Endpoint.GENERATION, prompt="a cat", n=None)
    assert (job.refusal, job.model, job.count, job.prompt) == (None, "dall-e-2", 1, "a cat")
    assert (job.param("size", job.family.default_size), job.output_format) == ("1024x1024", "png")


@pytest.mark.parametrize(
    ("endpoint", "content_type"),
    [
        (Endpoint.GENERATION, ""),
        (Endpoint.GENERATION, "application/x-www-form-urlencoded"),
        (Endpoint.GENERATION, MULTIPART),
        (Endpoint.EDIT, "text/plain"),
        (Endpoint.VARIATION, "application/json"),
    ],
)
def test_content_types(endpoint: Endpoint, content_type: str) -> None:
    """A body of a type that the route does not take is refused."""
    refusal = read_job(endpoint, content_type, b"{}").refusal
    assert refusal is not None
    assert (refusal.status, refusal.code) == (400, "unsupported_content_type")


@pytest.mark.parametrize(
    ("content_type", "body"), [("application/json", b"{"), (MULTIPART, b"garbage")]
)
def test_malformed_bodies(content_type: str, body: bytes) -> None:
    """A body that cannot be parsed is refused."""
    refusal = read_job(Endpoint.EDIT, content_type, body).refusal
    assert refusal is not None
    assert refusal.status == 400


def test_a_refused_job_keeps_what_was_understood() -> None:
    """Parameters of a refused request are there for the record."""
    job = _json(Endpoint.GENERATION, prompt="a cat", n=99)
    assert job.refusal is not None
    assert job.params == {"prompt": "a cat", "n": 99}


@pytest.mark.parametrize(("value", "streams"), [(True, True), (False, False), (None, False)])
def test_streams(*, value: object, streams: bool) -> None:
    """A job streams if it was asked to, and null asks for nothing."""
    job = _json(Endpoint.GENERATION, model="gpt-image-2", prompt="a cat", stream=value)
    assert (job.refusal, job.streams) == (None, streams)


def test_multipart_values_are_typed() -> None:
    """Numbers in a form are numbers in the job."""
    parts = {"prompt": "a cat", "n": "2"}
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    )
    file = '--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx\r\n--b--'
    job = read_job(Endpoint.EDIT, MULTIPART, (body + file).encode())
    assert job.refusal is None
    assert (job.params, job.files[0].data) == ({"prompt": "a cat", "n": 2}, b"x")


def test_json_edits() -> None:
    """A JSON edit has its own default model and brings its files in data URLs."""
    job = _json(Endpoint.EDIT, prompt="a", images=[{"image_url": "data:image/png;base64,eA=="}])
    assert (job.refusal, job.model, job.endpoint) == (None, "gpt-image-1.5", Endpoint.EDIT_JSON)
    assert job.files[0].data == b"x"


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"model": "dall-e-2"}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"images": [{"file_id": "x"}]}, "images[0]"),
    ],
)
def test_json_edits_refused(params: dict[str, object], param: str) -> None:
    """A JSON edit is refused for its model, its values and its references."""
    job = _json(Endpoint.EDIT, **{"prompt": "a", "images": [{}], **params})
    assert job.refusal is not None
    assert job.refusal.param == param
