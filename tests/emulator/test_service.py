from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from imagesdk.emulator import painter
from imagesdk.emulator.blobs import BlobStore
from imagesdk.emulator.forms import UploadedFile
from imagesdk.emulator.jobs import Job
from imagesdk.emulator.limits import ImageLimit
from imagesdk.emulator.refusals import Refusal
from imagesdk.emulator.service import ImageService, Order
from imagesdk.emulator.spec import Endpoint
from imagesdk.emulator.studio import Studio

Encode = Callable[..., bytes]


def _service(**settings: Any) -> ImageService:
    defaults = {
        "limit": None,
        "blobs": BlobStore(3600),
        "clock": lambda: 1_800_000_000.5,
        "studio": Studio(0),
    }
    return ImageService(**{**defaults, **settings})


def _order(**settings: Any) -> Order:
    defaults = {"api_key": "sk-test", "request_id": "req_1", "url_prefix": "http://x/"}
    return Order(**{**defaults, **settings})


async def _ask(service: ImageService, job: Job) -> dict[str, Any] | Refusal:
    return await service.answer(job, _order())


async def _answer(service: ImageService, job: Job) -> dict[str, Any]:
    answer = await _ask(service, job)
    assert isinstance(answer, dict)
    return answer


async def _refusal(service: ImageService, job: Job) -> Refusal:
    answer = await _ask(service, job)
    assert isinstance(answer, Refusal)
    return answer


async def _stream(
    service: ImageService, job: Job, is_wanted: Callable[[], bool] = lambda: True
) -> AsyncGenerator[dict[str, Any], None]:
    events = await service.stream(job, _order(), is_wanted=is_wanted)
    assert not isinstance(events, Refusal)
    return events


def _generation(model: str = "dall-e-2", **params: Any) -> Job:
    return Job(endpoint=Endpoint.GENERATION, model=model, params={"prompt": "a cat", **params})


def _streamed(**params: Any) -> Job:
    return _generation("gpt-image-2", **{"size": "1024x640", "stream": True, **params})


def _file(data: bytes, field: str = "image") -> UploadedFile:
    return UploadedFile(field=field, filename="a.png", content_type="image/png", data=data)


def _open(item: dict[str, str]) -> Image.Image:
    return Image.open(BytesIO(b64decode(item["b64_json"])))


async def test_classic_answers_with_urls() -> None:
    """The classic answer has its time and one URL for each picture, and nothing else."""
    answer = await _answer(_service(), _generation(n=2, size="256x256"))
    assert answer.keys() == {"created", "data"}
    assert answer["created"] == 1_800_000_000
    assert [item.keys() for item in answer["data"]] == [{"url"}, {"url"}]
    assert answer["data"][0]["url"].startswith("http://x/img-")


async def test_pictures_are_deterministic() -> None:
    """The same request gives the same pictures, and each picture of a request is another."""
    job = _generation(n=2, size="256x256", response_format="b64_json")
    first, again = [(await _answer(_service(), job))["data"] for _ in range(2)]
    assert first == again
    assert first[0] != first[1]
    assert _open(first[0]).size == (256, 256)


async def test_dalle_3_tells_the_revised_prompt() -> None:
    """A dall-e-3 answer carries the prompt that was painted."""
    answer = await _answer(_service(), _generation("dall-e-3"))
    assert answer["data"][0]["revised_prompt"] == "a cat"


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_gpt_answers_describe_their_pictures(output_format: str) -> None:
    """A GPT Image answer says what "auto" came down to, and the pictures are what it says."""
    job = _generation("gpt-image-2", output_format=output_format, size="1536x1024", quality="auto")
    answer = await _answer(_service(), job)
    described = {key: answer[key] for key in ("background", "output_format", "quality", "size")}
    assert described == {
        "background": "opaque",
        "output_format": output_format,
        "quality": "medium",
        "size": "1536x1024",
    }
    image = _open(answer["data"][0])
    assert (image.format, image.size) == (output_format.upper(), (1536, 1024))


async def test_gpt_usage_adds_up(picture: Encode) -> None:
    """Token counts follow prompt, uploads, quality and number of pictures."""
    job = Job(
        endpoint=Endpoint.EDIT,
        model="gpt-image-2",
        params={"prompt": "a cat in a hat", "quality": "low", "size": "1024x1024", "n": 2},
        files=(_file(picture((64, 64)), "image[]"), _file(picture((32, 32)), "image[]")),
    )
    assert (await _answer(_service(), job))["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"image_tokens": 5, "text_tokens": 4},
        "output_tokens": 2 * 272,
        "total_tokens": 9 + 2 * 272,
    }


async def test_transparent_pictures_are_transparent() -> None:
    """A transparent background is one."""
    answer = await _answer(_service(), _generation("gpt-image-2", background="transparent"))
    alpha = _open(answer["data"][0]).convert("RGBA").getchannel("A")
    assert answer["background"] == "transparent"
    assert alpha.getextrema()[0] == 0


@pytest.mark.parametrize(
    ("upload", "size"),
    [((64, 64), "1024x1024"), ((90, 60), "1536x1024"), ((60, 90), "1024x1536")],
)
async def test_automatic_edits_keep_the_shape(
    picture: Encode, upload: tuple[int, int], size: str
) -> None:
    """An edit of automatic size takes the named size nearest to the shape of the image."""
    job = Job(
        endpoint=Endpoint.EDIT,
        model="gpt-image-1",
        params={"prompt": "a hat"},
        files=(_file(picture(upload)),),
    )
    answer = await _answer(_service(), job)
    assert answer["size"] == size


async def test_edits_and_variations_paint_the_upload(picture: Encode) -> None:
    """Edits and variations of the same upload are different pictures of the asked size."""
    files = (_file(picture()), _file(picture(), "mask"))
    params = {"size": "256x256", "response_format": "b64_json"}
    edit = Job(endpoint=Endpoint.EDIT, params={**params, "prompt": "a hat"}, files=files)
    variation = Job(endpoint=Endpoint.VARIATION, params=params, files=files[:1])
    edited = (await _answer(_service(), edit))["data"][0]
    varied = (await _answer(_service(), variation))["data"][0]
    assert _open(edited).size == _open(varied).size == (256, 256)
    assert edited != varied


@pytest.mark.parametrize("masked", [False, True])
async def test_all_input_images_are_painted(*, masked: bool) -> None:
    """Each image of an edit influences the result, with and without a mask."""

    async def painted(*colors: str) -> Image.Image:
        images = [Image.new("RGB", (64, 64), color) for color in colors]
        files = [_file(painter.encode(image, "png"), "image[]") for image in images]
        if masked:
            files.append(_file(painter.encode(Image.new("RGBA", (64, 64)), "png"), "mask"))
        params = {"prompt": "a robot", "size": "1024x1024"}
        job = Job(endpoint=Endpoint.EDIT, model="gpt-image-1", params=params, files=tuple(files))
        return _open((await _answer(_service(), job))["data"][0])

    first = await painted("red", "blue", "lime")
    assert first.size == (1024, 1024)
    for colors in (("red", "blue"), ("red", "white", "lime"), ("red", "blue", "black")):
        assert (await painted(*colors)).tobytes() != first.tobytes()


@pytest.mark.parametrize(
    ("model", "error_type", "code"),
    [
        ("dall-e-2", "invalid_request_error", "content_policy_violation"),
        ("dall-e-3", "invalid_request_error", "content_policy_violation"),
        ("gpt-image-2", "image_generation_user_error", "moderation_blocked"),
    ],
)
async def test_blocked_prompts(model: str, error_type: str, code: str) -> None:
    """A prompt with a blocked part, in any case, is refused as the family refuses."""
    service = _service(blocked_prompts=("Gore",))
    refusal = await _refusal(service, _generation(model, prompt="much gORE"))
    assert (refusal.status, refusal.type, refusal.code) == (400, error_type, code)


async def test_moderation_says_why() -> None:
    """A GPT Image refusal names the category, the stage and the request."""
    service = _service(blocked_prompts=("gore",))
    refusal = await _refusal(service, _generation("gpt-image-2", prompt="gore"))
    error = refusal.envelope()["error"]
    assert error["moderation_details"] == {
        "categories": ["violence"],
        "moderation_stage": "input",
    }
    assert "req_1" in error["message"]
    assert error["message"].endswith("safety_violations=[violence].")


async def test_blocked_images(picture: Encode) -> None:
    """An upload with blocked bytes is refused; another one is not."""
    service = _service(blocked_images=frozenset([picture((8, 8))]))
    params = {"size": "256x256"}
    blocked = Job(endpoint=Endpoint.VARIATION, params=params, files=(_file(picture((8, 8))),))
    assert (await _refusal(service, blocked)).code == "content_policy_violation"
    other = Job(endpoint=Endpoint.VARIATION, params=params, files=(_file(picture((9, 9))),))
    await _answer(service, other)


async def test_refused_requests_cost_nothing(picture: Encode) -> None:
    """Pictures, then content policy, then the limit: what is refused early counts nowhere."""
    limit = ImageLimit(3)
    service = _service(limit=limit, blocked_prompts=("gore",))
    broken = Job(endpoint=Endpoint.VARIATION, params={}, files=(_file(picture()[:40]),))
    assert (await _refusal(service, broken)).code == "invalid_image"
    await _refusal(service, _generation(prompt="gore", n=3))
    assert limit.status("sk-test", 1_800_000_000.5).remaining == 3
    await _refusal(service, _generation(n=4))
    assert service.bill.images == 0
    await _answer(service, _generation(n=3, size="256x256"))
    assert (service.bill.images, limit.status("sk-test", 1_800_000_000.5).remaining) == (3, 0)


async def test_limit_refusals_say_how_long_to_wait() -> None:
    """A 429 has its wait in the text and in both headers, rounded up."""
    now = 0.0
    service = _service(limit=ImageLimit(1), clock=lambda: now)
    await _answer(service, _generation(size="256x256"))
    now = 0.5004
    refusal = await _refusal(service, _generation("gpt-image-2"))
    assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
    assert "Please try again in 59.5s." in refusal.message
    assert refusal.headers == {"Retry-After": "60", "retry-after-ms": "59500"}
    classic = await _refusal(service, _generation())
    assert "Limit: 1/1min. Current: 2/1min." in classic.message
    assert classic.headers == refusal.headers


async def test_a_request_above_the_limit_is_not_told_to_wait() -> None:
    """For more images than the limit no waiting helps, and none is suggested."""
    service = _service(limit=ImageLimit(5))
    refusal = await _refusal(service, _generation("gpt-image-2", n=10))
    assert (refusal.status, refusal.headers) == (429, {})
    assert "Limit 5, Used 0, Requested 10" in refusal.message


async def test_latency_follows_the_pixels() -> None:
    """A smaller picture takes less of the set time; n does not matter."""
    service = _service(seconds_per_image=0.64)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await _answer(service, _generation(n=2, size="256x256"))
    assert loop.time() - started >= 0.04


async def test_streams_share_the_latency() -> None:
    """The time of a picture passes in equal parts, one before each event, and is not doubled."""
    service = _service(seconds_per_image=0.128)  # 0.08 for the size below
    loop = asyncio.get_running_loop()
    async with aclosing(await _stream(service, _streamed(partial_images=1))) as events:
        started = loop.time()
        times = [loop.time() async for _ in events]
    assert times[0] - started >= 0.04
    assert times[1] - times[0] >= 0.04
    assert times[1] - started < 5


@pytest.mark.parametrize("looks", [0, 1, 2])
async def test_streams_that_nobody_waits_for(looks: int) -> None:
    """Once nobody waits, the events end without the picture, and nothing is charged."""
    service = _service(seconds_per_image=600)
    limit = iter(range(looks))
    async with aclosing(
        await _stream(service, _streamed(), is_wanted=lambda: next(limit, None) is not None)
    ) as events:
        assert [event async for event in events] == []
    assert service.bill.images == 0


async def test_refused_streams() -> None:
    """A stream is refused in the order and with the words of any other request."""
    limit = ImageLimit(1)
    service = _service(limit=limit, blocked_prompts=("gore",))
    wordings = []
    for job in (_streamed(prompt="gore"), _streamed(), _streamed()):
        answer = await service.stream(job, _order(), is_wanted=lambda: True)
        wordings.append(answer.code if isinstance(answer, Refusal) else None)
    assert wordings == ["moderation_blocked", None, "rate_limit_exceeded"]
