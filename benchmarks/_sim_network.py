"""Put a server model behind a network, with the answers that a real server sends, in virtual time.

A request is 20 to 300 ms on its way, a refusal as long on its way back; images take 5 to 40 s. Two
per cent of the exchanges fail: half of those with a 500 after the images were counted, a quarter by
a reset after the request was counted, a quarter before anything reached the server. The refusals
are worded as in 2026, with the limit and the time to wait, or say nothing at all.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from benchmarks._sim_servers import ServerModel, Verdict

__all__ = ("Refused", "Sent", "SimAnswer", "SimFaultError", "SimServer")

_NETWORK = (0.020, 0.300)
_GENERATION = (5.0, 40.0)
_TIME_TO_500 = 1.0
_FAULTS = 0.02


@attrs.frozen
class SimAnswer:
    """An HTTP answer; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class SimFaultError(Exception):
    """The connection failed.

    Args:
        reached: True if it broke after the request was written.
    """

    def __init__(self, *, reached: bool) -> None:
        super().__init__("reset" if reached else "refused")
        self.reached = reached


@attrs.frozen
class Sent:
    """A request that left the client: when, for which prompt, how many images."""

    at: float
    prompt: str
    cost: int


@attrs.frozen
class Refused:
    """A request that got a 429: when it was judged, and what was used at that moment."""

    at: float
    cost: int
    used: int
    wait: float | None


class SimServer:
    """A server with its network, and the record of what passed.

    Args:
        model: How it counts.
        seed: Of delays and faults.
        hints: Whether a 429 names the limit and the time to wait.
        headers: Whether a success carries ``x-ratelimit-*`` headers.
        faults: Share of the exchanges that fail.

    Attributes:
        sent: Every request, also those that did not arrive, in order.
        refused: Every 429, in order.
        admitted: Images that the model admitted.
    """

    def __init__(
        self,
        model: ServerModel,
        *,
        seed: str,
        hints: bool = True,
        headers: bool = False,
        faults: float = _FAULTS,
    ) -> None:
        self.model = model
        self.sent: list[Sent] = []
        self.refused: list[Refused] = []
        self.admitted = 0
        self._rng = random.Random(seed)  # noqa: S311 - a simulation
        self._hints = hints
        self._headers = headers
        self._faults = faults

    async def exchange(
        self, body: bytes, on_written: Callable[[], None] = lambda: None
    ) -> SimAnswer:
        """Carry one request to the server and the answer back.

        Args:
            body: JSON with ``prompt`` and, unless it is 1, ``n``.
            on_written: Called when the request is under way.

        Raises:
            SimFaultError: No answer arrives.
        """
        clock = asyncio.get_running_loop().time
        request: dict[str, Any] = json.loads(body)
        cost = int(request.get("n") or 1)
        self.sent.append(Sent(clock(), request["prompt"], cost))
        rng = self._rng
        up, down = rng.uniform(*_NETWORK), rng.uniform(*_NETWORK)
        generation, luck = rng.uniform(*_GENERATION), rng.random() / self._faults
        if luck < 1 / 4:
            await asyncio.sleep(up)
            raise SimFaultError(reached=False)
        on_written()
        await asyncio.sleep(up)
        now = clock()
        verdict = self.model.offer(now, cost)
        if not verdict.admitted:
            self.refused.append(Refused(now, cost, verdict.used, verdict.wait))
            await asyncio.sleep(down)
            return self._refusal(cost, verdict)
        self.admitted += cost
        if luck < 1 / 2:
            await asyncio.sleep(generation * rng.random())
            raise SimFaultError(reached=True)
        if luck < 1:
            await asyncio.sleep(_TIME_TO_500 + down)
            return _answer(500, {}, _error("The server had an error", "server_error", None))
        await asyncio.sleep(generation + down)
        data = [{"url": "https://images.example/a.png"}] * cost
        return _answer(200, self._told(verdict), {"created": 1_800_000_000, "data": data})

    def _told(self, verdict: Verdict) -> dict[str, str]:
        """Return the headers of a success: as things were when it was admitted."""
        if not self._headers:
            return {}
        limit = self.model.limit
        return {
            "x-ratelimit-limit-images": str(limit),
            "x-ratelimit-remaining-images": str(max(0, limit - verdict.used)),
            "x-ratelimit-reset-images": f"{math.ceil(verdict.reset)}s",
        }

    def _refusal(self, cost: int, verdict: Verdict) -> SimAnswer:
        """Return a 429 in the words of 2026, or one that says nothing."""
        if not self._hints:
            words = "Too many requests have been sent. Please slow down."
            return _answer(429, {}, _error(words, "requests", "rate_limit_exceeded"))
        where = "gpt-image-2 (for limit gpt-image) in organization org-x on images per min"
        limit = self.model.limit
        if verdict.wait is None:
            words = f"Request too large for {where}: Limit {limit}, Requested {cost}."
            return _answer(429, {}, _error(words, "requests", "rate_limit_exceeded"))
        words = (
            f"Rate limit reached for {where}: Limit {limit}, Used {verdict.used}, "
            f"Requested {cost}. Please try again in {_duration(verdict.wait)}."
        )
        told = {"retry-after": str(max(1, math.ceil(verdict.wait)))}
        return _answer(429, told, _error(words, "requests", "rate_limit_exceeded"))


def _duration(seconds: float) -> str:
    """Spell a wait as the server does: ``467ms``, ``12s``, ``6.213s``."""
    return (
        f"{math.ceil(seconds * 1000)}ms"
        if seconds < 1
        else f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    )


def _error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _answer(status: int, headers: Mapping[str, str], body: Mapping[str, Any]) -> SimAnswer:
    return SimAnswer(
        status, {"content-type": "application/json", **headers}, json.dumps(body).encode()
    )
