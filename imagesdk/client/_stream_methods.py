"""The calls of a session whose answer is a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagesdk.client._assembly import CallOptions
from imagesdk.client._runner import Runner
from imagesdk.client.results import SaveTo
from imagesdk.client.streaming import CompletedImage, Deliver, ImageStream
from imagesdk.limiters.base import Priority
from imagesdk.models.choices import (
    Background,
    Complexity,
    InputFidelity,
    Model,
    Moderation,
    OutputFormat,
    Quality,
    Size,
)
from imagesdk.models.requests import EditRequest, GenerateRequest, ImageInput, StreamOptions

__all__ = ("StreamMethods",)


class StreamMethods:
    """Stream images on their way, as a part of `imagesdk.ImageSession`."""

    _runner: Runner
    _defaults: CallOptions
    _streams: set[ImageStream[Any]]

    def stream_generate(
        self,
        prompt: str,
        *,
        partial_images: int | None = None,
        model: Model | None = None,
        size: Size | None = None,
        quality: Quality | None = None,
        background: Background | None = None,
        moderation: Moderation | None = None,
        output_format: OutputFormat | None = None,
        output_compression: int | None = None,
        complexity: Complexity | None = None,
        safety_identifier: str | None = None,
        user: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_wait: float | None = None,
        priority: Priority = "interactive",
        save_to: SaveTo = None,  # type: ignore[assignment]
    ) -> ImageStream[SaveTo]:
        """Generate one image from a description, and hand out what there is of it on the way.

        Until the first event has arrived, the call is sent again where `generate` would be; from then on
        never.

        Args:
            prompt: As in `generate`.
            partial_images: Images on the way, 0 to 3, each of which is billed; None for the server's
                default. Fewer may come if the image is done sooner.
            model: As in `generate`; GPT Image models stream.
            size: As in `generate`.
            quality: As in `generate`.
            background: As in `generate`.
            moderation: As in `generate`.
            output_format: ``"png"``, ``"jpeg"`` or ``"webp"``.
            output_compression: As in `generate`.
            complexity: As in `generate`.
            safety_identifier: As in `generate`.
            user: As in `generate`.
            extra_body: As in `generate`.
            extra_headers: As in `generate`.
            timeout: Seconds from the first admission to the end of the stream, with the time that you
                take for its events; None for the session's.
            max_wait: As in `generate`.
            priority: As in `generate`.
            save_to: As in `generate`, for the completed image, which is there before you get it.

        Returns:
            An object for ``async with … as events: async for event in events``: each event is a
            `PartialImage`, the last a `CompletedImage`. It raises what `generate` raises, and:

        Raises:
            StreamIncompleteError: The stream ended without its completed image; the last partial image
                is kept in the error.
            APIError: The server refused, or gave up on the way; see its subclasses.

        Example:
            >>> import asyncio
            >>> from imagesdk import ImageSession
            >>> async def main():
            ...     async with ImageSession(api_key=key, base_url=url, model="gpt-image-2") as images:
            ...         async with images.stream_generate("a fox", partial_images=2) as events:
            ...             return [(type(e).__name__, e.image.mime_type) async for e in events]
            >>> asyncio.run(main())[-1]
            ('CompletedImage', 'image/png')
        """
        # https://platform.openai.com/docs/api-reference/images-streaming (read 2026-11-20)
        request = GenerateRequest(
            prompt,
            model=model,
            size=size,
            quality=quality,
            background=background,
            moderation=moderation,
            output_format=output_format,
            output_compression=output_compression,
            complexity=complexity,
            safety_identifier=safety_identifier,
            user=user,
            extra_body=extra_body,
            extra_headers=extra_headers,
        )
        options = self._defaults.but(timeout, max_wait, priority, "raise", save_to)
        return self._stream(request, options, partial_images)

    def stream_edit(
        self,
        image: ImageInput | Sequence[ImageInput],
        prompt: str,
        *,
        partial_images: int | None = None,
        mask: ImageInput | None = None,
        markup: ImageInput | None = None,
        model: Model | None = None,
        size: Size | None = None,
        quality: Quality | None = None,
        background: Background | None = None,
        input_fidelity: InputFidelity | None = None,
        output_format: OutputFormat | None = None,
        output_compression: int | None = None,
        complexity: Complexity | None = None,
        safety_identifier: str | None = None,
        user: str | None = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_wait: float | None = None,
        priority: Priority = "interactive",
        save_to: SaveTo = None,  # type: ignore[assignment]
    ) -> ImageStream[SaveTo]:
        """Edit an image, and hand out what there is of the new one on the way.

        Args:
            image: As in `edit`.
            prompt: As in `edit`.
            partial_images: As in `stream_generate`.
            mask: As in `edit`.
            markup: As in `edit`.
            model: As in `stream_generate`.
            size: As in `generate`.
            quality: As in `generate`.
            background: As in `generate`.
            input_fidelity: As in `edit`.
            output_format: As in `stream_generate`.
            output_compression: As in `generate`.
            complexity: As in `generate`.
            safety_identifier: As in `generate`.
            user: As in `generate`.
            extra_body: As in `generate`.
            extra_headers: As in `generate`.
            timeout: As in `stream_generate`.
            max_wait: As in `generate`.
            priority: As in `generate`.
            save_to: As in `stream_generate`.

        Returns:
            The events, as `stream_generate` does.

        Raises:
            InvalidImageError: An input is missing, unreadable or breaks a rule; nothing was sent.
            ImageSDKError: As `stream_generate` does.

        Example:
            >>> import asyncio
            >>> from imagesdk import ImageSession
            >>> async def main():
            ...     async with ImageSession(api_key=key, base_url=url, model="gpt-image-2") as images:
            ...         lounge, prompt = "examples/sunlit_lounge.png", "a lounge with a flamingo"
            ...         async with images.stream_edit(lounge, prompt, partial_images=1) as events:
            ...             return [type(event).__name__ async for event in events]
            >>> asyncio.run(main())
            ['PartialImage', 'CompletedImage']
        """
        # https://platform.openai.com/docs/api-reference/images-edit-streaming (read 2026-11-20)
        request = EditRequest(
            image,
            prompt,
            mask=mask,
            markup=markup,
            model=model,
            size=size,
            quality=quality,
            background=background,
            input_fidelity=input_fidelity,
            output_format=output_format,
            output_compression=output_compression,
            complexity=complexity,
            safety_identifier=safety_identifier,
            user=user,
            extra_body=extra_body,
            extra_headers=extra_headers,
        )
        options = self._defaults.but(timeout, max_wait, priority, "raise", save_to)
        return self._stream(request, options, partial_images)

    def _stream(
        self,
        request: GenerateRequest | EditRequest,
        options: CallOptions,
        partial_images: int | None,
    ) -> ImageStream[Any]:
        wanted = StreamOptions(partial_images=partial_images)

        async def run(deliver: Deliver) -> CompletedImage[Any]:
            self._streams.add(stream)  # not before: one that is never used is not kept
            return await self._runner.stream(request, options, wanted, deliver)

        return (stream := ImageStream(run, forget=self._streams.discard))
