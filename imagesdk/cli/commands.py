"""What each command does: read its arguments, use the package as any program would, report."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from imagesdk.cli import EXIT_CODES, batch_commands, doctor, gallery_command, serve
from imagesdk.cli.sessions import open_session
from imagesdk.client.results import Image, ImagesResponse
from imagesdk.client.session import ImageSession
from imagesdk.client.streaming import CompletedImage, PartialImage
from imagesdk.errors import (
    AuthenticationError,
    BatchError,
    ConfigurationError,
    ImageSDKError,
    InvalidRequestError,
    LedgerError,
    PartialResultError,
    PermissionDeniedError,
    QuotaExceededError,
)
from imagesdk.observability._logging import LOGGER
from imagesdk.sinks import Folder

__all__ = ("run",)

_REFUSED = (AuthenticationError, PermissionDeniedError, QuotaExceededError)


def run(arguments: argparse.Namespace) -> int:
    """Run the command that *arguments* name and return its exit code."""
    commands: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, int]]] = {
        "generate": _one,
        "edit": _one,
        "variation": _one,
        "batch": batch_commands.run,
        "gallery": gallery_command.run,
        "serve": serve.run,
        "doctor": doctor.run,
    }
    try:
        with warnings.catch_warnings(), _shown_log():
            warnings.showwarning = _show_warning
            return asyncio.run(commands[arguments.command](arguments))
    except LedgerError as error:
        return _report(error, "failed")
    except (ConfigurationError, InvalidRequestError, BatchError) as error:
        return _report(error, "usage")
    except _REFUSED as error:
        return _report(error, "refused")
    except ModuleNotFoundError as error:
        if error.name != "PIL":
            raise
        advice = "the emulator needs Pillow: python -m pip install 'imagesdk[emulator]'"
        return _report(ConfigurationError(advice), "usage")
    except (ImageSDKError, OSError) as error:
        return _report(error, "failed")
    except asyncio.CancelledError:  # a second signal
        raise KeyboardInterrupt from None


def _show_warning(  # noqa: PLR0917 - the signature is Python's
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as a person reads it, without the place in our code that it comes from."""
    del category, filename, lineno, file, line
    print(f"imagesdk: warning: {message}", file=sys.stderr)


@contextlib.contextmanager
def _shown_log() -> Iterator[None]:
    """Show what the package logs, such as an attempt that may have been billed."""
    handler = logging.StreamHandler()  # standard error
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("imagesdk: %(message)s"))
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)


def _report(error: Exception, exit_code: str) -> int:
    print(f"imagesdk: {error}", file=sys.stderr)
    if request_id := getattr(error, "request_id", None):
        print(f"  request id: {request_id}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(f"  {note}", file=sys.stderr)
    return EXIT_CODES[exit_code]


# generate, edit, variation --------------------------------------------------------------------


async def _one(arguments: argparse.Namespace) -> int:
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
            code = _report(error, "some_failed")
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
    return EXIT_CODES["done"] if failure is None else _report(failure, "some_failed")


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
