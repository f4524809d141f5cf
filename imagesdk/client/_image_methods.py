"""The calls of a session whose answer is a set of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from imagesdk.client._assembly import CallOptions
from imagesdk.client._runner import Runner
from imagesdk.client.results import ImagesResponse, SaveTo
from imagesdk.limiters.base import Priority
from imagesdk.models.choices import (
    Background,
    Complexity,
    InputFidelity,
    Model,
    Moderation,
    OutputFormat,
    Quality,
    ResponseFormat,
    Size,
    Style,
)
from imagesdk.models.requests import EditRequest, GenerateRequest, ImageInput, VariationRequest

__all__ = ("ImageMethods",)


class ImageMethods:
    """Generate, edit and vary images, as a part of `imagesdk.ImageSession`."""

    _runner: Runner
    _defaults: CallOptions

    async def generate(
        self,
        prompt: str,
        *,
        model: Model | None = None,
        n: int | None = None,
        size: Size | None = None,
        quality: Quality | None = None,
        style: Style | None = None,
        response_format: ResponseFormat | None = None,
        background: Background | None = None,
        moderation: Moderation | None = None,
        output_format: OutputFormat | None = None,
        output_compression: int | None = None,
        complexity: Complexity | None = None,
        frame_count: int | None = None,
        frame_duration_ms: int | None = None,
        svg: Mapping[str, Any] | None = None,
        safety_identifier: str | None = None,
        user: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_wait: float | None = None,
        priority: Priority = "interactive",
        partial: Literal["raise", "return"] = "raise",
        save_to: SaveTo = None,  # type: ignore[assignment]
    ) -> ImagesResponse[SaveTo]:
        """Make images from a description.

        What is left at None is not sent, and the server's default applies. Which values are allowed
        depends on the model; what breaks a rule is refused before anything is sent.

        Args:
            prompt: The wanted picture; the more detail, the more likely it is what you want. At most 1,000
                characters for the classic API, 4,000 for dall-e-3, 32,000 for GPT Image models.
            model: None for the session's.
            n: Number of images, 1 or more. More than one request may carry (10; dall-e-3: 1) are split
                into several requests that run side by side. The limiter charges n.
            size: ``"256x256"``, ``"512x512"`` or ``"1024x1024"`` for the classic API; smaller is faster. GPT
                Image models: ``"auto"``, ``"1024x1024"``, ``"1536x1024"``, ``"1024x1536"``; from GPT Image 2 on
                also any ``"WxH"`` with both divisible by 16, a ratio up to 3:1, edges up to 3,840 and
                655,360 to 8,294,400 pixels.
            quality: GPT Image: ``"low"``, ``"medium"``, ``"high"``, ``"auto"``, from 2.5 on also ``"xhigh"`` and
                ``"max"``. dall-e-3: ``"standard"`` or ``"hd"``.
            style: dall-e-3: ``"vivid"`` or ``"natural"``.
            response_format: ``"url"`` or ``"b64_json"``; GPT Image models take none and send b64_json.
            background: ``"transparent"`` (png and webp), ``"opaque"`` or ``"auto"``.
            moderation: ``"low"`` or ``"auto"``.
            output_format: ``"png"``, ``"jpeg"``, ``"webp"``; ``"gif"`` and ``"svg"`` from GPT Image 2 on.
            output_compression: 0 to 100, for jpeg and webp.
            complexity: ``"low"``, ``"medium"`` or ``"high"`` (GPT Image 2.6).
            frame_count: 2 to 16, for gif.
            frame_duration_ms: 1 to 655,350 milliseconds, for gif.
            svg: ``{"model": …, "reasoning": {"effort": …}}``, for svg.
            safety_identifier: A stable, anonymous identifier of your end user.
            user: The older name of safety_identifier.
            extra_body: Further fields for the body, for what your server takes beyond this list.
            extra_headers: Further headers.
            timeout: Seconds from the first admission to the end; None for the session's.
            max_wait: Seconds that the call may wait in the queue; None for the session's.
            priority: ``"interactive"`` calls go before ``"batch"`` calls in the limiter's queue.
            partial: When fewer than n images arrive, ``"raise"`` PartialResultError, which holds those that
                did, or ``"return"`` them.
            save_to: A folder, made if need be: images are written there while they arrive, as
                ``image-1.png``, ``image-2.png`` and so on; nothing is replaced. Those at URLs are
                downloaded, for which *timeout* does not count. What cannot be saved is a
                PartialResultError whatever *partial* says, so each image that is returned has a `path`,
                and type checkers know it. None keeps them in memory.

        Returns:
            The images. URLs are good for about an hour: save them soon.

        Raises:
            InvalidRequestError: A rule of the model is broken; nothing was sent.
            RateLimitTooLongError: The wait would be longer than max_wait; nothing was sent.
            APIError: The server refused; see its subclasses.
            TransportError: No usable answer arrived.
            AmbiguousError: The images may have been made, and billed, but no answer arrived.
            PartialResultError: Only some of the images arrived, or could be written to save_to.

        Example:
            >>> import asyncio
            >>> from imagesdk import ImageSession
            >>> async def main():
            ...     async with ImageSession(api_key=key, base_url=url) as images:
            ...         result = await images.generate("a white siamese cat", size="256x256")
            ...         await result.data[0].read()
            ...         return result.data[0].mime_type
            >>> asyncio.run(main())
            'image/png'
        """
        # https://platform.openai.com/docs/api-reference/images/create (read 2026-11-20)
        request = GenerateRequest(
            prompt,
            model=model,
            n=n,
            size=size,
            quality=quality,
            style=style,
            response_format=response_format,
            background=background,
            moderation=moderation,
            output_format=output_format,
            output_compression=output_compression,
            complexity=complexity,
            frame_count=frame_count,
            frame_duration_ms=frame_duration_ms,
            svg=svg,
            safety_identifier=safety_identifier,
            user=user,
            extra_body=extra_body,
            extra_headers=extra_headers,
        )
        return await self._runner.run(
            request, self._defaults.but(timeout, max_wait, priority, partial, save_to)
        )

    async def edit(
        self,
        image: ImageInput | Sequence[ImageInput],
        prompt: str,
        *,
        mask: ImageInput | None = None,
        markup: ImageInput | None = None,
        model: Model | None = None,
        n: int | None = None,
        size: Size | None = None,
        quality: Quality | None = None,
        response_format: ResponseFormat | None = None,
        background: Background | None = None,
        input_fidelity: InputFidelity | None = None,
        output_format: OutputFormat | None = None,
        output_compression: int | None = None,
        complexity: Complexity | None = None,
        frame_count: int | None = None,
        frame_duration_ms: int | None = None,
        svg: Mapping[str, Any] | None = None,
        safety_identifier: str | None = None,
        user: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_wait: float | None = None,
        priority: Priority = "interactive",
        partial: Literal["raise", "return"] = "raise",
        save_to: SaveTo = None,  # type: ignore[assignment]
    ) -> ImagesResponse[SaveTo]:
        """Edit an image where a mask is transparent, or make a new one from several.

        Args:
            image: Bytes, a path, a BytesIO (sent whole), another binary file object (sent from its
                position, never closed), (filename, content, MIME type), a data URL or a PIL image; or a list of
                up to 16 for GPT Image models. Classic API: a square PNG smaller than 4 MiB; without a
                mask its own transparent area is edited, so it needs one. GPT Image models: PNG, WebP or
                JPEG, each smaller than 50 MiB.
            prompt: The full new image, not just the erased area. Lengths as in `generate`.
            mask: PNG smaller than 4 MiB with an alpha channel and the size of the (first) image. Where its
                alpha is 0 the image is edited; what colour the rest has does not matter.
            markup: Instructions drawn on a transparent PNG of the image's size, instead of a mask (GPT
                Image 2.5 and later).
            model: As in `generate`.
            n: As in `generate`.
            size: As in `generate`.
            quality: As in `generate`.
            response_format: As in `generate`.
            background: As in `generate`.
            input_fidelity: ``"high"`` or ``"low"``: how closely to keep to the input (GPT Image 1 and 1.5).
            output_format: As in `generate`.
            output_compression: As in `generate`.
            complexity: As in `generate`.
            frame_count: As in `generate`.
            frame_duration_ms: As in `generate`.
            svg: As in `generate`.
            safety_identifier: As in `generate`.
            user: As in `generate`.
            extra_body: As in `generate`.
            extra_headers: As in `generate`.
            timeout: As in `generate`.
            max_wait: As in `generate`.
            priority: As in `generate`.
            partial: As in `generate`.
            save_to: As in `generate`.

        Returns:
            The images, as `generate` does.

        Raises:
            InvalidImageError: An input is missing, unreadable or breaks a rule; nothing was sent.
            ImageSDKError: As `generate` does.

        Example:
            >>> import asyncio
            >>> from imagesdk import ImageSession
            >>> async def main():
            ...     async with ImageSession(api_key=key, base_url=url) as images:
            ...         result = await images.edit(
            ...             "examples/sunlit_lounge.png",
            ...             "A sunlit indoor lounge area with a pool containing a flamingo",
            ...             mask="examples/mask.png",
            ...             size="256x256",
            ...         )
            ...         await result.data[0].read()
            ...         return result.data[0].width, result.data[0].height
            >>> asyncio.run(main())
            (256, 256)
        """
        # https://platform.openai.com/docs/api-reference/images/createEdit (read 2026-11-20)
        request = EditRequest(
            image,
            prompt,
            mask=mask,
            markup=markup,
            model=model,
            n=n,
            size=size,
            quality=quality,
            response_format=response_format,
            background=background,
            input_fidelity=input_fidelity,
            output_format=output_format,
            output_compression=output_compression,
            complexity=complexity,
            frame_count=frame_count,
            frame_duration_ms=frame_duration_ms,
            svg=svg,
            safety_identifier=safety_identifier,
            user=user,
            extra_body=extra_body,
            extra_headers=extra_headers,
        )
        return await self._runner.run(
            request, self._defaults.but(timeout, max_wait, priority, partial, save_to)
        )

    async def create_variation(
        self,
        image: ImageInput,
        *,
        model: Model | None = None,
        n: int | None = None,
        size: Size | None = None,
        response_format: ResponseFormat | None = None,
        user: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_wait: float | None = None,
        priority: Priority = "interactive",
        partial: Literal["raise", "return"] = "raise",
        save_to: SaveTo = None,  # type: ignore[assignment]
    ) -> ImagesResponse[SaveTo]:
        """Make variations of an image; only servers of the classic API have this.

        Args:
            image: A square PNG smaller than 4 MiB; see `edit` for what it may be given as.
            model: As in `generate`.
            n: As in `generate`.
            size: ``"256x256"``, ``"512x512"`` or ``"1024x1024"``.
            response_format: ``"url"`` or ``"b64_json"``.
            user: An identifier of your end user.
            extra_body: As in `generate`.
            extra_headers: As in `generate`.
            timeout: As in `generate`.
            max_wait: As in `generate`.
            priority: As in `generate`.
            partial: As in `generate`.
            save_to: As in `generate`.

        Returns:
            The images, as `generate` does.

        Raises:
            InvalidImageError: The input is missing, unreadable or breaks a rule; nothing was sent.
            ImageSDKError: As `generate` does.

        Example:
            >>> import asyncio
            >>> from io import BytesIO
            >>> from pathlib import Path
            >>> from imagesdk import ImageSession
            >>> picture = BytesIO(Path("examples/corgi_and_cat_paw.png").read_bytes())
            >>> async def main():
            ...     async with ImageSession(api_key=key, base_url=url) as images:
            ...         return len((await images.create_variation(picture, n=2)).data)
            >>> asyncio.run(main())
            2
        """
        # https://platform.openai.com/docs/api-reference/images/createVariation (read 2026-11-20)
        request = VariationRequest(
            image,
            model=model,
            n=n,
            size=size,
            response_format=response_format,
            user=user,
            extra_body=extra_body,
            extra_headers=extra_headers,
        )
        return await self._runner.run(
            request, self._defaults.but(timeout, max_wait, priority, partial, save_to)
        )
