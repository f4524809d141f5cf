"""Cancel calls wherever they wait: what they held is given back, and the session goes on."""

from __future__ import annotations

import asyncio
import contextvars
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

# No wheel holds the tests. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[2]))

from imagesdk.client.session import ImageSession
from imagesdk.models.requests import GenerateRequest
from tests.integration.fault_steps import COMPLETED, PARTIAL, streams
from tests.integration.raw_server import GOOD, Connection, RawServer, Step, says

Use = Callable[[ImageSession, Path], Awaitable[object]]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(600_000)  # more than a file sink keeps in memory


class Awaits:
    """Counts the awaits of a call that really wait, in all its tasks, and cancels it at one of them.

    Args:
        at: Which one, from 1.
    """

    def __init__(self, at: int) -> None:
        self.count = 0
        self._at = at
        self._task: asyncio.Task[Any] | None = None

    async def run(self, call: Awaitable[object]) -> object:
        """Await *call*, in a task."""
        loop = asyncio.get_running_loop()
        mine = contextvars.ContextVar("mine", default=False)

        def new_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
            inherited = options.get("context") or contextvars.copy_context()
            if inherited.get(mine):
                coroutine = _Steps(coroutine, self._step)
            return asyncio.Task(coroutine, loop=loop, **options)

        async def body() -> object:
            return await call

        context = contextvars.copy_context()
        context.run(mine.set, True)  # noqa: FBT003
        loop.set_task_factory(new_task)
        try:
            self._task = loop.create_task(body(), context=context)
            return await self._task
        finally:
            loop.set_task_factory(None)

    def _step(self) -> None:
        self.count += 1
        if self.count == self._at and self._task is not None:
            self._task.cancel()


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine that tells whenever it waits."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], step: Callable[[], None]) -> None:
        self._coroutine = coroutine
        self._step = step

    def send(self, value: Any) -> Any:
        future = self._coroutine.send(value)
        self._step()
        return future

    def throw(self, *error: Any) -> Any:
        future = self._coroutine.throw(*error)
        self._step()
        return future

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()


# The calls -----------------------------------------------------------------------------------


async def generate(images: ImageSession, _: Path) -> object:
    return await images.generate("a fox")


async def generate_parts(images: ImageSession, _: Path) -> object:
    return await images.generate("a fox", n=11, partial="return")


async def edit(images: ImageSession, folder: Path) -> object:
    return await images.edit(folder / "big.png", "a fox", mask=folder / "big.png")


async def save_to(images: ImageSession, folder: Path) -> object:
    return await images.generate("a fox", save_to=folder / "out")


async def stream(images: ImageSession, folder: Path) -> object:
    async with images.stream_generate("a fox", save_to=folder / "out") as events:
        return [event async for event in events]


async def fan_out(images: ImageSession, folder: Path) -> object:
    requests = [GenerateRequest("a fox"), GenerateRequest("an otter")]
    async with images.map(requests, concurrency=2, save_to=folder / "out") as outcomes:
        return [outcome.unwrap() async for outcome in outcomes]


async def download(images: ImageSession, folder: Path) -> object:
    return await images.generate("a fox", save_to=folder / "out", response_format="url")


async def read(images: ImageSession, _: Path) -> object:
    response = await images.generate("a fox", response_format="url")
    return await response.data[0].read()


async def slow(connection: Connection) -> None:
    """Answer with a large image, in two parts."""
    await connection.read()
    body = json.dumps({"data": [{"b64_json": "iVBORw0KGgo" + "A" * 800_001}]}).encode()
    connection.answer(body[:400_000], content_length=str(len(body)))
    await connection.writer.drain()
    await asyncio.sleep(0.001)
    connection.writer.write(body[400_000:])


AT_URL = says(json.dumps({"data": [{"url": "/a.png"}]}).encode())
CALLS: dict[str, tuple[Use, tuple[Step, ...]]] = {
    "generate": (generate, ()),
    "generate, two requests": (generate_parts, (says(GOOD), says(GOOD))),
    "generate, after a failure": (generate, (says(b"{}", 500),)),
    "edit from a path": (edit, ()),
    "save_to": (save_to, (slow,)),
    "stream": (stream, (streams(PARTIAL, COMPLETED),)),
    "map": (fan_out, (slow, slow)),
    "download to a folder": (download, (AT_URL, says(PNG))),
    "download": (read, (AT_URL, says(PNG))),
}


async def _run(name: str, at: int, folder: Path) -> int:
    """Make a call, cancel it at one of its awaits, and look; return how many there were."""
    use, steps = CALLS[name]
    awaits = Awaits(at)
    async with RawServer(*steps) as server:
        before = asyncio.all_tasks()
        async with ImageSession(
            base_url=server.url, validate="off", max_concurrency=2, images_per_minute=100
        ) as images:
            with suppress(asyncio.CancelledError):
                await awaits.run(use(images, folder))
                assert awaits.count < at  # it was over before
            _look_for_leftovers(folder / "out")
            snapshot = images.snapshot()
            assert (snapshot.queued, snapshot.paused) == (0, 0.0)
            server.steps.clear()
            both = await asyncio.gather(images.generate("an otter"), images.generate("a corgi"))
            assert all(len(response.attempts) == 1 for response in both)
        await _until(lambda: not server.tasks)  # all connections are closed
        await _until(lambda: asyncio.all_tasks() == before)
    return awaits.count


async def _until(condition: Callable[[], bool]) -> None:
    """Let others end what they have begun to end: files are closed in threads."""
    async with asyncio.timeout(2.0):
        while not condition():  # noqa: ASYNC110 - a set of tasks tells nobody
            await asyncio.sleep(0.001)


def _look_for_leftovers(folder: Path) -> None:
    """See that there is no temporary file, and no image that is not whole."""
    for file in folder.glob("*") if folder.is_dir() else ():
        assert file.name.startswith("image-")
        assert file.stat().st_size in (5, len(PNG), 600_009)
        file.unlink()


@pytest.mark.parametrize("name", CALLS)
async def test_cancelled_at_every_await(name: str, tmp_path: Path) -> None:
    """A call may be cancelled wherever it waits: permit, connection and file are given back."""
    await asyncio.to_thread((tmp_path / "big.png").write_bytes, PNG)
    at = 1
    while await _run(name, at, tmp_path) >= at:
        at += 1
    assert at > 2
