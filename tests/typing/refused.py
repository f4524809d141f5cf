"""A program with mistakes that type checkers must report, in few words; it is checked and never run.

Behind each mistake stand the words that must be in what mypy and pyright say of its line: see check_refused.py.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from imagesdk import (
    CompletedImage,
    ImageMap,
    ImageSession,
    ImagesResponse,
    ImageStream,
    Outcome,
    PartialResultError,
)
from imagesdk.emulator import EmulatorServer


async def arguments(images: ImageSession, size: int, stream: io.StringIO) -> None:
    """Arguments of a wrong type, misspelled, in a wrong place, or left out."""
    await images.generate("a", n="3")  #: "n", "int | None"
    await images.generate("a", n="3", save_to="out")  #: "n", "int | None"
    await images.generate("a", sizes="1024x1024")  #: "sizes"
    await images.generate("a", sizes="1024x1024", save_to="out")  #: "sizes"
    await images.generate("a", size=size)  #: "size", "int"
    await images.generate("a", partial="rise")  #: "partial", 'raise', 'return'
    await images.generate("a", priority="soon")  #: "priority"
    await images.generate("a", save_to=3)  #: SaveTo, "generate"
    await images.generate("a", None)  #: positional
    await images.generate()  #: "prompt"
    await images.edit(stream, "a")  #: "edit", "StringIO"
    await images.edit(b"")  #: "prompt"
    await images.create_variation([b""], save_to="out")  #: "create_variation", "list[bytes]"
    images.stream_generate("a", n=1)  #: "n"
    images.stream_edit(b"", "a", partial_images="2")  #: "partial_images", "int | None"
    images.map([3])  #: "map"
    images.map(["a"], saveto="out")  #: "saveto"
    ImageSession("key")  #: positional
    images.generate("a")  #: await


def faults(server: EmulatorServer) -> None:
    """Faults that the emulator does not have."""
    server.fail_next("quotta")  #: "fail_next", quotta
    server.drop_connection(after="never")  #: "after", never
    server.latency(0.2, time=3)  #: "time"


async def paths(images: ImageSession, perhaps: Path | None, error: PartialResultError) -> None:
    """What may have no path is not taken for what has one."""
    (await images.generate("a")).data[0].path.name  #: "None", "name"
    (await images.edit(b"", "a", save_to=None)).data[0].path.name  #: "None", "name"
    (await images.create_variation(b"", save_to=perhaps)).data[0].path.name  #: "None", "name"
    error.result.data[0].path.name  #: "None", "name"
    async for outcome in images.map(["a"]):
        outcome.response.paths  #: "None", "paths"
        outcome.unwrap().data[0].path.name  #: "None", "name"
    async for event in images.stream_generate("a", save_to="out", partial_images=0):
        event.response  #: "PartialImage", "response"
        event.image.path.name  #: "None", "name"
        if isinstance(event, CompletedImage):
            event.image.path.name
    async for last in images.stream_edit(b"", "a", save_to=perhaps):
        if isinstance(last, CompletedImage):
            last.image.path.name  #: "None", "name"


def declared(
    response: ImagesResponse, outcome: Outcome[str], stream: ImageStream, outcomes: ImageMap[str]
) -> None:
    """Nor is a result of which nothing is known taken for one that is on disk."""
    a: ImagesResponse[str | os.PathLike[str]] = response  #: ImagesResponse
    b: Outcome[str, str | os.PathLike[str]] = outcome  #: Outcome
    c: ImageStream[str | os.PathLike[str]] = stream  #: ImageStream
    d: ImageMap[str, str | os.PathLike[str]] = outcomes  #: ImageMap
    print(a, b, c, d)  # noqa: T201
