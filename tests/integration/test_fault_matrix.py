"""Every row of fault_rows.py, on a real socket: what the caller gets, what is paid, what leaks."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import selectors
import socket
import ssl
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trustme

# No wheel holds the tests. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[2]))

from imagesdk.client.session import ImageSession
from imagesdk.errors import ImageSDKError
from imagesdk.events import Event
from imagesdk.retry import RetryPolicy
from tests.integration.fault_rows import PAGE, ROWS, Ran, Row, page
from tests.integration.leaks import everything, logged
from tests.integration.raw_server import RawServer

QUICK = RetryPolicy(backoff=0.02)
ALL = [row for rows in ROWS.values() for row in rows]


class _QuickSelector(selectors.DefaultSelector):
    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / self._speed)


class QuickLoop(asyncio.SelectorEventLoop):
    """A loop with real sockets, whose clock goes faster than real time, and that knows no names."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        super().__init__(_QuickSelector(speed))

    def time(self) -> float:
        return super().time() * self._speed

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        if host == "localhost":
            return await super().getaddrinfo(host, port, **options)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture(scope="module")
def self_signed() -> ssl.SSLContext:
    """A TLS context with a certificate of an authority that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _base_url(row: Row, server: RawServer) -> str:
    match row.where:
        case "refused":
            return f"http://127.0.0.1:{_free_port()}/v1"
        case "dns":
            return "http://images.example/v1"
        case "https to http":
            return server.url.replace("http:", "https:")
        case _:
            return server.url


async def _peak(call: Any, limit: int | None) -> Any:
    """Await *call*; if there is a limit, see how much memory it takes."""
    if limit is None:
        return await call
    tracemalloc.start(1)
    try:
        before = tracemalloc.get_traced_memory()[0]
        try:
            return await call
        finally:
            assert tracemalloc.get_traced_memory()[1] - before < limit
    finally:
        tracemalloc.stop()


async def _run(
    row: Row, folder: Path, key: str, tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    result = error = None
    tls_or_not = tls if row.where == "self-signed" else None
    async with RawServer() as other, RawServer(*row.steps, tls=tls_or_not) as server:
        server.other_port = int(other.url.rpartition(":")[2].partition("/")[0])
        before = asyncio.all_tasks()
        settings = {"validate": "off", "max_concurrency": 1, "retry": QUICK, **row.options}
        async with ImageSession(
            api_key=key, base_url=_base_url(row, server), on_event=events.append, **settings
        ) as images:
            try:
                result = await _peak(row.call(images, folder), row.peak_bytes)
            except ImageSDKError as caught:
                error = caught
            gaps = [b.at - a.at for a, b in itertools.pairwise(server.requests)]
            _check(row, Ran(result=result, error=error, server=server, other=other, gaps=gaps))
            if row.fit:
                assert (await images.generate("a fox", timeout=60.0)).data
            shown = repr((images, images._pipeline, images._runner, events, result))
        left = {
            task
            for task in asyncio.all_tasks() - before - server.tasks - other.tasks
            if "_accept_connection" not in repr(task)  # of the server, whose TLS was not wanted
        }
    assert not left
    for text in (shown, everything(error) if error else "", logged(caplog.records)):
        assert key not in text


def _check(row: Row, ran: Ran) -> None:
    """Hold what came against the row."""
    outcome = ran.error if row.error else ran.result
    assert type(ran.error) is (row.error or type(None)), repr(ran.error)
    assert len(outcome.attempts) == len(row.attempts), outcome.attempts
    for attempt, expected in zip(outcome.attempts, row.attempts, strict=True):
        assert attempt.outcome in expected.split("|"), outcome.attempts
    assert ran.server.charged == row.made
    if row.sent is not None:
        assert len(ran.server.requests) == row.sent
    billed = any(attempt.may_be_billed for attempt in outcome.attempts)
    if ran.error is not None:
        billed = ran.error.may_be_billed
    if "|" not in row.outcomes:
        assert billed is row.may_be_billed
    if row.waits is not None:
        assert row.waits[0] <= ran.gaps[-1] <= row.waits[1]
    if row.says:
        assert re.search(row.says, str(ran.error)), str(ran.error)
    assert row.holds(ran)
    assert not ran.other.requests


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_fault(
    row: Row,
    tmp_path: Path,
    key: str,
    self_signed: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A fault ends as the table says, is never more than its price, and shows the key nowhere."""
    caplog.set_level(logging.DEBUG)
    with asyncio.Runner(loop_factory=lambda: QuickLoop(row.speed)) as runner:
        runner.run(_run(row, tmp_path, key, self_signed, caplog))


def test_names_are_unique() -> None:
    """A row can be named."""
    assert len({row.name for row in ALL}) == len(ALL)


def test_page() -> None:
    """docs/faults.md shows the table that is tested: ``python -m tests.integration.fault_rows`` writes it."""
    text = PAGE.read_text("utf-8")
    assert page(text) == text
