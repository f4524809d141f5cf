"""`imagesdk generate`, `edit` and `variation`: one call, whose images are saved while they arrive."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from imagesdk.batch import estimate
from imagesdk.cli import EXIT_CODES, report_error
from imagesdk.cli.batch_said import told_estimate
from imagesdk.cli.sessions import open_session
from imagesdk.client.results import Image, ImagesResponse
from imagesdk.client.session import ImageSession, rules_of
from imagesdk.client.streaming import CompletedImage, PartialImage
from imagesdk.errors import ConfigurationError, PartialResultError
from imagesdk.models.requests import EditRequest, GenerateRequest, ImageRequest, VariationRequest
from imagesdk.sinks import Folder

__all__ = ("run",)

_METHODS: Mapping[str, Callable[..., Awaitable[ImagesResponse]]] = {
    "generate": ImageSession.generate,
    "edit": ImageSession.edit,
    "variation": ImageSession.create_variation,
}
_REQUESTS: Mapping[str, Callable[..., ImageRequest]] = {
    "generate": GenerateRequest,
    "edit": EditRequest,
    "variation": VariationRequest,
}


async def run(arguments: argparse.Namespace) -> int:
    """Make one call and save what it brings, while it arrives."""
    code = EXIT_CODES["done"]
    if not arguments.name or Path(arguments.name).name != arguments.name:
        raise ConfigurationError(
            f"--name is {arguments.name!r}; it must be a file name without a path"
        )
    if arguments.prices is not None and not arguments.dry_run:
        raise ConfigurationError("--prices needs --dry-run")
    if arguments.command != "variation" and _wants_stream(arguments):
        async with open_session(arguments) as session:
            return await _stream(session, arguments)
    given, fields = _given(arguments)
    if arguments.dry_run:
        return await _foresee(_REQUESTS[arguments.command](*given, **fields), arguments)
    async with open_session(arguments) as session:
        try:
            result = await _METHODS[arguments.command](
                session, *given, save_to=_folder(arguments), **fields
            )
        except PartialResultError as error:
            code = await _rescue(error, arguments)
            result = error.result
    if arguments.json:
        print(json.dumps(_document(result), indent=2))
    else:
        _print_lines(result)
    return code


def _shown(url: str | None) -> str:
    """Return a URL without what would move the cursor of a terminal: a server wrote it."""
    return "".join(c if c.isprintable() else quote(c) for c in url or "")


def _print_lines(result: ImagesResponse) -> None:
    for image in result.data:
        if image.path is not None or image.url is not None:  # the report says why it is no file
            print(_shown(image.url) if image.path is None else _line(image), flush=True)


def _line(image: Image) -> str:
    return f"{image.path}  {image.width}x{image.height} {image.mime_type}"


def _fields(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the arguments of *names*, and those that every call takes."""
    names = ("size", "model", "user", *names)
    if arguments.command != "variation":
        names += ("quality", "background", "output_format", "output_compression")
    fields = {name: getattr(arguments, name) for name in names}
    return fields | {"extra_body": _extra(arguments.extra)}


def _folder(arguments: argparse.Namespace) -> Folder:
    return Folder(arguments.out, name=arguments.name)


def _given(arguments: argparse.Namespace) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call, or of its request: those with a place, and those with a name."""
    fields = _fields(arguments, "n", "response_format")
    match arguments.command:
        case "generate":
            fields |= {"style": arguments.style, "moderation": arguments.moderation}
            return (arguments.prompt,), fields
        case "edit":
            fields |= {"mask": arguments.mask, "input_fidelity": arguments.input_fidelity}
            return (_images(arguments), arguments.prompt), fields
        case _:
            return (arguments.image,), fields


async def _foresee(request: ImageRequest, arguments: argparse.Namespace) -> int:
    """Check a request, and say what it costs and how long it waits; send nothing."""
    async with open_session(arguments) as session:
        await asyncio.to_thread(rules_of(session), request)
        found = await estimate(session, request, prices=arguments.prices)
        limit = session.snapshot(request.model).limit
    print(json.dumps(attrs.asdict(found)) if arguments.json else told_estimate(found, limit))
    return EXIT_CODES["done"]


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
    if arguments.dry_run:
        raise ConfigurationError(
            "--dry-run does not go with --stream: no price table says what images on the way cost"
        )
    for name in ("n", "response_format", "style"):
        if getattr(arguments, name, None) is not None:
            option = f"-{name}" if name == "n" else f"--{name.replace('_', '-')}"
            raise ConfigurationError(f"{option} does not go with --stream, which makes one image")
    return True


async def _stream(session: ImageSession, arguments: argparse.Namespace) -> int:
    """Make one streamed call; save and show each image as it arrives."""
    fields: dict[str, Any] = {**_fields(arguments), "save_to": _folder(arguments)}
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
    code = EXIT_CODES["done"]
    failure: OSError | None = None
    async with stream as events:
        try:
            async for event in events:
                try:
                    await _show(event, arguments)
                except OSError as error:
                    failure = error  # a full disk or a closed pipe; what is paid for still comes
        except PartialResultError as error:
            code = await _rescue(error, arguments)
            _show_completed(error.result, arguments)
    return code if failure is None else report_error(failure, "some_failed")


async def _show(event: PartialImage | CompletedImage, arguments: argparse.Namespace) -> None:
    """Save a partial image, as the session has saved the completed one, and print a line."""
    if isinstance(event, CompletedImage):
        _show_completed(event.response, arguments)
        return
    one = ImagesResponse(created=None, data=(event.image,))
    await one.save(arguments.out, name=f"{arguments.name}-partial")
    said = {"event": "partial", "index": event.index, **_description(event.image)}
    print(json.dumps(said) if arguments.json else _line(event.image), flush=True)


def _show_completed(result: ImagesResponse, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps({"event": "completed", **_document(result)}), flush=True)
    else:
        _print_lines(result)


async def _rescue(error: PartialResultError, arguments: argparse.Namespace) -> int:
    """Tell of a result that is not as it was asked for, and return the exit code.

    What the disk did not take is in memory, where it would end with the program: it goes into the
    system's folder for temporary files.
    """
    code = report_error(error, "some_failed")
    unsaved = tuple(i for i in error.result.data if i.path is None and i.url is None)
    if unsaved:
        try:
            folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="imagesdk-")
            await attrs.evolve(error.result, data=unsaved).save(folder, name=arguments.name)
        except OSError as second:
            return report_error(second, "some_failed")
        print(f"  what was not saved is in {folder}", file=sys.stderr)
    return code


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
