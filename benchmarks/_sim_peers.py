"""Set up the peers as their users do, over the same server and in the same virtual time.

- AsyncOpenAI: the real client with its defaults (2 retries, Retry-After up to two minutes, else 0.5 to
  8 s), over a transport of ours; a batch is 32 workers. Its policy is that of
  https://github.com/openai/openai-python/blob/main/src/openai/_base_client.py (3.52).
- aiolimiter: ``AsyncLimiter(50, 60)``, n acquired before every attempt.
- pyrate-limiter: ``Limiter(Rate(50, Duration.MINUTE))``, weight n acquired before every attempt.

The last two are told the limit and know nothing of HTTP. Around them is the usual recipe with tenacity: up to
5 retries of 429, 5xx and broken connections, after Retry-After or random exponential backoff.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Protocol, Self

import httpx2
from aiolimiter import AsyncLimiter
from openai import APIConnectionError, AsyncOpenAI, OpenAIError, RateLimitError
from pyrate_limiter import Duration, InMemoryBucket, Limiter, Rate, SingleBucketFactory
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    stop_after_attempt,
    wait_random_exponential,
)

from benchmarks._sim_clients import MODEL, URL, Asked, Fate, Tell, work_off
from benchmarks._sim_network import SimAnswer, SimFaultError, SimServer

__all__ = ("AiolimiterGate", "Gate", "Openai", "PyrateGate", "Recipe")

_OPENAI_WORKERS = 32
_RETRIES = 5


class _HttpTransport(httpx2.AsyncBaseTransport):
    def __init__(self, server: SimServer) -> None:
        self._server = server

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            answer = await self._server.exchange(await request.aread())
        except SimFaultError as fault:
            kind = httpx2.ReadError if fault.reached else httpx2.ConnectError
            raise kind(str(fault), request=request) from None
        return httpx2.Response(answer.status, headers=dict(answer.headers), content=answer.body)


class Openai:
    """`openai.AsyncOpenAI` with its own retries."""

    def __init__(self, server: SimServer) -> None:
        self._client = AsyncOpenAI(
            api_key="sk-simulation",
            base_url=URL,
            http_client=httpx2.AsyncClient(transport=_HttpTransport(server)),
        )

    async def generate(self, asked: Asked) -> Fate:
        """Make one call."""
        prompt, n = asked
        try:
            await self._client.images.generate(model=MODEL, prompt=prompt, n=n)
        except RateLimitError:
            return Fate(refused=n)
        except (APIConnectionError, OpenAIError):
            return Fate(failed=n)
        return Fate(delivered=n)

    async def batch(self, asked: Iterator[Asked], tell: Tell) -> None:
        """Run workers."""
        await work_off(self, asked, tell, workers=_OPENAI_WORKERS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.close()


class Gate(Protocol):
    """A rate limiter."""

    async def acquire(self, cost: int) -> None:
        """Wait until *cost* images may be sent."""
        ...


class AiolimiterGate:
    """aiolimiter."""

    def __init__(self, limit: int) -> None:
        self._limiter = AsyncLimiter(limit, 60)

    async def acquire(self, cost: int) -> None:
        """Take *cost* from the bucket."""
        await self._limiter.acquire(cost)


class PyrateGate:
    """pyrate-limiter, on the loop's clock.

    Its buckets drop old entries in a thread that sleeps in real time; here they do at every call.
    """

    def __init__(self, limit: int) -> None:
        self._bucket = _LoopBucket([Rate(limit, Duration.MINUTE)])
        self._limiter = Limiter(SingleBucketFactory(self._bucket, schedule_leak=False))

    async def acquire(self, cost: int) -> None:
        """Put a weight of *cost* into the bucket."""
        self._bucket.leak(self._bucket.now())
        await self._limiter.try_acquire_async("images", weight=cost)


class _LoopBucket(InMemoryBucket):
    def now(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)


class _HttpError(Exception):
    def __init__(self, answer: SimAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Recipe:
    """A limiter before a plain HTTP client, and tenacity around both.

    Args:
        server: To talk to.
        gate: The limiter.
        workers: Of the batch.
    """

    def __init__(self, server: SimServer, gate: Gate, *, workers: int) -> None:
        self._server = server
        self._gate = gate
        self._workers = workers
        self._backoff = wait_random_exponential(multiplier=1, max=60)

    async def generate(self, asked: Asked) -> Fate:
        """Make one call."""
        retrying = AsyncRetrying(
            stop=stop_after_attempt(1 + _RETRIES), wait=self._wait, reraise=True
        )
        cost = asked[1]
        try:
            await retrying(self._attempt, asked)
        except _HttpError as error:
            return Fate(refused=cost) if error.answer.status == 429 else Fate(failed=cost)
        except SimFaultError:
            return Fate(failed=cost)
        return Fate(delivered=cost)

    async def _attempt(self, asked: Asked) -> None:
        prompt, n = asked
        await self._gate.acquire(n)
        body = json.dumps({"model": MODEL, "prompt": prompt, "n": n}).encode()
        answer = await self._server.exchange(body)
        if answer.status >= 300:
            raise _HttpError(answer)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _HttpError) and "retry-after" in error.answer.headers:
            return float(error.answer.headers["retry-after"])
        return self._backoff(state)

    async def batch(self, asked: Iterator[Asked], tell: Tell) -> None:
        """Run workers."""
        await work_off(self, asked, tell, workers=self._workers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Do nothing: there are no connections."""
