"""`imagesdk generate`, `edit` and `variation`: one call, whose images are saved while they arrive."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from imagesdk.cli import EXIT_CODES, report_error
from imagesdk.cli.sessions import open_session
from imagesdk.client.results import Image, ImagesResponse
from imagesdk.client.session import ImageSession
from imagesdk.client.streaming import CompletedImage, PartialImage
from imagesdk.errors import ConfigurationError, PartialResultError
from imagesdk.sinks import Folder

__all__ = ("run",)


async def run(arguments: argparse.Namespace) -> int:
    """Make one call and save what it brings, while it arrives."""
    code = EXIT_CODES["done"]
    if not arguments.name or Path(arguments.name).name != arguments.name:
        raise ConfigurationError(
            f"--name is {arguments.name!r}; it must be a file name without a path"
        )
    if arguments.command != "variation" and _wants_stream(arguments):
        async with open_session(arguments) as session:
            return await _stream(session, arguments)
    async with open_session(arguments) as session:
        try:
            result = await _call(session, arguments)
        except PartialResultError as error:
            code = report_error(error, "some_failed")
            result = error.result
    if arguments.json:
        print(json.dumps(_document(result), indent=2))
    else:
        for image in result.data:
            if image.path is not None or image.url is not None:  # the report says why it is no file
                print(_shown(image.url) if image.path is None else _line(image))
    return code


def _shown(url: str | None) -> str:
    """Return a URL without what would move the cursor of a terminal: a server wrote it."""
    return "".join(c if c.isprintable() else quote(c) for c in url or "")


def _line(image: Image) -> str:
    return f"{image.path}  {image.width}x{image.height} {image.mime_type}"


def _fields(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the arguments of *names*, and those that every call takes."""
    names = ("size", "model", "user", *names)
    if arguments.command != "variation":
        names += ("quality", "background", "output_format", "output_compression")
    fields = {name: getattr(arguments, name) for name in names}
    fields["save_to"] = Folder(arguments.out, name=arguments.name)
    return fields | {"extra_body": _extra(arguments.extra)}


async def _call(session: ImageSession, arguments: argparse.Namespace) -> ImagesResponse:
    fields = _fields(arguments, "n", "response_format")
    match arguments.command:
        case "generate":
            fields |= {"style": arguments.style, "moderation": arguments.moderation}
            return await session.generate(arguments.prompt, **fields)
        case "edit":
            fields |= {"mask": arguments.mask, "input_fidelity": arguments.input_fidelity}
            return await session.edit(_images(arguments), arguments.prompt, **fields)
        case _:
            return await session.create_variation(arguments.image, **fields)


def _images(arguments: argparse.Namespace) -> str | list[str]:
    images: list[str] = arguments.image
    return images if len(images) > 1 else images[0]


def _wants_stream(arguments: argparse.Namespace) -> bool:
    """Return whether the call is streamed.

    Raises:
        ConfigurationError: An option does not go with that.
    """
    if not arguments.stream:
        if arguments.partial_images is not None:
            raise ConfigurationError("--partial-images needs --stream")
        return False
    for name in ("n", "response_format", "style"):
        if getattr(arguments, name, None) is not None:
            option = f"-{name}" if name == "n" else f"--{name.replace('_', '-')}"
            raise ConfigurationError(f"{option} does not go with --stream, which makes one image")
    return True


async def _stream(session: ImageSession, arguments: argparse.Namespace) -> int:
    """Make one streamed call; save and show each image as it arrives."""
    fields = _fields(arguments)
    wanted = arguments.partial_images
    fields["partial_images"] = 2 if wanted is None else wanted
    if arguments.command == "generate":
        stream = session.stream_generate(
            arguments.prompt, moderation=arguments.moderation, **fields
        )
    else:
        stream = session.stream_edit(
            _images(arguments),
            arguments.prompt,
            mask=arguments.mask,
            input_fidelity=arguments.input_fidelity,
            **fields,
        )
    failure: OSError | None = None
    async with stream as events:
        async for event in events:
            try:
                await _show(event, arguments)
            except OSError as error:  # a full disk or a closed pipe; what is paid for still comes
                failure = error
    return EXIT_CODES["done"] if failure is None else report_error(failure, "some_failed")


async def _show(event: PartialImage | CompletedImage, arguments: argparse.Namespace) -> None:
    """Save a partial image, as the session has saved the completed one, and print a line."""
    if isinstance(event, PartialImage):
        one = ImagesResponse(created=None, data=(event.image,))
        await one.save(arguments.out, name=f"{arguments.name}-partial")
        said = {"event": "partial", "index": event.index, **_description(event.image)}
    else:
        said = {"event": "completed", **_document(event.response)}
    print(json.dumps(said) if arguments.json else _line(event.image), flush=True)


def _extra(pairs: list[str]) -> Mapping[str, Any] | None:
    """Read ``NAME=VALUE`` pairs; what is no JSON is text."""
    fields: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--extra is {pair!r}; it must be NAME=VALUE")
        try:
            fields[name] = json.loads(text)
        except ValueError:
            fields[name] = text
    return fields or None


def _description(image: Image) -> Mapping[str, Any]:
    return {
        "path": str(image.path) if image.path is not None else None,
        "mime_type": image.mime_type,
        "width": image.width,
        "height": image.height,
    }


def _document(result: ImagesResponse) -> Mapping[str, Any]:
    return {
        "created": result.created,
        "images": [
            {**_description(image), "url": image.url, "revised_prompt": image.revised_prompt}
            for image in result.data
        ],
        "usage": result.usage,
        "request_id": result.request_id,
        "attempts": len(result.attempts),
    }
