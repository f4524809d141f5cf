from __future__ import annotations

import asyncio
import base64
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    BadRequestError,
    ExpiredURLError,
    ImageSDKError,
    InvalidRequestError,
    PartialResultError,
)
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest

PNG = b"\x89PNG\r\n\x1a\n"
BAD = ScriptedAnswer({"error": {"message": "no", "code": "x"}}, status=400)
GONE = ScriptedAnswer(b"", status=404)


def inline(*images: bytes) -> ScriptedAnswer:
    return ScriptedAnswer({"data": [{"b64_json": base64.b64encode(i).decode()} for i in images]})


def linked(*urls: str) -> ScriptedAnswer:
    return ScriptedAnswer({"created": 1, "data": [{"url": url} for url in urls]})


def session(
    answer: Callable[[SentRequest], ScriptedAnswer | ImageSDKError], **options: Any
) -> ImageSession:
    return ImageSession(base_url="http://server/v1", transport=ScriptedTransport(answer), **options)


def files_in(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, hidden files included."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_numbers_follow_the_server_order(tmp_path: Path) -> None:
    """The parts of a split call are numbered together, in order, whichever comes first."""
    (tmp_path / "image-2.png").write_bytes(b"mine")
    calls = 0

    def answer(_: SentRequest) -> ScriptedAnswer:
        nonlocal calls
        calls += 1
        return ScriptedAnswer(inline(PNG + b"%d" % calls).body, delay=0.03 - 0.01 * calls)

    async with session(answer) as images:
        result = await images.generate("a", n=3, model="dall-e-3", save_to=str(tmp_path))
    names = [image.path.name for image in result.data]
    assert names == ["image-1.png", "image-3.png", "image-4.png"]
    assert [await image.read() for image in result.data] == [PNG + b"%d" % n for n in (1, 2, 3)]
    assert await asyncio.to_thread((tmp_path / "image-2.png").read_bytes) == b"mine"


async def test_what_is_at_urls_is_downloaded(tmp_path: Path) -> None:
    """Images at URLs are downloaded straight to disk, numbered in order with the others."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        if request.method == "POST":
            encoded = base64.b64encode(PNG + b"b").decode()
            return ScriptedAnswer(
                {"created": 1, "data": [{"url": "/a"}, {"b64_json": encoded}, {"url": "/c"}]}
            )
        return ScriptedAnswer(PNG + request.url[-1:].encode())

    async with session(answer) as images:
        result = await images.generate("a fox", n=3, save_to=tmp_path)
    assert await asyncio.to_thread(files_in, tmp_path) == {
        f"image-{number}.png": PNG + letter
        for number, letter in enumerate((b"a", b"b", b"c"), start=1)
    }
    assert result.paths == tuple(tmp_path / f"image-{number}.png" for number in (1, 2, 3))
    assert [image.url for image in result.data] == ["/a", None, "/c"]
    assert [image.b64_json for image in result.data] == [None, None, None]
    assert [await image.read() for image in result.data] == [PNG + b"a", PNG + b"b", PNG + b"c"]


async def test_a_download_is_repeated_from_its_start(tmp_path: Path) -> None:
    """A download that breaks begins a new file; nothing of the first is left."""
    whole = PNG + os.urandom(600_000)
    steps = iter([linked("/a"), ScriptedAnswer(whole, break_after=400_000), ScriptedAnswer(whole)])
    async with session(lambda _: next(steps)) as images:
        result = await images.generate("a fox", save_to=tmp_path)
    assert await asyncio.to_thread(files_in, tmp_path) == {"image-1.png": whole}
    assert result.data[0].path == tmp_path / "image-1.png"


@pytest.mark.parametrize("partial", ["raise", "return"])
async def test_a_download_that_fails(partial: Literal["raise", "return"], tmp_path: Path) -> None:
    """A URL that brings nothing costs no other image, and stays in the error's result, whatever *partial* is."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        if request.method == "POST":
            return linked("/a", "/gone", "/empty", "/d")
        return {"gone": GONE, "mpty": ScriptedAnswer(b"")}.get(
            request.url[-4:], ScriptedAnswer(PNG)
        )

    async with session(answer) as images:
        with pytest.raises(PartialResultError) as caught:
            await images.generate("a", n=4, save_to=tmp_path, partial=partial)
    result = caught.value.result
    assert "all 4 images arrived, and are in .result. Not saved: " in str(caught.value)
    assert isinstance(caught.value.errors[0], ExpiredURLError)
    assert "has no bytes" in str(caught.value.errors[1])
    assert sorted(await asyncio.to_thread(files_in, tmp_path)) == ["image-1.png", "image-2.png"]
    paths = [image.path and image.path.name for image in result.data]
    assert paths == ["image-1.png", None, None, "image-2.png"]


async def test_images_of_a_part_are_saved_when_another_fails(tmp_path: Path) -> None:
    """What was paid for is saved, although the call as a whole fails."""
    steps = iter([inline(PNG), BAD, inline(PNG)])
    async with session(lambda _: next(steps)) as images:
        with pytest.raises(PartialResultError, match="2 of 3 images arrived"):
            await images.generate("a fox", n=3, model="dall-e-3", save_to=tmp_path)
    assert sorted(await asyncio.to_thread(files_in, tmp_path)) == ["image-1.png", "image-2.png"]


async def test_missing_and_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When some images are missing and others are not saved, the error says both."""

    def fsync(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)  # the operating system, not our code
    async with session(lambda _: inline(PNG)) as images:
        with pytest.raises(PartialResultError) as caught:
            await images.generate("a fox", n=2, save_to=tmp_path)
    assert str(caught.value).startswith("1 of 2 images arrived; they are in .result. Missing: the")
    assert "Not saved: 1 of 1 images could not be written into" in str(caught.value)
    assert await caught.value.result.data[0].read() == PNG


async def test_what_the_disk_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that the disk took and does not give back is named as lost; the others are kept."""
    fsync = os.fsync
    failed = False

    def lose(descriptor: int) -> None:
        nonlocal failed
        if failed:
            fsync(descriptor)
            return
        failed = True
        os.truncate(descriptor, 2)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", lose)  # the operating system, not our code
    async with session(lambda _: inline(PNG + b"1", PNG + b"2")) as images:
        with pytest.raises(PartialResultError, match="cannot be read back: lost") as caught:
            await images.generate("a fox", n=2, save_to=tmp_path)
    assert caught.value.may_be_billed
    assert [await image.read() for image in caught.value.result.data] == [PNG + b"2"]
    assert await asyncio.to_thread(files_in, tmp_path) == {"image-1.png": PNG + b"2"}


async def test_a_failed_call_leaves_an_empty_folder(tmp_path: Path) -> None:
    """When the server refuses there is a folder and nothing in it."""
    async with session(lambda _: BAD) as images:
        with pytest.raises(BadRequestError):
            await images.generate("a fox", save_to=tmp_path / "new")
    assert await asyncio.to_thread(files_in, tmp_path / "new") == {}


@pytest.mark.parametrize("save_to", ["cat.png", "file", "file/sub", 5, b"bytes"])
async def test_a_bad_folder_is_refused_before_anything_is_sent(
    save_to: Any, tmp_path: Path
) -> None:
    """Images are not paid for if there is no place for them."""
    (tmp_path / "file").write_bytes(b"")
    target = tmp_path / save_to if isinstance(save_to, str) else save_to
    transport = ScriptedTransport([])
    async with ImageSession(base_url="http://server/v1", transport=transport) as images:
        with pytest.raises(InvalidRequestError, match="save_to is") as caught:
            await images.generate("a fox", save_to=target)
        with pytest.raises(InvalidRequestError, match="prompt"):
            await images.generate("", save_to=tmp_path / "not made")
    assert caught.value.field == "save_to"
    assert await asyncio.to_thread(os.listdir, tmp_path) == ["file"]


async def test_edits_variations_and_map(tmp_path: Path, png: Callable[..., bytes]) -> None:
    """Every kind of call saves; the outcomes of a map share one folder and no name."""
    async with session(lambda _: inline(PNG)) as images:
        edited = await images.edit(png(), "a fox", mask=png(), save_to=tmp_path)
        varied = await images.create_variation(png(), save_to=tmp_path)
        paths = [edited.data[0].path, varied.data[0].path]
        async with images.map(["a"] * 20, concurrency=8, save_to=tmp_path) as outcomes:
            paths += [outcome.unwrap().data[0].path async for outcome in outcomes]
    names = {path.name for path in paths}
    assert names == {f"image-{number}.png" for number in range(1, 23)}
    assert set(await asyncio.to_thread(os.listdir, tmp_path)) == names


async def test_without_a_folder_nothing_is_written(tmp_path: Path) -> None:
    """An image stays in memory, once, and at its URL, unless a folder is named."""
    async with session(lambda _: inline(PNG)) as images:
        image = (await images.generate("a fox")).data[0]
        assert await image.read() is await image.read()
    assert image.path is None
    assert await asyncio.to_thread(os.listdir, tmp_path) == []


async def test_downloads_are_bounded(tmp_path: Path) -> None:
    """However many URLs a server names, few are open at once."""
    most = 0

    def answer(request: SentRequest) -> ScriptedAnswer:
        nonlocal most
        most = max(most, transport.open + 1)
        if request.method == "POST":
            return linked(*(f"/{number}" for number in range(100)))
        return ScriptedAnswer(PNG, delay=0.001)

    transport = ScriptedTransport(answer)
    async with ImageSession(base_url="http://server/v1", transport=transport) as images:
        result = await images.generate("a", save_to=tmp_path)
    assert len(result.data) == 100
    assert 1 < most <= 32
