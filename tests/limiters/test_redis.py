from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
import redis
import trustme
from hypothesis import given, settings, strategies as st

from imagesdk.errors import ConfigurationError
from imagesdk.limiters._redis import RedisConnection
from imagesdk.limiters._redis_scripts import HOLD, PROBE, Entry, Rule, place
from imagesdk.limiters._redis_store import Placement, RedisStore, Reservation, StoreUnavailable
from imagesdk.limiters._schedule import Cost, Dimension
from imagesdk.limiters.base import CallTooLarge
from tests.conftest import missing

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
"""A time of the store, for tests that drive its clock."""
LONG = 5.0
"""Store timeout of tests that are not about it, in seconds."""


class Server:
    """A real redis-server, which forgets everything when it ends."""

    def __init__(self, *options: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="redis")  # unix sockets are limited to 107 characters
        self.path = f"{self.folder}/redis.sock"
        self.url = f"unix://{self.path}"
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            missing("redis-server")
        options = ("--save", "", "--appendonly", "no", "--unixsocket", self.path, *self.options)
        if "--port" not in self.options:
            options = ("--port", "0", *options)
        self.process = subprocess.Popen(
            [program, *options, "--dir", self.folder], stdout=subprocess.DEVNULL
        )
        for _ in range(500):
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(self.path)
                probe.sendall(b"PING\r\n")
                if probe.recv(1) in b"+-":  # "-" wants a password
                    return
            signal.sigtimedwait([], 0.01)
        self.kill()
        pytest.fail("redis-server does not answer")

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.path)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        Path(self.path).unlink(missing_ok=True)
        self.process = None


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The server of all tests that do not harm it."""
    with Server() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server to stop and kill."""
    with Server() as server:
        yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Peers:
    """Several processes' access to one time line, whose clock the test may drive."""

    def __init__(self, url: str, *, timeout: float = LONG) -> None:
        self.url = url
        self.timeout = timeout
        self.name = uuid.uuid4().hex
        self.stores: list[RedisStore] = []
        self.connections: list[RedisConnection] = []

    def new(
        self,
        *windows: tuple[Dimension, int, float],
        jitter: float = 0.0,
        adopt: Any = "down",
        now: float | None = None,
        minute: float | None = None,
    ) -> RedisStore:
        connection = RedisConnection(self.url, timeout=self.timeout)
        store = RedisStore(
            partial(connection.call, self.keys),
            windows=windows or ([] if minute else [("images", 10, 10.0)]),
            minute={"images": minute},
            jitter=jitter,
            adopt=adopt,
            timeout=self.timeout,
        )
        self.connections.append(connection)
        self.stores.append(store)
        if now is not None:
            store._server_now = START + round(now * SECOND)
        return store

    def at(self, now: float) -> None:
        """Set the store's clock."""
        for store in self.stores:
            store._server_now = START + round(now * SECOND)

    @property
    def keys(self) -> list[str]:
        return [f"{{{self.name}}}:{key}" for key in ("log", "state", "peers")]

    async def aclose(self) -> None:
        for connection in self.connections:
            await connection.aclose()


@pytest.fixture
async def peers(server: Server) -> AsyncIterator[Peers]:
    """Processes on the common server."""
    peers = Peers(server.url)
    yield peers
    await peers.aclose()


def used(placement: Placement, store: RedisStore) -> int:
    """Return the images on the time line, whenever they are sent."""
    assert placement.others is not None
    own = store.own(asyncio.get_running_loop().time())
    return sum(e.cost.images for e in placement.others) + sum(r.cost.images for r in own)


def placed(placement: Placement) -> Reservation:
    assert placement.reservation is not None
    return placement.reservation


# The arithmetic.

DIMENSIONS: tuple[Dimension, ...] = ("images", "requests", "input_images")
COSTS = st.builds(
    Cost, images=st.integers(1, 6), requests=st.just(1), input_images=st.integers(0, 3)
)
RULES = st.lists(
    st.tuples(st.sampled_from(DIMENSIONS), st.integers(1, 12), st.integers(1, 40)),
    min_size=1,
    max_size=3,
)
ARRIVALS = st.lists(st.tuples(st.integers(0, 15), COSTS), min_size=1, max_size=25)


def fullest(entries: Sequence[Entry], rule: Rule) -> int:
    """Return the most that any window holds."""
    dimension, _, length = rule
    column = Cost._fields.index(dimension)
    return max(
        (sum(c[column] for u, c in entries if t - length < u <= t) for t, _ in entries), default=0
    )


def possible(entries: Sequence[Entry], rules: Sequence[Rule], at: int, cost: Cost) -> bool:
    """Say by the definition whether *cost* may be placed at a time."""
    for dimension, limit, length in rules:
        column = Cost._fields.index(dimension)
        own = min(cost[column], limit)
        if own == 0:
            continue
        for end in {at, *(t for t, _ in entries if at < t < at + length)}:
            used = sum(c[column] for t, c in entries if end - length < t <= end)
            if used + own > limit:
                return False
    return True


def earliest(entries: Sequence[Entry], rules: Sequence[Rule], now: int, cost: Cost) -> int:
    """Find the earliest time by trying them all."""
    at = now
    while not possible(entries, rules, at, cost):
        at += 1
    return at


@settings(max_examples=200, deadline=None)
@given(RULES, ARRIVALS)
def test_the_earliest_time_is_found(rules: list[Rule], arrivals: list[tuple[int, Cost]]) -> None:
    """What is placed, is placed at the earliest moment that the definition allows."""
    entries: list[Entry] = []
    now = 0
    for gap, cost in arrivals:
        now += gap
        at = place(entries, rules, now, cost)
        assert at == earliest(entries, rules, now, cost)
        entries = sorted([*entries, (at, cost)], key=lambda entry: entry[0])


@settings(max_examples=200, deadline=None)
@given(RULES, ARRIVALS)
def test_no_window_is_over_its_limit(rules: list[Rule], arrivals: list[tuple[int, Cost]]) -> None:
    """Whatever is placed, no window ever holds more than its limit, or one request that is larger."""
    entries: list[Entry] = []
    now = 0
    for gap, cost in arrivals:
        now += gap
        at = place(entries, rules, now, cost)
        entries = sorted([*entries, (at, cost)], key=lambda entry: entry[0])
    for rule in rules:
        largest = max(cost[Cost._fields.index(rule[0])] for _, cost in arrivals)
        assert fullest(entries, rule) <= max(rule[1], largest)


def test_lua_and_python_agree(server: Server) -> None:
    """The same arrivals get the same times from the script on a real server as from Python."""
    with asyncio.Runner() as runner:

        @settings(max_examples=60, deadline=None)
        @given(RULES, ARRIVALS)
        def compare(rules: list[Rule], arrivals: list[tuple[int, Cost]]) -> None:
            runner.run(one(rules, arrivals))

        async def one(rules: list[Rule], arrivals: list[tuple[int, Cost]]) -> None:
            peers = Peers(server.url)
            windows = [(dimension, limit, length / SECOND) for dimension, limit, length in rules]
            stores = [peers.new(*windows) for _ in range(2)]
            entries: list[Entry] = []
            now = 0.0
            for number, (gap, cost) in enumerate(arrivals):
                now += gap
                peers.at(now / SECOND)
                most = min((r[1] for r in rules if r[0] == "images"), default=cost.images)
                if cost.images > most:
                    with pytest.raises(CallTooLarge) as caught:
                        await stores[number % 2].reserve(cost)
                    assert caught.value.limit == most
                    continue
                expected = place(entries, rules, round(now), cost)
                placement = await stores[number % 2].reserve(cost)
                assert round(placement.delay * SECOND) + now == expected
                entries = sorted([*entries, (expected, cost)], key=lambda entry: entry[0])
            await peers.aclose()

        compare()


async def test_a_small_request_takes_a_gap(peers: Peers) -> None:
    """A request that fits before one that was placed goes first, and does not move it."""
    a, b, c = (peers.new(now=0.0) for _ in range(3))
    assert (await a.reserve(Cost(6))).delay == 0
    late = placed(await b.reserve(Cost(7)))
    assert (await c.reserve(Cost(4))).delay == 0
    assert (await c.reserve(Cost(3))).delay == pytest.approx(10.0)
    peers.at(10.0)
    assert (await b.confirm(late)).delay == 0


async def test_fill(peers: Peers) -> None:
    """While the head waits, the largest of the next waiters that fits now is sent; the head is not moved."""
    store = peers.new(now=0.0)
    await store.reserve(Cost(6))
    placement = await store.reserve(Cost(9), fill=[Cost(5), Cost(2), Cost(4), Cost(4), Cost(1)])
    assert placement.delay == 10.0
    ((index, filled),) = placement.filled
    assert (index, filled.cost) == (2, Cost(4))
    assert (await store.reserve(Cost(1))).delay == 10.0
    # Nothing fits any more: the windows that begin now are full.
    assert (await store.reserve(Cost(9), fill=[Cost(1)])).filled == ()


async def test_fill_does_not_delay_what_was_placed(peers: Peers) -> None:
    """A request that fits now, but not together with what comes later, is not sent."""
    store = peers.new(now=0.0)
    await store.reserve(Cost(5))
    peers.at(5.0)
    await store.reserve(Cost(5))
    await store.reserve(Cost(5))  # at 10
    peers.at(10.0)
    head = await store.reserve(Cost(5), fill=[Cost(1)])
    assert (head.delay, head.filled) == (5.0, ())


async def test_a_head_gives_its_place_to_another(peers: Peers) -> None:
    """A place that is replaced is free for the one that replaces it."""
    store = peers.new(now=0.0)
    await store.reserve(Cost(10))
    batch = placed(await store.reserve(Cost(10)))
    placement = await store.reserve(Cost(8), replaces=batch)
    assert placement.delay == 10.0
    assert [own.cost.images for own in store.own(0.0)] == [10, 8]
    assert (await store.reserve(Cost(2))).delay == 10.0


async def test_several_windows_and_dimensions(peers: Peers) -> None:
    """All windows must have room: images over two periods, requests, input images."""
    store = peers.new(
        ("images", 4, 10.0),
        ("images", 6, 30.0),
        ("requests", 3, 10.0),
        ("input_images", 5, 20.0),
        now=0.0,
    )
    assert (await store.reserve(Cost(1, 1, 5))).delay == 0
    assert (await store.reserve(Cost(1, 1, 1))).delay == 20.0
    assert (await store.reserve(Cost(1))).delay == 0
    assert (await store.reserve(Cost(1))).delay == 0
    assert (await store.reserve(Cost(1))).delay == 10.0
    assert (await store.reserve(Cost(1))).delay == 10.0
    assert (await store.reserve(Cost(1))).delay == 30.0


async def test_more_input_images_than_the_limit(peers: Peers) -> None:
    """A request that can never fit by its input images waits for an empty window, and is not refused."""
    store = peers.new(("images", 10, 10.0), ("input_images", 4, 10.0), now=0.0)
    await store.reserve(Cost(1, 1, 1))
    assert (await store.reserve(Cost(1, 1, 9))).delay == 10.0


async def test_without_windows(peers: Peers) -> None:
    """A limiter without a window for images counts requests only, and has no limit of images."""
    store = peers.new(("requests", 2, 10.0), now=0.0)
    first = await store.reserve(Cost(1000))
    assert (first.delay, first.most) == (0, None)
    await store.reserve(Cost(1000))
    assert (await store.reserve(Cost(1))).delay == 10.0


async def test_too_large(peers: Peers) -> None:
    """A request for more images than the limit in use is told the limit, and nothing is placed."""
    store = peers.new(("images", 10, 10.0), ("images", 8, 60.0), now=0.0)
    with pytest.raises(CallTooLarge) as caught:
        await store.reserve(Cost(9))
    assert caught.value.limit == 8
    assert (await store.reserve(Cost(8))).delay == 0


async def test_the_margin_lengthens_the_windows(peers: Peers) -> None:
    """Jitter is added to each period."""
    store = peers.new(("images", 10, 10.0), jitter=0.5, now=0.0)
    await store.reserve(Cost(10))
    assert (await store.reserve(Cost(10))).delay == 10.5


async def test_the_server_keeps_the_time(peers: Peers) -> None:
    """Without a given time the server's own clock counts, and what left the window is forgotten."""
    a, b = (peers.new(("images", 10, 0.4)) for _ in range(2))
    assert (await a.reserve(Cost(10))).delay == 0
    placement = await b.reserve(Cost(10))
    assert 0 < placement.delay <= 0.4
    await asyncio.sleep(placement.delay)
    assert (await b.confirm(placed(placement))).delay == 0
    now = asyncio.get_running_loop().time()
    assert (len(b.own(now + 59.0)), len(b.own(now + 61.0))) == (1, 0)


# After sleeping.


async def test_confirm(peers: Peers) -> None:
    """A place is good when nothing has changed; a little early it is kept, and the rest is slept."""
    store = peers.new(jitter=0.5, now=0.0)
    await store.reserve(Cost(10))
    head = placed(await store.reserve(Cost(10)))
    peers.at(10.0)
    assert (await store.confirm(head)).delay == 0.5
    peers.at(10.499)
    assert (await store.confirm(head)).delay == 0
    peers.at(10.6)  # within the margin: it counts as planned
    assert (await store.confirm(head)).delay == 0
    assert (await store.reserve(Cost(10))).delay == pytest.approx(21.0 - 10.6)


async def test_late(peers: Peers) -> None:
    """Who comes late counts from then on, goes at once, and those placed after him look again."""
    a, b = (peers.new(jitter=0.5, now=0.0) for _ in range(2))
    await a.reserve(Cost(10))
    late = placed(await a.reserve(Cost(10)))
    after = placed(await b.reserve(Cost(10)))
    peers.at(13.0)
    assert (await a.confirm(late)).delay == 0
    peers.at(21.0)
    moved = await b.confirm(after)
    assert moved.delay == 2.5
    peers.at(23.5)
    assert (await b.confirm(placed(moved))).delay == 0


async def test_very_late(peers: Peers) -> None:
    """A place whose window has passed is placed anew; nobody is overrun."""
    a, b = (peers.new(now=0.0) for _ in range(2))
    await a.reserve(Cost(10))
    late = placed(await a.reserve(Cost(5)))
    peers.at(25.0)
    await b.reserve(Cost(10))
    assert (await a.confirm(late)).delay == 10.0


async def test_late_when_all_is_taken(peers: Peers) -> None:
    """Two who are late do not fill one window twice."""
    a, b = (peers.new(jitter=0.5, now=0.0) for _ in range(2))
    await a.reserve(Cost(10))
    first = placed(await a.reserve(Cost(10)))
    second = placed(await b.reserve(Cost(10)))
    peers.at(20.5)
    assert (await a.confirm(first)).delay == 0
    peers.at(21.5)
    assert (await b.confirm(second)).delay == 9.5


async def test_release(peers: Peers) -> None:
    """A place that was not used is free again."""
    a, b = (peers.new(now=0.0) for _ in range(2))
    first = placed(await a.reserve(Cost(10)))
    await a.release(first)
    assert (await b.reserve(Cost(10))).delay == 0
    assert a.own(0.0) == []


async def test_move(peers: Peers) -> None:
    """What was sent late counts late."""
    store = peers.new(("images", 10, 0.5))
    first = placed(await store.reserve(Cost(10)))
    await asyncio.sleep(0.05)
    await store.move(first, first.at + 0.05)
    assert (await store.reserve(Cost(10))).delay == pytest.approx(0.5, abs=0.02)


async def test_a_cancelled_reservation_is_dropped(peers: Peers) -> None:
    """A caller that goes away while the store is asked keeps nothing: the next call gives it back."""
    a, b = (peers.new(now=0.0) for _ in range(2))
    await a.told({})  # connects
    task = asyncio.create_task(a.reserve(Cost(10)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.01)
    await a.told({})
    assert (await b.reserve(Cost(10))).delay == 0


# After a 429.


async def test_a_pause_is_for_everybody(peers: Peers) -> None:
    """After a 429 nobody goes before its end; then one goes first and the others a second later."""
    a, b, c = (peers.new(now=0.0) for _ in range(3))
    first = placed(await a.reserve(Cost(1)))
    waiting = placed(await b.reserve(Cost(9)))
    answer = await a.refused(first, pause=30.0)
    assert answer.paused == 30.0
    probe = await c.reserve(Cost(1))
    assert (probe.delay, probe.paused, placed(probe).probe) == (30.0, 30.0, True)
    peers.at(10.0)
    moved = await b.confirm(waiting)
    assert moved.delay == 20.0 + PROBE
    assert not placed(moved).probe
    peers.at(30.0)
    assert (await c.confirm(placed(probe))).delay == 0
    small = await peers.new(now=30.0).reserve(Cost(1))
    assert small.delay == 10.0  # when the probe leaves the window


async def test_the_others_follow_when_the_probe_went_well(peers: Peers) -> None:
    """When the probe got no 429 the others need not wait for the second to pass."""
    a, b = (peers.new(now=0.0) for _ in range(2))
    await a.refused(placed(await a.reserve(Cost(1))), pause=5.0)
    peers.at(5.0)
    probe = placed(await a.reserve(Cost(1)))
    other = placed(await b.reserve(Cost(1)))
    await b.settled(other)  # not the probe: says nothing
    assert (await b.confirm(other)).delay == PROBE
    await a.settled(probe)
    assert (await b.reserve(Cost(1))).delay == 0
    peers.at(5.5)
    assert (await b.confirm(other)).delay == 0.5  # it keeps its place


async def test_no_news_is_good_news(peers: Peers) -> None:
    """A second after the probe everybody goes, and nobody is the probe any more."""
    a, b = (peers.new(now=0.0) for _ in range(2))
    await a.refused(placed(await a.reserve(Cost(1))), pause=5.0)
    peers.at(8.0)
    assert placed(await a.reserve(Cost(1))).probe
    peers.at(9.0)
    placement = await b.reserve(Cost(1))
    assert (placement.delay, placed(placement).probe) == (0, False)


async def test_a_probe_that_is_not_sent(peers: Peers) -> None:
    """When the probe goes away, another one takes its place."""
    a, b = (peers.new(now=0.0) for _ in range(2))
    await a.refused(placed(await a.reserve(Cost(1))), pause=5.0)
    peers.at(5.0)
    probe = placed(await a.reserve(Cost(1)))
    await a.release(probe)
    placement = await b.reserve(Cost(1))
    assert (placement.delay, placed(placement).probe) == (0, True)


async def test_a_probe_that_is_refused(peers: Peers) -> None:
    """When the probe gets a 429, the pause begins again, and so does the probing."""
    a, b = (peers.new(now=0.0) for _ in range(2))
    await a.refused(placed(await a.reserve(Cost(1))), pause=5.0)
    peers.at(5.0)
    probe = placed(await a.reserve(Cost(1)))
    other = placed(await b.reserve(Cost(1)))
    await a.refused(probe, pause=7.0)
    peers.at(6.0)
    moved = await b.confirm(other)
    assert (moved.delay, placed(moved).probe) == (6.0, True)
    assert (await a.reserve(Cost(1))).delay == 6.0 + PROBE


async def test_a_pause_only_moves_forward(peers: Peers) -> None:
    """A shorter pause that arrives later does not shorten a longer one."""
    a, b = (peers.new(now=0.0) for _ in range(2))
    await a.refused(placed(await a.reserve(Cost(1))), pause=30.0)
    answer = await b.refused(b.note(Cost(1), 0.0), pause=5.0)
    assert answer.paused == 30.0
    assert (await b.refused(b.note(Cost(1), 0.0))).paused == 30.0
    assert (await b.refused(b.note(Cost(1), 0.0), pause=40.0)).paused == 40.0


@pytest.mark.parametrize(
    ("adopt", "lower", "higher"), [("down", 6, 10), ("auto", 6, 20), ("never", 10, 10)]
)
async def test_a_named_limit(peers: Peers, adopt: str, lower: int, higher: int) -> None:
    """A limit that the server names is shared, and each process follows it by its own rule."""
    a, b = peers.new(minute=10, now=0.0), peers.new(minute=10, adopt=adopt, now=0.0)
    await a.refused(placed(await a.reserve(Cost(1))), named={"images": 6})
    placement = await b.reserve(Cost(1))
    assert (placement.most, placement.named) == (lower, {"images": 6})
    await a.told({"images": 20})
    placement = await b.reserve(Cost(higher - 1))
    assert (placement.most, placement.named, placement.delay) == (higher, {"images": 20}, 0)
    assert (await b.reserve(Cost(1))).delay == 60.0


async def test_a_limit_named_where_there_was_none(peers: Peers) -> None:
    """A limit of requests or of images a minute that only the server knows becomes a window, too."""
    store = peers.new(("images", 10, 10.0), now=0.0)
    await store.told({"requests": 2, "images": 5.5})
    assert (await store.reserve(Cost(2))).most == 5
    assert (await store.reserve(Cost(2))).delay == 0
    assert (await store.reserve(Cost(1))).delay == 60.0
    peers.at(60.0)
    assert (await store.reserve(Cost(5))).delay == pytest.approx(60.0 * 5 / 5.5)


async def test_a_limit_that_is_lowered_while_waiting(peers: Peers) -> None:
    """Who waits finds a lower limit when he looks again: later, or that he is too large."""
    a, b, c = (peers.new(minute=10, now=0.0) for _ in range(3))
    await a.reserve(Cost(10))
    first, second = placed(await b.reserve(Cost(4))), placed(await c.reserve(Cost(6)))
    await a.told({"images": 5})
    peers.at(60.0)
    with pytest.raises(CallTooLarge) as caught:
        await c.confirm(second)
    assert caught.value.limit == 5
    assert c.own(0.0) == []
    assert (await b.confirm(first)).delay == 0
    assert (await a.reserve(Cost(2))).delay == 60.0


async def test_a_learned_limit_climbs_back(peers: Peers) -> None:
    """A limit that an unexplained 429 taught holds for all, and grows by 5 % a minute."""
    a, b = (peers.new(minute=50, now=0.0) for _ in range(2))
    await a.refused(placed(await a.reserve(Cost(1))), learned={"images": 40})
    limits, lessons = {}, {}
    for minute in (0, 0.99, 1, 2, 4, 5, 100):
        peers.at(60.0 * minute)
        placement = await b.reserve(Cost(1))
        limits[minute] = placement.most
        lessons[minute] = len(placement.learned)
    assert limits == {0: 40, 0.99: 40, 1: 42, 2: 44, 4: 48, 5: 50, 100: 50}
    assert lessons == {0: 1, 0.99: 1, 1: 1, 2: 1, 4: 1, 5: 0, 100: 0}


async def test_a_lesson_has_its_time(peers: Peers) -> None:
    """The others are told when the limit was learned, in their own time."""
    a, b = (peers.new(minute=50) for _ in range(2))
    await a.refused(a.note(Cost(1), 0.0), learned={"images": 40})
    now = asyncio.get_running_loop().time()
    limit, at = (await b.reserve(Cost(1))).learned["images"]
    assert limit == 40
    assert at == pytest.approx(now, abs=0.05)


async def test_a_learned_limit_is_at_least_one(peers: Peers) -> None:
    """However low, one image may be sent."""
    store = peers.new(minute=50, now=0.0)
    assert (await store.refused(store.note(Cost(1), 0.0), learned={"images": 0.3})).learned
    assert (await store.reserve(Cost(1))).most == 1


async def test_old_news_do_not_raise_a_learned_limit(peers: Peers) -> None:
    """A 429 to what was sent before the limit was lowered can only sharpen it; a later one sets it."""
    store = peers.new(minute=50)
    first, second, third = [placed(await store.reserve(Cost(1))) for _ in range(3)]
    await asyncio.sleep(0.01)
    lessons = []
    for reservation, learned in ((first, 40.0), (second, 45.0), (third, 30.0)):
        answer = await store.refused(reservation, learned={"images": learned})
        lessons.append(answer.learned["images"][0])
    await asyncio.sleep(0.01)
    answer = await store.refused(placed(await store.reserve(Cost(1))), learned={"images": 35.0})
    assert [*lessons, answer.learned["images"][0]] == [40, 40, 30, 35]


# Keys, peers, and what is left behind.


async def test_peers(peers: Peers) -> None:
    """Processes count as long as they were seen within two periods."""
    a, b = (peers.new(now=0.0) for _ in range(2))
    assert (await a.reserve(Cost(1))).peers == 1
    assert (await b.reserve(Cost(1))).peers == 2
    peers.at(19.0)
    assert (await a.reserve(Cost(1))).peers == 2
    peers.at(21.0)
    assert (await a.reserve(Cost(1))).peers == 1
    assert a.peers == 1


async def test_the_keys_go_away(peers: Peers, server: Server) -> None:
    """The keys share a hash tag, and expire a while after the last entry has left the windows."""
    store = peers.new()
    await store.reserve(Cost(10))
    await store.reserve(Cost(10))
    with server.client() as client:
        left = {key: client.pttl(key) for key in peers.keys}
        assert all(79_000 < left[key] <= 80_001 for key in peers.keys)
        assert set(client.keys(f"*{peers.name}*")) == {key.encode() for key in peers.keys}
        await store.told({"images": 5})
        assert client.pttl(peers.keys[1]) > 80_000_000  # what the server named is not forgotten


async def test_a_store_that_was_idle_is_not_lost(peers: Peers, server: Server) -> None:
    """When nobody used the store for long, its keys are gone, and nobody is held."""
    a, b = (peers.new(("images", 10, 0.1)) for _ in range(2))
    await a.reserve(Cost(10))
    await b.told({})
    with server.client() as client:
        client.delete(*peers.keys)
    for store in (a, b):
        assert store._clock is not None
        store._clock = (store._clock[0] - 61.0, store._clock[1])
    placement = await a.reserve(Cost(10))
    assert (placement.held, placement.delay) == (0, 0)


async def test_a_fork_is_another_process(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fork the child is somebody else, and has sent nothing yet."""
    store = peers.new(now=0.0)
    first = placed(await store.reserve(Cost(1)))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    second = placed(await store.reserve(Cost(1)))
    assert first.id.partition(".")[0] != second.id.partition(".")[0]
    assert store.own(0.0) == [second]
    assert store.peers == 2


# A store that fails.


async def test_the_scripts_were_flushed(peers: Peers, server: Server) -> None:
    """A server that forgot its scripts is told them again, and nothing is lost."""
    store = peers.new(now=0.0)
    await store.reserve(Cost(4))
    with server.client() as client:
        client.script_flush()
    assert (await store.reserve(Cost(7))).delay == 10.0


async def test_a_lost_store_is_put_right(peers: Peers, server: Server) -> None:
    """After a loss of its data each process puts back what it knows, and until then nobody sends."""
    a, b = (peers.new(("images", 10, 60.0)) for _ in range(2))
    await a.reserve(Cost(4))
    await b.reserve(Cost(4))
    waiting = placed(await b.reserve(Cost(6)))
    with server.client() as client:
        client.delete(*peers.keys)
    first = await a.reserve(Cost(2))
    assert first.held == pytest.approx(HOLD, abs=0.5)
    assert first.delay == pytest.approx(HOLD, abs=0.5)
    second = await b.confirm(waiting)
    assert second.delay == pytest.approx(60.0, abs=0.5)
    with server.client() as client:
        entries = client.zrange(peers.keys[0], 0, -1)
        assert sorted(int(entry.split(b":")[1]) for entry in entries) == [2, 4, 4, 6]


async def test_who_sleeps_is_not_forgotten(peers: Peers, server: Server) -> None:
    """Who comes back to a store that lost its data puts back what it knows of the others, too."""
    a, b, c = (peers.new(("images", 10, 60.0)) for _ in range(3))
    await a.reserve(Cost(4))
    await b.reserve(Cost(5))
    sleeping = placed(await b.reserve(Cost(5)))
    await c.reserve(Cost(1))
    with server.client() as client:
        client.delete(*peers.keys)
    assert (await c.reserve(Cost(1))).delay == pytest.approx(60.0, abs=0.5)
    assert (await b.confirm(sleeping)).delay == pytest.approx(60.0, abs=0.5)
    with server.client() as client:
        entries = client.zrange(peers.keys[0], 0, -1)
        assert sorted(int(entry.split(b":")[1]) for entry in entries) == [1, 1, 4, 5, 5]


async def test_a_newcomer_to_a_lost_store(peers: Peers, server: Server) -> None:
    """A process that comes first to an empty store goes at once; who knew another one holds it."""
    a, b = (peers.new(("images", 10, 60.0)) for _ in range(2))
    await a.reserve(Cost(4))
    await b.reserve(Cost(4))
    with server.client() as client:
        client.delete(*peers.keys)
    newcomer = await peers.new(("images", 10, 60.0)).reserve(Cost(1))
    assert (newcomer.held, newcomer.delay) == (0, 0)
    assert 2.0 < (await a.reserve(Cost(1))).delay < HOLD
    assert (await b.reserve(Cost(1))).delay > 2.0


async def test_an_old_loss_holds_nobody(peers: Peers, server: Server) -> None:
    """Who comes back to a store that began anew long ago puts his entries back, and holds nobody."""
    a, b = (peers.new(("images", 10, 60.0), now=0.0) for _ in range(2))
    await a.reserve(Cost(4))
    await b.reserve(Cost(3))
    with server.client() as client:
        client.delete(*peers.keys)
    await peers.new(("images", 10, 60.0), now=1.0).reserve(Cost(1))
    peers.at(5.0)
    placement = await a.reserve(Cost(1))
    assert (placement.held, placement.delay, used(placement, a)) == (0, 0, 6)


async def test_a_killed_server(own_server: Server) -> None:
    """A server that is gone is told at once; what was sent meanwhile is put into the next one."""
    peers = Peers(own_server.url)
    a, b = (peers.new(("images", 10, 60.0)) for _ in range(2))
    loop = asyncio.get_running_loop()
    await a.reserve(Cost(3))
    await b.reserve(Cost(3))
    own_server.kill()
    began = loop.time()
    with pytest.raises(StoreUnavailable, match="ConnectionError"):
        await a.reserve(Cost(1))
    with pytest.raises(StoreUnavailable):
        await b.reserve(Cost(1))
    assert loop.time() - began < 0.5
    a.note(Cost(2), loop.time())
    own_server.start()
    placement = await b.reserve(Cost(1))
    assert 2.0 < placement.held <= HOLD
    later = await a.reserve(Cost(2))
    assert later.delay > 50
    assert used(later, a) == 11
    await peers.aclose()


async def test_a_server_that_hangs(own_server: Server) -> None:
    """A server that does not answer blocks nobody, and what it then finds in its queue it leaves."""
    peers = Peers(own_server.url, timeout=0.05)
    store = peers.new(("images", 10, 60.0))
    await store.reserve(Cost(3))
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StoreUnavailable, match=r"no answer within 0.05 s"):
        await store.reserve(Cost(5))
    assert loop.time() - began < 0.2
    await asyncio.sleep(0.7)
    own_server.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(0.05)
    with own_server.client() as client:
        assert client.zcard(peers.keys[0]) == 1
    store._timeout = LONG
    placement = await store.reserve(Cost(7))
    assert placement.delay == placement.held
    await peers.aclose()


async def test_a_reservation_whose_answer_was_lost(peers: Peers) -> None:
    """What the store did although it did not answer is undone with the next call."""
    a, b = (peers.new(now=0.0) for _ in range(2))
    await b.reserve(Cost(1))
    kept = placed(await a.reserve(Cost(3)))
    call = a._call

    async def deaf(ask: bytes) -> bytes:
        await call(ask)
        raise StoreUnavailable("no answer")

    a._call = deaf
    with pytest.raises(StoreUnavailable):
        await a.reserve(Cost(6), replaces=kept)
    a._call = call
    assert (await a.reserve(Cost(6))).delay == 0
    assert (await b.reserve(Cost(1))).delay == pytest.approx(10.0, abs=0.5)


async def test_when_nobody_reached_the_store(peers: Peers) -> None:
    """Who comes back first holds a store that nobody reached meanwhile, since all sent without it."""
    a, b = (peers.new(("images", 10, 60.0)) for _ in range(2))
    await a.reserve(Cost(1))
    await b.reserve(Cost(1))
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.05)
    for store in (a, b):
        store._away_since, store._back = loop.time() - 0.02, True
    a.note(Cost(3), loop.time())
    b.note(Cost(4), loop.time())
    first = await a.reserve(Cost(1))
    assert 2.0 < first.held <= HOLD
    second = await b.reserve(Cost(1))
    assert second.held < first.held
    assert second.delay > 50


async def test_who_lost_sight_of_the_store_alone_holds_nobody(peers: Peers) -> None:
    """When the others went on meanwhile, only the entries of the one who was away are put back."""
    a, b = (peers.new(("images", 10, 60.0)) for _ in range(2))
    await a.reserve(Cost(1))
    loop = asyncio.get_running_loop()
    a._away_since, a._back = loop.time(), True
    a.note(Cost(3), loop.time())
    await asyncio.sleep(0.02)
    await b.reserve(Cost(1))
    placement = await a.reserve(Cost(1))
    assert (placement.held, used(placement, a)) == (0, 6)


async def test_a_busy_loop_does_not_lose_the_answer(server: Server) -> None:
    """A program that keeps the event loop busy for longer than the timeout finds the answer afterwards."""
    peers = Peers(server.url, timeout=0.02)
    store = peers.new()
    for _ in range(3):
        await store.told({"images": 5})
        task = asyncio.create_task(store.reserve(Cost(1)))
        for _ in range(3):
            await asyncio.sleep(0)
        signal.sigtimedwait([], 0.04)  # blocks
        assert (await task).delay == 0
    await peers.aclose()


# Connections.


async def test_tcp() -> None:
    """A server is reached over TCP, with a password."""
    port = free_port()
    with Server("--port", str(port), "--bind", "127.0.0.1", "--requirepass", "secret"):
        peers = Peers(f"redis://:secret@127.0.0.1:{port}/0")
        assert (await peers.new().reserve(Cost(1))).delay == 0
        await peers.aclose()
        peers = Peers(f"redis://:wrong@127.0.0.1:{port}/0")
        with pytest.raises(StoreUnavailable, match="AuthenticationError") as caught:
            await peers.new().reserve(Cost(1))
        assert "wrong" not in str(caught.value)
        await peers.aclose()


async def test_tls(tmp_path: Path) -> None:
    """A server is reached over TLS, and its certificate is checked."""
    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    options = {
        "--tls-port": str(port), "--tls-cert-file": tmp_path / "cert.pem",
        "--tls-key-file": tmp_path / "key.pem", "--tls-ca-cert-file": tmp_path / "ca.pem",
        "--tls-auth-clients": "no",
    }  # fmt: skip
    with Server(*(str(part) for option in options.items() for part in option)):
        peers = Peers(f"rediss://localhost:{port}?ssl_ca_certs={tmp_path / 'ca.pem'}")
        assert (await peers.new().reserve(Cost(1))).delay == 0
        await peers.aclose()
        peers = Peers(f"rediss://localhost:{port}")
        with pytest.raises(StoreUnavailable, match="certificate"):
            await peers.new().reserve(Cost(1))
        await peers.aclose()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1", "127.0.0.1:6379", "", "redis://host:port", "redis://host?unknown=1"],
)
def test_bad_urls(url: str) -> None:
    """A URL that cannot be used is refused before anything is sent."""
    with pytest.raises(ConfigurationError, match="the URL of the store"):
        RedisConnection(url, timeout=1.0)


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package redis the error says how to install it."""
    monkeypatch.setitem(__import__("sys").modules, "redis.asyncio", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'imagesdk\[redis\]'"):
        RedisConnection("redis://127.0.0.1", timeout=1.0)


def test_another_event_loop(server: Server) -> None:
    """A store that is used from a second event loop connects again."""
    peers = Peers(server.url)
    store = peers.new(now=0.0)

    async def once() -> float:
        placement = await store.reserve(Cost(6))
        await peers.aclose()
        return placement.delay

    assert asyncio.run(once()) == 0
    assert asyncio.run(once()) == 10.0
