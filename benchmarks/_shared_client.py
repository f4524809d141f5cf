"""One client process of `benchmarks.shared_limit`.

It keeps a number of calls for 1 to 10 images waiting all the time. It reads its settings as JSON
from the first line of standard input, prints ``ready``, begins with the second line, and prints
what it got as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sys
from collections.abc import AsyncGenerator
from typing import Any

import attrs

from imagesdk import ImageLimiter, ImageSDKError, ImageSession
from imagesdk.events import Done, Event, Throttled
from imagesdk.limiters._redis import RedisLimiter

__all__ = ("main",)

_GRACE = 1.0
"""Seconds for the answers that are on their way at the end."""


@attrs.define
class _Result:
    """What one process got.

    Attributes:
        calls: The calls that ended, with the images asked for and those received.
        throttled: 429s.
        errors: What calls ended with that did not get everything.
        waits: Images and seconds in the queue, for each exchange that gave images.
    """

    calls: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    throttled: int = 0
    errors: list[str] = attrs.field(factory=list)
    waits: list[tuple[int, float]] = attrs.field(factory=list)


@contextlib.asynccontextmanager
async def _limiter(kind: str, url: str, limit: int, period: float) -> AsyncGenerator[ImageLimiter]:
    windows, jitter = ((limit, period),), 0.05
    if kind != "redis":
        yield ImageLimiter(None, windows=windows, jitter=jitter)
        return
    async with RedisLimiter(url, None, windows=windows, jitter=jitter) as limiter:
        yield limiter


async def _work(session: ImageSession, result: _Result, dice: random.Random, name: str) -> None:
    """Make one call after the other."""
    for number in itertools.count():
        images = dice.randint(1, 10)
        call = f"{name}.{number}"
        try:
            answer = await session.generate(
                "a fox",
                n=images,
                response_format="b64_json",
                priority="batch",
                extra_headers={"x-call": call},
            )
        except ImageSDKError as error:
            result.errors.append(f"{type(error).__name__}: {error}")
            result.calls[call] = (images, 0)
        else:
            result.calls[call] = (images, len(answer.data))


async def _run(settings: dict[str, Any]) -> _Result:
    result = _Result()

    def listen(event: Event) -> None:
        match event:
            case Done(images=images, waited=waited):
                result.waits.append((images, waited))
            case Throttled():
                result.throttled += 1

    kind, url = settings["kind"], settings["redis"]
    async with (
        _limiter(kind, url, settings["limit"], settings["period"]) as limiter,
        ImageSession(
            api_key="benchmark",
            base_url=f"http://127.0.0.1:{settings['port']}/v1",
            limiter=limiter,
            on_event=listen,
        ) as session,
    ):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        dice = random.Random(settings["seed"])  # noqa: S311 - no secret
        tasks = [
            asyncio.create_task(_work(session, result, dice, f"{settings['number']}.{worker}"))
            for worker in range(settings["waiting"])
        ]
        await asyncio.sleep(settings["seconds"] + _GRACE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return result


def main() -> None:
    """Run one process."""
    settings = json.loads(sys.stdin.readline())
    print(json.dumps(attrs.asdict(asyncio.run(_run(settings)))), flush=True)


if __name__ == "__main__":
    main()
