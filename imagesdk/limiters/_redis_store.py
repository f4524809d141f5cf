"""`RedisStore`: the time line that several processes share, and what one process remembers of it.

Every question is one script call (`imagesdk.limiters._redis_scripts`). What is remembered here makes
a loss harmless: a process knows its own entries, so it can put them back into a store that lost
them; it knows the store's epoch, so it notices; and what may or may not have arrived when a call
broke off is sorted out with the next one. Times that leave this module are loop time.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from imagesdk.limiters._limits import Adopt
from imagesdk.limiters._redis_scripts import KEEP
from imagesdk.limiters._schedule import Cost, Dimension, whole_limit
from imagesdk.limiters.base import CallTooLarge

__all__ = ("Entry", "Placement", "RedisStore", "Reservation", "StoreUnavailable")

_MICRO = 1_000_000
_SLACK = 0.4
"""Part of the margin by which a request may be late before it is counted anew."""
_PATIENCE = 0.5
"""Seconds by which the store's clock may differ from our reckoning of it."""
_LEAST_KEPT = 60.0
"""Seconds for which own entries are remembered at least: a limit that the server names is a minute's."""


class StoreUnavailable(Exception):  # noqa: N818 - a message to the limiter, not an error for users
    """The store did not answer, or not in time; whether it did what was asked is not known."""


@attrs.define(eq=False, kw_only=True)
class Reservation:
    """A place on the time line.

    Attributes:
        id: Its name in the store.
        cost: What it uses up.
        at: Loop time in seconds at which it may be sent, and from which it counts.
        probe: True for the first request after a pause: tell the store how it went.
    """

    id: str
    cost: Cost
    at: float
    probe: bool = False


@attrs.frozen
class Entry:
    """What another process has on the time line.

    Attributes:
        id: Its name in the store.
        at: Loop time in seconds from which it counts.
        cost: What it uses up.
    """

    id: str
    at: float
    cost: Cost


@attrs.frozen(kw_only=True)
class Placement:
    """What the store answered.

    Attributes:
        reservation: The place, None if nothing was placed.
        delay: Seconds until it may be sent, 0 for now.
        filled: Later waiters that may go before it: their indices in what was offered, and their places.
        paused: Seconds that the pause after a 429 lasts, 0 without one.
        probing: True while the first request after a pause is awaited.
        held: Seconds that the store only takes in what was sent without it.
        most: Images that one request may ask for, None for any number.
        named: The limits a minute that the server named last, followed or not.
        learned: The limits a minute that 429s taught, and the loop time in seconds of the lesson.
        others: What the other processes have on the time line; None if the store did not show it.
        peers: Processes that use the store, this one included.
    """

    reservation: Reservation | None
    delay: float
    filled: tuple[tuple[int, Reservation], ...]
    paused: float
    probing: bool
    held: float
    most: int | None
    named: Mapping[Dimension, float]
    learned: Mapping[Dimension, tuple[float, float]]
    others: tuple[Entry, ...] | None
    peers: int


class RedisStore:
    """One process's access to the shared time line of one scope.

    Args:
        call: Runs the script with a JSON object and returns its answer; raises `StoreUnavailable`.
        windows: The windows that no answer of the server changes: (dimension, limit, period in seconds).
        minute: The limits a minute that it may change; what is left out has no limit so far.
        jitter: Seconds by which the windows are longer than the periods.
        adopt: See `imagesdk.ImageLimiter`.
        timeout: Seconds after which *call* gives up.

    Attributes:
        peers: Processes that used the store when it answered last, this one included; 0 as long as
            it never did.
        slack: Seconds by which a request may be late before it is counted anew.
        others: What the other processes had on the time line when the store showed it last.
        seen_at: Loop time in seconds at which it did.
    """

    def __init__(
        self,
        call: Callable[[bytes], Awaitable[bytes]],
        *,
        windows: Sequence[tuple[Dimension, int, float]] = (),
        minute: Mapping[Dimension, float | None] | None = None,
        jitter: float,
        adopt: Adopt,
        timeout: float,
    ) -> None:
        self.peers = 0
        self.slack = jitter * _SLACK
        self.others: tuple[Entry, ...] = ()
        self.seen_at = -math.inf
        self._call = call
        self._jitter = jitter
        self._wider = 0
        self._timeout = timeout
        limits: dict[str, float | None] = dict((minute or {}).items())
        self._rules = {
            "windows": [
                (Cost._fields.index(dimension) + 1, limit, round((period + jitter) * _MICRO))
                for dimension, limit, period in windows
            ],
            "minute": [limits.get(name) or 0 for name in Cost._fields],
            "jitter": round(jitter * _MICRO),
            "adopt": adopt,
        }
        periods = [period for *_, period in windows]
        periods += [whole_limit(limit)[1] for limit in limits.values() if limit is not None]
        self._stays = max(periods) + jitter + KEEP
        self._longest = max(_LEAST_KEPT, *periods) + jitter
        self._lock = threading.RLock()
        self._own: dict[str, Reservation] = {}
        self._asked: set[str] = set()
        self._drops: list[str] = []
        self._epoch: str | None = None
        self._clock: tuple[float, int] | None = None
        self._away_since: float | None = None
        self._back = self._lost = False
        self._number = 0
        self._pid = 0
        self._client = ""
        self._server_now: int | None = None  # for tests: the time of the store, in microseconds

    def own(self, now: float) -> list[Reservation]:
        """Return what this process has on the time line, future places included."""
        with self._lock:
            self._forget(now)
            return list(self._own.values())

    def note(self, cost: Cost, at: float) -> Reservation:
        """Remember what is sent without the store; it is told when it answers again."""
        with self._lock:
            reservation = Reservation(id=self._new_id(cost), cost=cost, at=at)
            self._own[reservation.id] = reservation
            self._back = True
            return reservation

    def forget(self, reservation: Reservation) -> None:
        """Give a place back without asking the store; it is told with the next call."""
        with self._lock:
            if self._own.pop(reservation.id, None) is not None:
                self._drops.append(reservation.id)

    def widen(self, jitter: float) -> None:
        """Make the windows of what this process asks for longer than the periods by *jitter* seconds."""
        self._wider = max(0, round((jitter - self._jitter) * _MICRO))

    async def reserve(
        self,
        cost: Cost,
        *,
        fill: Sequence[Cost] = (),
        room: int = 1,
        tolerance: float = 0.0,
        latest: float | None = None,
        replaces: Reservation | None = None,
    ) -> Placement:
        """Place a request at the earliest possible time.

        When that is not now, requests of *fill* that can go before it get places, too, the earliest first,
        if that does not delay this one by much. What was placed before is never delayed.

        Args:
            cost: What the request uses up.
            fill: Costs of later waiters.
            room: How many of them may get a place at most.
            tolerance: Seconds by which one of *fill* may delay this one.
            latest: Loop time beyond which it may not delay it; None for *tolerance* from where it would be.
            replaces: A place of this process that is given up for it.

        Raises:
            CallTooLarge: It asks for more images than one request may; *replaces* is given up.
            StoreUnavailable: The store did not answer; *replaces* is still good. Cancelled, or not
                answered, nothing new stays reserved for longer than until the next call.
        """
        ids = [self._new_id(each) for each in (cost, *fill)]
        offered = list(zip(ids[1:], fill, strict=True))
        drop = [*ids, replaces.id] if replaces is not None else ids  # a script may run twice
        try:
            now = asyncio.get_running_loop().time()
            answer = await self._ask(
                ids=ids,
                drop=drop,
                op="reserve",
                id=ids[0],
                cost=cost,
                fill=offered,
                room=room,
                tolerance=round(tolerance * _MICRO),
                latest=None if latest is None else round((latest - now) * _MICRO),
            )
        except asyncio.CancelledError:
            if replaces is not None:
                self.forget(replaces)
            raise
        if replaces is not None:
            with self._lock:
                self._own.pop(replaces.id, None)
        return self._placement(answer, ids[0], cost, offered)

    async def confirm(self, reservation: Reservation) -> Placement:
        """Look again, after sleeping, whether the place is still good.

        It is placed anew if a 429 set a pause or lowered the limit meanwhile, or if the store lost it.

        Raises:
            CallTooLarge: The limit was lowered below its cost; it has no place any more.
            StoreUnavailable: The store did not answer; the place is still good.
        """
        answer = await self._ask(
            op="confirm",
            id=reservation.id,
            cost=reservation.cost,
            slack=round(self.slack * _MICRO),
        )
        return self._placement(answer, reservation.id, reservation.cost, [])

    async def move(self, reservation: Reservation, at: float) -> None:
        """Count it from *at* on, in loop time, which is not later than now: it was sent late."""
        reservation.at = at
        age = max(0.0, asyncio.get_running_loop().time() - at)
        await self._ask(op="move", id=reservation.id, age=round(age * _MICRO))

    async def release(self, reservation: Reservation) -> None:
        """Give a place back that was not used: the request was not sent."""
        self.forget(reservation)
        await self._ask(op="release", id=reservation.id)

    async def settled(self, reservation: Reservation) -> None:
        """Let the others go: the probe did not get a 429."""
        await self._ask(op="settled", id=reservation.id)

    async def refused(
        self,
        reservation: Reservation,
        *,
        pause: float | None = None,
        named: Mapping[Dimension, float] | None = None,
        learned: Mapping[Dimension, float] | None = None,
    ) -> Placement:
        """Take a 429 into account: everybody's pause, and everybody's limits.

        Args:
            reservation: The place of the request that was refused; it does not count any more.
            pause: Seconds for which nobody sends, None for no pause. A pause only moves forward, and
                after it one request goes first.
            named: Limits a minute that the server named.
            learned: Limits a minute that the 429 taught. They climb back by 5 % a minute. A request
                that was sent before the limit was lowered last does not raise it.
        """
        self.forget(reservation)
        age = max(0.0, asyncio.get_running_loop().time() - reservation.at)
        answer = await self._ask(
            op="refused",
            id=reservation.id,
            age=round(age * _MICRO),
            pause=None if pause is None else round(pause * _MICRO),
            named=named or None,
            learned=learned or None,
        )
        return self._placement(answer, None, reservation.cost, [])

    async def told(self, named: Mapping[Dimension, float]) -> None:
        """Store the limits a minute that the server named in an answer."""
        await self._ask(op="told", named=named)

    def _new_id(self, cost: Cost) -> str:
        with self._lock:
            self._look_at_process()
            self._number += 1
            return f"{self._client}.{self._number}:{cost.images}:{cost.input_images}"

    def _look_at_process(self) -> None:
        """Become somebody else after a fork."""
        if self._pid != os.getpid():
            self._pid, self._client = os.getpid(), secrets.token_hex(5)
            self._own, self._asked, self._drops = {}, set(), []
            self._epoch, self._clock, self._away_since = None, None, None
            self._back, self._lost, self.others = False, False, ()

    def _forget(self, now: float) -> None:
        for key in [k for k, own in self._own.items() if own.at + self._longest <= now]:
            del self._own[key]

    async def _ask(
        self,
        *,
        ids: Sequence[str] = (),
        drop: Sequence[str] = (),
        **fields: Any,  # noqa: ANN401 - JSON data
    ) -> dict[str, Any]:
        """Run the script, and run it again if the store turns out to have lost its data."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        given = {name: value for name, value in fields.items() if value is not None}
        with self._lock:
            self._look_at_process()
            self._asked.update(ids)
            drops = list(self._drops)
        try:
            while True:
                ask = self._frame(loop.time()) | given | {"drop": [*drops, *drop]}
                raw = await self._call(msgspec.json.encode(ask))
                answer: dict[str, Any] = msgspec.json.decode(raw)
                self._clock = (loop.time(), int(answer["now"]))
                if answer.get("lost"):
                    self._epoch, self._back, self._lost = answer["epoch"], True, True
                elif not answer.get("late"):
                    break
        except StoreUnavailable:
            with self._lock:
                self._drops.clear()  # on the way back everything that is not ours is dropped
                self._back = True
                if self._away_since is None:
                    self._away_since = began
            raise
        except BaseException:  # cancelled: what was placed is dropped with the next call
            with self._lock:
                self._drops.extend(ids)
            raise
        finally:
            self._asked.difference_update(ids)
        with self._lock:
            self._drops = [key for key in self._drops if key not in drops]
            self._epoch, self._away_since = answer["epoch"], None
            self._back, self._lost = False, False
            self.peers = answer["peers"]
        return answer

    def _frame(self, now: float) -> dict[str, Any]:
        """Return what every question carries."""
        with self._lock:
            self._forget(now)
            ask: dict[str, Any] = {
                "client": self._client,
                "fresh": f"epoch-{secrets.token_hex(8)}",
                **self._rules,
                "wider": self._wider,
            }
            # An idle store forgets everything, and rightly so: that is no loss.
            if self._clock is not None and now - self._clock[0] < self._stays:
                ask["known"] = self._epoch
                reckoned = self._clock[1] + (now - self._clock[0]) * _MICRO
                ask["expires"] = round(reckoned + (self._timeout + _PATIENCE) * _MICRO)
            if self._server_now is not None:
                ask["now"] = self._server_now
                ask.pop("expires", None)
            if self._away_since is not None:
                ask["away"] = round((now - self._away_since) * _MICRO)
            if self._back:
                ask["mine"] = [*self._own, *self._asked]
                known: list[Reservation | Entry] = [*self._own.values()]
                if self._lost:  # those who sleep until their time cannot do it themselves
                    known += [other for other in self.others if now - other.at < self._longest]
                ask["put"] = [(each.id, math.floor((now - each.at) * _MICRO)) for each in known]
            return ask

    def _placement(
        self,
        answer: Mapping[str, Any],
        key: str | None,
        cost: Cost,
        offered: Sequence[tuple[str, Cost]],
    ) -> Placement:
        with self._lock:
            if "too_large" in answer:
                self._own.pop(key or "", None)
                raise CallTooLarge(answer["too_large"])
            now = asyncio.get_running_loop().time()
            delay = answer.get("delay", 0) / _MICRO
            reservation = None
            if key is not None:
                reservation = Reservation(
                    id=key, cost=cost, at=now + delay, probe=answer.get("probe", False)
                )
                self._own[key] = reservation
            filled = []
            for place, ahead in answer.get("filled", ()):
                name, size = offered[place - 1]
                self._own[name] = Reservation(id=name, cost=size, at=now + ahead / _MICRO)
                filled.append((place - 1, self._own[name]))
            others = self._others(answer.get("log"), now)
            if others is not None:
                self.others, self.seen_at = others, now
        learned = {
            name: (limit, now - age / _MICRO) for name, (limit, age) in answer["learned"].items()
        }
        return Placement(
            reservation=reservation,
            delay=delay,
            filled=tuple(filled),
            paused=answer["paused"] / _MICRO,
            probing=answer["probing"],
            held=answer["held"] / _MICRO,
            most=answer.get("most"),
            named=answer["named"],
            learned=learned,
            others=others,
            peers=answer["peers"],
        )

    def _others(
        self, log: Sequence[tuple[str, float]] | None, now: float
    ) -> tuple[Entry, ...] | None:
        """Return what is not ours in the log of the store."""
        if log is None:
            return None
        mine = f"{self._client}."
        return tuple(
            Entry(name, now + ahead / _MICRO, _cost_of(name))
            for name, ahead in log
            if not name.startswith(mine)
        )


def _cost_of(name: str) -> Cost:
    _, images, input_images = name.rsplit(":", 2)
    return Cost(int(images), 1, int(input_images))
