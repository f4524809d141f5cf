"""The Images API without HTTP: check a request, charge it, paint it, word the answer."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
from PIL import Image

from imagesdk.emulator import painter
from imagesdk.emulator._modes import shrunk
from imagesdk.emulator.blobs import BlobStore
from imagesdk.emulator.forms import UploadedFile
from imagesdk.emulator.jobs import Job
from imagesdk.emulator.limits import ImageLimit, Overrun, format_wait, whole_ms
from imagesdk.emulator.pictures import Picture, check_pictures, read_picture
from imagesdk.emulator.refusals import (
    Refusal,
    limit_reached_classic,
    limit_reached_gpt,
    moderation_blocked,
    policy_violation,
)
from imagesdk.emulator.rules import parse_size
from imagesdk.emulator.spec import Endpoint

__all__ = ("ImageService",)

_MEGAPIXEL = 1024 * 1024
# Output tokens of one 1024x1024 picture; gpt-image-1's price list, scaled by pixels elsewhere.
# https://platform.openai.com/docs/guides/image-generation (read 2026-11-21; xhigh, max: guessed)
_OUTPUT_TOKENS = {"low": 272, "medium": 1056, "high": 4160, "xhigh": 8320, "max": 16640}
_PIXELS_PER_INPUT_TOKEN = 32 * 32
_CHARS_PER_TOKEN = 4
# images-api.md section 3.2, read 2026-11-20
_TOKENS_PER_PARTIAL_IMAGE = 100
# Seconds between two looks whether anybody still waits for a stream.
_LOOK_EVERY = 0.05


@attrs.define(kw_only=True)
class ImageService:
    """Answers image requests.

    Attributes:
        limit: Rate limit, or None for no limit.
        blobs: Where pictures at URLs are kept.
        clock: Returns the epoch time in seconds.
        blocked_prompts: Refuse prompts that contain one of these, in any case.
        blocked_images: Refuse uploads with exactly these bytes.
        seconds_per_image: What a 1024x1024 picture takes beyond painting; the pictures of one
            request are made side by side.
        charged: Pictures delivered, which is what a real account would pay for.
    """

    limit: ImageLimit | None
    blobs: BlobStore
    clock: Callable[[], float]
    blocked_prompts: Iterable[str] = ()
    blocked_images: frozenset[bytes] = frozenset()
    seconds_per_image: float = 0.0
    charged: int = 0

    async def answer(
        self, job: Job, *, api_key: str, request_id: str, url_prefix: str
    ) -> dict[str, Any] | Refusal:
        """Return the body of the answer, or refuse.

        Checked in this order: pictures, content policy, rate limit. Only what is delivered is
        charged; what the limit admitted stays counted even if the client goes away.

        Args:
            job: The request.
            api_key: Who asks, and whose rate limit counts.
            request_id: Named in the words of some refusals.
            url_prefix: Address below which the pictures are served.
        """
        pictures = await self._accept(job, api_key, request_id)
        if isinstance(pictures, Refusal):
            return pictures
        size = _output_size(job, pictures)
        painted = await asyncio.to_thread(_paint_all, job, pictures, size)
        await asyncio.sleep(self._seconds_for(size))
        self.charged += len(painted)
        now = self.clock()
        answer: dict[str, Any] = {"created": int(now)}
        if job.family.is_gpt:
            data = await asyncio.to_thread(_as_base64, painted)
            return {**answer, "data": data, **_gpt_members(job, pictures, size)}
        if job.param("response_format") == "b64_json":
            data = await asyncio.to_thread(_as_base64, painted)
        else:
            data = [
                {"url": url_prefix + self.blobs.put(image, "png", "image/png", now)}
                for image in painted
            ]
        if job.model == "dall-e-3":
            data = [{**item, "revised_prompt": job.prompt} for item in data]
        return {**answer, "data": data}

    async def stream(
        self, job: Job, *, api_key: str, request_id: str, is_wanted: Callable[[], bool]
    ) -> AsyncGenerator[dict[str, Any], None] | Refusal:
        """Return the events of an answer that streams, or refuse as `answer` does.

        The partial images come at equal distances while the picture is made, and the picture
        itself is the one that `answer` returns.

        Args:
            job: The request, for one picture of a GPT Image model.
            api_key: Who asks, and whose rate limit counts.
            request_id: Named in the words of some refusals.
            is_wanted: Tells whether somebody still waits; if not, the events end early and
                nothing is charged.

        Returns:
            An asynchronous generator, to be closed by the caller.
        """
        pictures = await self._accept(job, api_key, request_id)
        if isinstance(pictures, Refusal):
            return pictures
        return self._events(job, pictures, is_wanted)

    async def _events(
        self, job: Job, pictures: Sequence[Picture], is_wanted: Callable[[], bool]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the partial images and the picture as events (section 3.5)."""
        size = _output_size(job, pictures)
        count = int(job.param("partial_images", 0))
        name = "image_generation" if job.endpoint is Endpoint.GENERATION else "image_edit"
        members = _gpt_members(job, pictures, size)
        usage = members.pop("usage")
        image = await asyncio.to_thread(lambda: next(_paint(job, pictures, size)))
        for index in range(count + 1):
            shown = await asyncio.to_thread(_show, job, image, index, count)
            if not await _spend(self._seconds_for(size) / (count + 1), is_wanted):
                return
            partial = index < count
            event = {
                "type": f"{name}.{'partial_image' if partial else 'completed'}",
                "b64_json": shown,
                "created_at": int(self.clock()),
                **members,
            }
            if partial:
                yield {**event, "partial_image_index": index}
            else:
                self.charged += 1
                yield {**event, "usage": usage}

    async def _accept(self, job: Job, api_key: str, request_id: str) -> list[Picture] | Refusal:
        """Return the uploads of a request that is admitted, or refuse it."""
        pictures = await asyncio.to_thread(_read_pictures, job.files)
        refusal = (
            check_pictures(
                job.family.uploads,
                pictures,
                alpha_is_mask=job.endpoint is Endpoint.EDIT and not job.family.is_gpt,
            )
            or self._moderate(job, request_id)
            or self._admit(job, api_key)
        )
        return pictures if refusal is None else refusal

    def _seconds_for(self, size: tuple[int, int]) -> float:
        """Return what pictures of a size take beyond painting."""
        return self.seconds_per_image * size[0] * size[1] / _MEGAPIXEL

    def _moderate(self, job: Job, request_id: str) -> Refusal | None:
        """Refuse blocked prompts and pictures."""
        prompt = job.prompt.casefold()
        if not (
            any(marker.casefold() in prompt for marker in self.blocked_prompts)
            or any(file.data in self.blocked_images for file in job.files)
        ):
            return None
        return moderation_blocked(request_id) if job.family.is_gpt else policy_violation()

    def _admit(self, job: Job, api_key: str) -> Refusal | None:
        """Count the pictures against the limit of the key, or refuse."""
        if self.limit is None:
            return None
        overrun = self.limit.admit(api_key, job.count, self.clock())
        return None if overrun is None else _limit_refusal(job, overrun)


def _limit_refusal(job: Job, overrun: Overrun) -> Refusal:
    """Word a rate limit refusal, with the headers that say how long to wait."""
    retry_after = overrun.retry_after
    if job.family.is_gpt:
        wait = None if retry_after is None else format_wait(retry_after)
        refusal = limit_reached_gpt(job.model, overrun.limit, overrun.used, job.count, wait)
    else:
        refusal = limit_reached_classic(overrun.limit, overrun.used, job.count)
    if retry_after is None:
        return refusal
    return attrs.evolve(refusal, headers=_wait_headers(retry_after))


def _wait_headers(seconds: float) -> dict[str, str]:
    """Return Retry-After and retry-after-ms, both rounded up and at least 1 (section 3)."""
    wait_ms = max(1, whole_ms(seconds))
    return {"Retry-After": str(-(-wait_ms // 1000)), "retry-after-ms": str(wait_ms)}


def _read_pictures(files: Sequence[UploadedFile]) -> list[Picture]:
    """Decode all uploads; runs in a thread."""
    return [
        read_picture(file.field.removesuffix("[]"), file.content_type, file.data) for file in files
    ]


def _output_size(job: Job, pictures: Sequence[Picture]) -> tuple[int, int]:
    """Return the size to paint; "auto" follows the shape of the first upload."""
    asked = parse_size(str(job.param("size", job.family.default_size)))
    if asked is not None:
        return asked
    if not pictures:
        return (1024, 1024)
    width, height = pictures[0].size
    return min(
        ((1024, 1024), (1536, 1024), (1024, 1536)),
        key=lambda size: abs(size[0] / size[1] - width / height),
    )


async def _spend(seconds: float, is_wanted: Callable[[], bool]) -> bool:
    """Wait as long as somebody waits for the outcome; return whether somebody still does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while is_wanted():
        left = end - loop.time()
        if left <= 0:
            return True
        await asyncio.sleep(min(left, _LOOK_EVERY))
    return False


def _paint(job: Job, pictures: Sequence[Picture], size: tuple[int, int]) -> Iterator[Image.Image]:
    """Paint the pictures of a request, one at each step; runs in a thread."""
    first = reversed(pictures)  # of several images the first is painted on
    by_role = {picture.role: picture.image for picture in first if picture.image is not None}
    images = [picture.image for picture in pictures if picture.role == "image"]
    others = [shrunk(image, size) for image in images[1:] if image is not None]

    def paint_one(index: int) -> Image.Image:
        if job.endpoint is Endpoint.GENERATION:
            transparent = job.param("background") == "transparent"
            return painter.paint(job.prompt, size, index=index, transparent=transparent)
        if job.endpoint is Endpoint.VARIATION:
            return painter.vary(by_role["image"], size, index=index)
        return painter.edit(
            by_role["image"], by_role.get("mask"), job.prompt, size, index=index, others=others
        )

    return map(paint_one, range(job.count))


def _paint_all(job: Job, pictures: Sequence[Picture], size: tuple[int, int]) -> list[bytes]:
    """Paint and encode all pictures of a request; runs in a thread."""
    return [_encode(job, image) for image in _paint(job, pictures, size)]


def _encode(job: Job, image: Image.Image) -> bytes:
    """Return a picture in the format that was asked for; runs in a thread."""
    compression = job.param("output_compression")
    return painter.encode(image, job.output_format, compression=compression)


def _show(job: Job, image: Image.Image, index: int, count: int) -> str:
    """Return partial image *index* of *count*, or the picture after them; runs in a thread."""
    shown = painter.preview(image, index, count) if index < count else image
    return b64encode(_encode(job, shown)).decode()


def _as_base64(images: Sequence[bytes]) -> list[dict[str, str]]:
    """Return the data of an answer that carries its pictures; runs in a thread."""
    return [{"b64_json": b64encode(image).decode()} for image in images]


def _gpt_members(job: Job, pictures: Sequence[Picture], size: tuple[int, int]) -> dict[str, Any]:
    """Return what GPT Image answers say besides the pictures; "auto" is resolved."""
    quality = _resolved(job.param("quality"), "medium")
    return {
        "background": _resolved(job.param("background"), "opaque"),
        "output_format": job.output_format,
        "quality": quality,
        "size": f"{size[0]}x{size[1]}",
        "usage": _usage(job, pictures, size, quality),
    }


def _resolved(asked: str | None, otherwise: str) -> str:
    """Return what was asked for, or what "auto" and nothing at all come down to."""
    return otherwise if asked in {None, "auto"} else str(asked)


def _usage(
    job: Job, pictures: Sequence[Picture], size: tuple[int, int], quality: str
) -> dict[str, Any]:
    """Return plausible token counts: right in shape and proportion, not in price."""
    text_tokens = -(-len(job.prompt) // _CHARS_PER_TOKEN)
    pixels = sum(picture.size[0] * picture.size[1] for picture in pictures)
    image_tokens = -(-pixels // _PIXELS_PER_INPUT_TOKEN)
    each = round(_OUTPUT_TOKENS[quality] * size[0] * size[1] / _MEGAPIXEL)
    partial_images = int(job.param("partial_images", 0))
    input_tokens = text_tokens + image_tokens
    output_tokens = each * job.count + partial_images * _TOKENS_PER_PARTIAL_IMAGE
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"image_tokens": image_tokens, "text_tokens": text_tokens},
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }
