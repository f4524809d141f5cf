"""The Images API without HTTP: check a request, charge it, have it painted, word the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any

import attrs

from imagesdk.emulator.blobs import BlobStore
from imagesdk.emulator.faults import Fault
from imagesdk.emulator.forms import UploadedFile
from imagesdk.emulator.idempotency import Claim
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
from imagesdk.emulator.spec import Endpoint
from imagesdk.emulator.studio import Studio, as_base64, output_size, spoil

__all__ = ("Bill", "ImageService", "Order")

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


@attrs.define
class Bill:
    """What an account would have to pay.

    Attributes:
        images: Images that were made, whether they arrived or not.
    """

    images: int = 0


@attrs.define(kw_only=True)
class Order:
    """Who asks for pictures, and what happens to their request.

    Attributes:
        api_key: Who asks, and whose rate limit counts.
        request_id: Named in the words of some refusals.
        url_prefix: Address below which the pictures are served.
        fault: What goes wrong with the answer.
        claim: What the request's idempotency key makes of it.
        charged: Images that were billed for it.
    """

    api_key: str
    request_id: str
    url_prefix: str
    fault: Fault = attrs.field(factory=Fault)
    claim: Claim = attrs.field(factory=Claim)
    charged: int = 0


@attrs.define(kw_only=True)
class ImageService:
    """Answers image requests.

    Attributes:
        limit: Rate limit, or None for no limit.
        blobs: Where pictures at URLs are kept.
        clock: Returns the epoch time in seconds.
        studio: Makes the pictures.
        blocked_prompts: Refuse prompts that contain one of these, in any case.
        blocked_images: Refuse uploads with exactly these bytes.
        seconds_per_image: What a 1024x1024 picture takes beyond painting; the pictures of one
            request are made side by side.
        bill: What is charged. With another one in its place, requests that are still answered are
            charged to the old one.
    """

    limit: ImageLimit | None
    blobs: BlobStore
    clock: Callable[[], float]
    studio: Studio
    blocked_prompts: Iterable[str] = ()
    blocked_images: frozenset[bytes] = frozenset()
    seconds_per_image: float = 0.0
    bill: Bill = attrs.field(factory=Bill)

    async def answer(self, job: Job, order: Order) -> dict[str, Any] | Refusal:
        """Return the body of the answer, or refuse.

        Checked in this order: pictures, content policy, rate limit. What is made is charged,
        whether it arrives or not; what the limit admitted stays counted.
        """
        bill = self.bill
        pictures = await self._accept(job, order)
        if isinstance(pictures, Refusal):
            return pictures
        size = output_size(job, pictures)
        files = await asyncio.to_thread(self.studio.files, job, pictures)
        await asyncio.sleep(self._seconds_for(size))
        self._charge(order, bill, len(files))
        files = await asyncio.to_thread(spoil, files, order.fault.file)
        data = await self._data(job, order, files)
        answer = {"created": int(order.claim.created or self.clock()), "data": data}
        return {**answer, **_gpt_members(job, pictures, size)} if job.family.is_gpt else answer

    async def _data(self, job: Job, order: Order, files: Sequence[bytes]) -> list[dict[str, str]]:
        """Return the pictures as the answer carries them."""
        files = files[: order.fault.images]
        if job.family.is_gpt or job.param("response_format") == "b64_json":
            texts = await asyncio.to_thread(as_base64, files, order.fault.bad_base64)
            data = [{"b64_json": text} for text in texts]
        else:
            now, expired = self.clock(), bool(order.fault.expired)
            names = [
                self.blobs.put(file, "png", "image/png", now, expired=expired) for file in files
            ]
            data = [{"url": order.url_prefix + name} for name in names]
        if job.model == "dall-e-3":
            return [{**item, "revised_prompt": job.prompt} for item in data]
        return data

    async def stream(
        self, job: Job, order: Order, *, is_wanted: Callable[[], bool]
    ) -> AsyncGenerator[dict[str, Any], None] | Refusal:
        """Return the events of an answer that streams, or refuse as `answer` does.

        The partial images come at equal distances while the picture is made, and the picture
        itself is the one that `answer` returns.

        Args:
            job: The request, for one picture of a GPT Image model.
            order: Who asks for it.
            is_wanted: Tells whether somebody still waits; if not, the events end early and
                nothing is charged.

        Returns:
            An asynchronous generator, to be closed by the caller.
        """
        bill = self.bill
        pictures = await self._accept(job, order)
        if isinstance(pictures, Refusal):
            return pictures
        return self._events(job, order, bill, pictures, is_wanted)

    async def _events(
        self,
        job: Job,
        order: Order,
        bill: Bill,
        pictures: Sequence[Picture],
        is_wanted: Callable[[], bool],
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the partial images and the picture as events (section 3.5)."""
        size = output_size(job, pictures)
        count = int(job.param("partial_images", 0))
        name = "image_generation" if job.endpoint is Endpoint.GENERATION else "image_edit"
        members = _gpt_members(job, pictures, size)
        usage = members.pop("usage")
        image = await asyncio.to_thread(self.studio.paint, job, pictures, 0)
        for index in range(count + 1):
            file = await asyncio.to_thread(self.studio.shown, job, image, index, count)
            (file,) = await asyncio.to_thread(spoil, [file], order.fault.file)
            (shown,) = await asyncio.to_thread(as_base64, [file], order.fault.bad_base64)
            if not await _spend(self._seconds_for(size) / (count + 1), is_wanted):
                return
            partial = index < count
            event = {
                "type": f"{name}.{'partial_image' if partial else 'completed'}",
                "b64_json": shown,
                "created_at": int(order.claim.created or self.clock()),
                **members,
            }
            if partial:
                yield {**event, "partial_image_index": index}
            else:
                self._charge(order, bill, 1)
                yield {**event, "usage": usage}

    def _charge(self, order: Order, bill: Bill, images: int) -> None:
        """Charge what was made, unless the answer repeats one that was charged."""
        if order.claim.created is None:
            order.charged = images
            bill.images += images
            order.claim.settled = self.clock()

    async def _accept(self, job: Job, order: Order) -> list[Picture] | Refusal:
        """Return the uploads of a request that is admitted, or refuse it."""
        pictures = await asyncio.to_thread(_read_pictures, job.files)
        refusal = (
            check_pictures(
                job.family.uploads,
                pictures,
                alpha_is_mask=job.endpoint is Endpoint.EDIT and not job.family.is_gpt,
            )
            or self._moderate(job, order.request_id)
            or self._admit(job, order)
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

    def _admit(self, job: Job, order: Order) -> Refusal | None:
        """Count the pictures against the limit of the key, or refuse."""
        if self.limit is None or order.claim.created is not None:
            return None
        overrun = self.limit.admit(order.api_key, job.count, self.clock())
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
