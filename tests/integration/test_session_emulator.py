"""The client against the emulator, which was written apart from it: do the two agree?"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagesdk import (
    AuthenticationError,
    BadRequestError,
    CompletedImage,
    EditRequest,
    ExpiredURLError,
    GenerateRequest,
    ImageSession,
    InvalidImageError,
    InvalidRequestError,
    ModerationError,
    PartialImage,
    RateLimitError,
    RetryPolicy,
    VariationRequest,
)
from imagesdk.emulator.server import EmulatorServer

Png = Callable[..., bytes]
SMALL = "256x256"


@pytest.mark.parametrize("response_format", ["url", "b64_json"])
async def test_classic(
    response_format: str, emulator: EmulatorServer, key: str, png: Png, tmp_path: Path
) -> None:
    """Generations, edits and variations arrive, as URLs and as base64, and are saved."""
    options: dict[str, Any] = {"size": SMALL, "response_format": response_format}
    async with ImageSession(base_url=emulator.base_url, api_key=key) as images:
        responses = [
            await images.generate("a white siamese cat", n=2, **options),
            await images.edit(png(), "a flamingo in a pool", mask=png(), **options),
            await images.create_variation(io.BytesIO(png()), n=2, **options),
        ]
        paths = [path for response in responses for path in await response.save(tmp_path)]
        assert images.snapshot().used == 5
    assert emulator.charged == len(paths) == 5
    for response in responses:
        assert response.request_id
        assert response.created
        for image in response.data:
            assert (image.mime_type, image.width, image.height) == ("image/png", 256, 256)
            assert (image.url is None) is (response_format == "b64_json")
            assert (image.expires_at is None) is (image.url is None)
    for path in paths:
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("PNG", (256, 256))


async def test_gpt_image(emulator: EmulatorServer, key: str, png: Png, tmp_path: Path) -> None:
    """GPT Image models answer with base64, usage and the format that was asked for."""
    async with ImageSession(base_url=emulator.base_url, api_key=key, model="gpt-image-2") as images:
        made = await images.generate(
            "a fox", size="1024x640", output_format="jpeg", output_compression=50, quality="low"
        )
        edited = await images.edit(
            [png(), png(mode="RGB", kind="JPEG")], "both", size="1024x640", output_format="webp"
        )
    assert [path.name for path in await made.save(tmp_path)] == ["image-1.jpg"]
    assert (made.output_format, made.quality, made.size) == ("jpeg", "low", "1024x640")
    assert made.usage is not None
    assert made.usage["total_tokens"] > 0
    assert (edited.data[0].mime_type, edited.data[0].width) == ("image/webp", 1024)
    assert [file.field for file in emulator.requests[-1].files] == ["image[]", "image[]"]


async def test_edits_as_json(emulator: EmulatorServer, key: str, png: Png) -> None:
    """A server that takes edits as forms and as JSON makes the same picture of both."""
    images, mask = [png((64, 64)), png((64, 64), "RGB")], png((64, 64))
    made = []
    for server in ("openai", "openai-json"):
        async with ImageSession(
            server=server, base_url=emulator.base_url, api_key=key, model="gpt-image-2"
        ) as session:
            result = await session.edit(images, "a hat", mask=mask, size="1024x1024")
            made.append(await result.data[0].read())
    assert made[0] == made[1]


async def test_split(emulator: EmulatorServer, key: str) -> None:
    """More images than one request carries arrive all the same."""
    async with ImageSession(base_url=emulator.base_url, api_key=key) as images:
        response = await images.generate("a fox", n=12, size=SMALL, response_format="url")
    assert len(response.data) == 12
    assert sorted(request.params["n"] for request in emulator.requests) == [2, 10]


async def test_map(emulator: EmulatorServer, key: str, png: Png) -> None:
    """Many requests of all kinds run side by side, and errors are values."""
    requests: list[Any] = [
        GenerateRequest("a fox", size=SMALL),
        EditRequest(png(), "a hat", size=SMALL),
        VariationRequest(png(), size=SMALL),
        GenerateRequest("something [blocked]", size=SMALL),
        GenerateRequest("a fox", size="7x7"),
    ]
    async with (
        ImageSession(base_url=emulator.base_url, api_key=key) as images,
        images.map(requests, concurrency=3, ordered=True) as outcomes,
    ):
        results = [outcome async for outcome in outcomes]
    assert [type(outcome.error) for outcome in results] == [
        type(None),
        type(None),
        type(None),
        ModerationError,
        InvalidRequestError,
    ]
    assert emulator.charged == 3


async def test_wrong_key(emulator: EmulatorServer) -> None:
    """A wrong key is an AuthenticationError that does not show it."""
    async with ImageSession(base_url=emulator.base_url, api_key="sk-wrong-012345") as images:
        with pytest.raises(AuthenticationError) as caught:
            await images.generate("a fox")
    assert caught.value.status == 401
    assert "sk-wrong-012345" not in f"{caught.value!s}{caught.value!r}{caught.value.error}"


async def test_limit_of_the_server(key: str) -> None:
    """A server's 429 says how long to wait; the client's own limiter keeps below it."""
    async with EmulatorServer(images_per_minute=2) as server:
        options: dict[str, Any] = {"base_url": server.base_url, "retry": RetryPolicy(1)}
        async with ImageSession(api_key=key, images_per_minute=None, **options) as images:
            await images.generate("a fox", n=2, size=SMALL)
            with pytest.raises(RateLimitError) as caught:
                await images.generate("a fox", size=SMALL)
        assert caught.value.retry_after is not None
        assert 55 < caught.value.retry_after <= 60


async def test_expired(key: str) -> None:
    """A URL that the server no longer serves is an ExpiredURLError."""
    async with EmulatorServer(url_lifetime=0.001) as server:
        async with ImageSession(base_url=server.base_url, api_key=key) as images:
            response = await images.generate("a fox", size=SMALL)
            await asyncio.sleep(0.01)
            with pytest.raises(ExpiredURLError, match="b64_json"):
                await response.data[0].read()
        assert server.charged == 1


# What the client refuses, the server refuses --------------------------------------------------

GPT_1, GPT_2, GPT_25 = "gpt-image-1", "gpt-image-2", "gpt-image-2.5-flare"


def generate(prompt: Any = "a fox", **call: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    return "generate", (prompt,), call


def edit(image: Any, prompt: Any = "a fox", **call: Any) -> tuple[str, tuple[Any, ...], Any]:
    return "edit", (image, prompt), call


def vary(image: Any, **call: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    return "create_variation", (image,), call


def _png(size: tuple[int, int] = (64, 64), mode: str = "RGBA", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **({"compress_level": 0} if kind == "PNG" else {}))
    return buffer.getvalue()


GOOD, OPAQUE, WIDE = _png(), _png(mode="RGB"), _png((64, 32))
JPEG = _png(mode="RGB", kind="JPEG")
LARGE = _png((1024, 1024))  # not compressed: 4 MiB and its frame

# a request that breaks one rule, and the parameter that both sides name
BAD: list[tuple[tuple[str, tuple[Any, ...], dict[str, Any]], str]] = [
    (generate(""), "prompt"),
    (generate(7), "prompt"),
    (generate("x" * 1001), "prompt"),
    (generate(n=0), "n"),
    (generate(n=-1), "n"),
    (generate(n="2"), "n"),
    (generate(n=1.5), "n"),
    (generate(n=True), "n"),
    (generate(size="1024x1792"), "size"),
    (generate(size="big"), "size"),
    (generate(size=256), "size"),
    (generate(response_format="png"), "response_format"),
    (generate(quality="hd"), "quality"),
    (generate(style="vivid"), "style"),
    (generate(output_format="png"), "output_format"),
    (edit(GOOD, ""), "prompt"),
    (edit(GOOD, "x" * 1001), "prompt"),
    (edit(GOOD, size="1x1"), "size"),
    (edit(GOOD, n=0), "n"),
    (edit(GOOD, background="opaque"), "background"),
    (edit(OPAQUE), "image"),
    (edit(WIDE), "image"),
    (edit(JPEG, mask=GOOD), "image"),
    (edit(LARGE), "image"),
    (edit([GOOD, GOOD]), "image"),
    (edit(GOOD[:-20]), "image"),
    (edit(b"no image"), "image"),
    (edit(GOOD, mask=_png((32, 32))), "mask"),
    (edit(GOOD, mask=OPAQUE), "mask"),
    (edit(GOOD, mask=JPEG), "mask"),
    (edit(LARGE[:0] + _png((1000, 1000)), mask=LARGE), "mask"),
    (vary(WIDE), "image"),
    (vary(JPEG), "image"),
    (vary(LARGE), "image"),
    (vary(GOOD, size="1792x1024"), "size"),
    (vary(GOOD, n=0), "n"),
    (vary(GOOD, response_format="file"), "response_format"),
    (vary(GOOD, model=GPT_1), "model"),
    (vary(GOOD, model="dall-e-3"), "model"),
    (edit(GOOD, model="dall-e-3"), "model"),
    (generate("x" * 4001, model="dall-e-3"), "prompt"),
    (generate(size=SMALL, model="dall-e-3"), "size"),
    (generate(quality="low", model="dall-e-3"), "quality"),
    (generate(style="plain", model="dall-e-3"), "style"),
    (generate("x" * 32_001, model=GPT_1), "prompt"),
    (generate(size=SMALL, model=GPT_1), "size"),
    (generate(size="1024x640", model=GPT_1), "size"),
    (generate(quality="hd", model=GPT_1), "quality"),
    (generate(quality="max", model=GPT_2), "quality"),
    (generate(style="vivid", model=GPT_1), "style"),
    (generate(background="red", model=GPT_1), "background"),
    (generate(moderation="off", model=GPT_1), "moderation"),
    (generate(output_format="bmp", model=GPT_1), "output_format"),
    (generate(output_format="jpeg", output_compression=101, model=GPT_1), "output_compression"),
    (generate(output_format="jpeg", output_compression=-1, model=GPT_1), "output_compression"),
    (generate(output_compression=50, model=GPT_1), "output_compression"),
    (generate(output_format="jpeg", background="transparent", model=GPT_1), "background"),
    (generate(frame_count=4, model=GPT_2), "frame_count"),
    (generate(frame_count=1, model=GPT_2), "frame_count"),
    (generate(frame_duration_ms=5, model=GPT_2), "frame_duration_ms"),
    (generate(svg={"model": "m"}, model=GPT_2), "svg"),
    (generate(complexity="low", model=GPT_2), "complexity"),
    (generate(complexity="none", model="gpt-image-2.6-flare"), "complexity"),
    (generate(size="1000x1000", model=GPT_2), "size"),
    (generate(size="3856x1024", model=GPT_2), "size"),
    (generate(size="2048x640", model=GPT_2), "size"),
    (generate(size="512x512", model=GPT_2), "size"),
    (generate(size="3840x3840", model=GPT_2), "size"),
    (edit(GOOD, input_fidelity="high", model=GPT_2), "input_fidelity"),
    (edit(GOOD, input_fidelity="high", model="gpt-image-1-mini"), "input_fidelity"),
    (edit([GOOD] * 17, model=GPT_1), "image"),
    (edit(_png(kind="GIF", mode="P"), model=GPT_1), "image"),
    (edit(GOOD, mask=_png((32, 32)), model=GPT_1), "mask"),
    (edit(GOOD, mask=OPAQUE, model=GPT_1), "mask"),
    (edit(GOOD, mask=LARGE, model=GPT_1), "mask"),
    (edit(GOOD, markup=GOOD, model=GPT_1), "markup"),
    (edit(GOOD, markup=GOOD, mask=GOOD, model=GPT_25), "markup"),
]


def _name(row: Any) -> str:
    (method, arguments, call), _ = row
    shown = (f"{len(a)} bytes" if isinstance(a, bytes) else repr(a)[:20] for a in arguments)
    options = (f"{k}={'...' if isinstance(v, bytes) else v}" for k, v in call.items())
    return f"{method}({', '.join((*shown, *options))})"[:90]


@pytest.mark.parametrize("row", BAD, ids=_name)
async def test_both_refuse(row: Any, emulator: EmulatorServer, key: str) -> None:
    """What the client refuses is refused by the server, too, for the same parameter."""
    (method, arguments, call), param = row
    options: dict[str, Any] = {"base_url": emulator.base_url, "api_key": key}
    async with ImageSession(**options) as images:
        with pytest.raises(InvalidRequestError) as refused:
            await getattr(images, method)(*arguments, **call)
    assert emulator.requests == []
    assert str(refused.value.field).partition("[")[0] == param
    if param in ("image", "mask"):
        assert isinstance(refused.value, InvalidImageError)
    async with ImageSession(**options, validate="off") as images:
        with pytest.raises(BadRequestError) as answered:
            await getattr(images, method)(*arguments, **call)
    assert answered.value.status == 400
    assert str(answered.value.param).partition("[")[0] == param
    assert emulator.charged == 0


@pytest.mark.parametrize("response_format", ["url", "b64_json"])
async def test_straight_to_disk(
    response_format: str, emulator: EmulatorServer, key: str, png: Png, tmp_path: Path
) -> None:
    """Every kind of call writes what it brings to disk, as it would have been read."""
    options: dict[str, Any] = {"size": SMALL, "response_format": response_format}
    options["save_to"] = tmp_path / "out"
    async with ImageSession(base_url=emulator.base_url, api_key=key) as images:
        responses = [
            await images.generate("a white siamese cat", n=2, **options),
            await images.edit(png(), "a flamingo in a pool", mask=png(), **options),
            await images.create_variation(io.BytesIO(png()), n=2, **options),
        ]
    saved = [image for response in responses for image in response.data]
    assert [image.path and image.path.name for image in saved] == [
        f"image-{number}.png" for number in range(1, 6)
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        image.path.name for image in saved if image.path
    )
    for image in saved:
        with Image.open(io.BytesIO(await image.read())) as picture:
            assert picture.size == (image.width, image.height) == (256, 256)


async def test_streams(emulator: EmulatorServer, key: str, png: Png, tmp_path: Path) -> None:
    """Partial images and the completed one arrive, of generations and of edits, and are charged once."""
    async with ImageSession(base_url=emulator.base_url, api_key=key, model="gpt-image-2") as images:
        for stream in (
            images.stream_generate("a fox", partial_images=2, save_to=tmp_path),
            images.stream_edit(png((1024, 1024)), "a fox", partial_images=2, output_format="webp"),
        ):
            async with stream as events:
                first, second, last = [event async for event in events]
            assert isinstance(first, PartialImage)
            assert isinstance(second, PartialImage)
            assert isinstance(last, CompletedImage)
            assert [first.index, second.index] == [0, 1]
            assert {e.image.mime_type for e in (first, second)} == {last.image.mime_type}
            assert (last.image.width, last.image.height) == (1024, 1024)
            assert len({first.bytes, second.bytes, await last.image.read()}) == 3
            assert last.usage
            assert last.usage["output_tokens"] > 0
            assert last.response.request_id
        assert images.snapshot().used == 2
    assert emulator.charged == 2
    assert [path.name for path in tmp_path.iterdir()] == ["image-1.png"]  # noqa: ASYNC240


async def test_a_stream_that_is_refused_or_left(emulator: EmulatorServer, key: str) -> None:
    """A refusal comes before any event; a stream that is left early leaves the session in order."""
    async with ImageSession(base_url=emulator.base_url, api_key=key, model="gpt-image-2") as images:
        with pytest.raises(ModerationError):
            await anext(images.stream_generate("a [blocked] fox"))
        async with images.stream_generate("a fox", partial_images=3) as events:
            assert isinstance(await anext(events), PartialImage)
        assert len((await images.generate("a fox")).data) == 1
