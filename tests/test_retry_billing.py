from __future__ import annotations

import asyncio
import base64
import logging
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from itertools import chain, repeat
from typing import Any, TypeVar

import attrs
import pytest

from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    AmbiguousError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ConnectError,
    ImageSDKError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    QuotaExceededError,
    RateLimitError,
    RequestTimeoutError,
    ResponseInterruptedError,
    ServerError,
)
from imagesdk.events import Attempted, Event, Retrying, Throttled
from imagesdk.retry import RetryPolicy
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time

T = TypeVar("T")
Step = ScriptedAnswer | ImageSDKError
N = 3
"""Images that each call asks for."""

IMAGE = base64.b64encode(b"image").decode()
BILLED = {"ambiguous", "still_running", "unusable"}


@attrs.frozen
class Fault:
    """What a server does to one request: whether it makes, and charges, the images, and its answer."""

    makes: bool
    step: Step


def images(count: int = N) -> ScriptedAnswer:
    return ScriptedAnswer({"data": [{"b64_json": IMAGE}] * count})


def says(
    status: int, code: str | None = None, message: str = "boom", **headers: str
) -> ScriptedAnswer:
    """Return the answer of a server that refuses."""
    body = {"error": {"message": message, "type": "t", "param": None, "code": code}}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return ScriptedAnswer(body, status=status, headers={"x-request-id": "req_1", **sent})


def refuses(status: int, code: str | None = None, message: str = "boom", **headers: str) -> Fault:
    return Fault(makes=False, step=says(status, code, message, **headers))


GOOD = Fault(makes=True, step=images())
NO_ANSWER = RequestTimeoutError("nothing", phase="receive")
RESET = Fault(makes=True, step=ResponseInterruptedError("reset", phase="receive"))
CUT = Fault(makes=True, step=attrs.evolve(images(), break_after=30))
LATE = Fault(makes=True, step=attrs.evolve(images(), delay=100.0))


def broken_200(body: Any) -> Fault:
    return Fault(makes=True, step=ScriptedAnswer(body))


class Server:
    """A server that charges for each image that it makes, whatever becomes of the answer.

    It honours no Idempotency-Key: what it is asked twice it makes twice.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults = iter(faults)
        self.charged = 0
        self.asked: dict[str, list[SentRequest]] = defaultdict(list)

    def __call__(self, request: SentRequest) -> Step:
        wanted = request.json
        self.asked[wanted["prompt"]].append(request)
        fault = next(self._faults)
        self.charged += wanted.get("n", 1) if fault.makes else 0
        return fault.step


class Played:
    """What came of calls that were made one after the other, and what they cost."""

    def __init__(
        self, faults: Iterable[Fault], *, calls: int = 1, n: int = N, **options: Any
    ) -> None:
        self.server = Server(faults)
        self.transport = ScriptedTransport(self.server)
        self.events: list[Event] = []
        self.open_in_pauses = 0
        self.ends: list[Any] = []
        options = {"base_url": "http://server/v1", "transport": self.transport} | options
        run(self._calls(calls, n, options))
        assert self.transport.open == 0
        assert self.open_in_pauses == 0

    async def _calls(self, calls: int, n: int, options: dict[str, Any]) -> None:
        async with ImageSession(on_event=self._on_event, **options) as session:
            for number in range(calls):
                try:
                    self.ends.append(await session.generate(f"fox {number}", n=n))
                except ImageSDKError as error:
                    self.ends.append(error)

    def _on_event(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Retrying | Throttled):
            self.open_in_pauses += self.transport.open

    @property
    def end(self) -> Any:
        """What the only call came to."""
        (end,) = self.ends
        return end

    @property
    def asked(self) -> int:
        return len(self.transport.requests)

    @property
    def charged(self) -> int:
        return self.server.charged

    def outcomes(self) -> list[str]:
        return [attempt.outcome for attempt in self.end.attempts]


def run(main: Coroutine[Any, Any, T]) -> T:
    with virtual_time() as runner:
        return runner.run(main)


@attrs.frozen
class Row:
    """One example of a class of failure: how often it is sent, and what the caller gets."""

    outcome: str
    name: str
    fault: Fault
    asked: int
    error: type[ImageSDKError]
    options: dict[str, Any] = attrs.field(factory=dict, kw_only=True)

    def __str__(self) -> str:
        return f"{self.outcome}: {self.name}"


def not_sent(name: str, error: type[ImageSDKError], step: Step) -> Row:
    return Row("not_sent", name, Fault(makes=False, step=step), 3, error)


def ambiguous(name: str, fault: Fault) -> Row:
    return Row("ambiguous", name, fault, 2, AmbiguousError)


def unusable(name: str, body: Any, error: type[ImageSDKError] = ProtocolError) -> Row:
    return Row("unusable", name, broken_200(body), 1, error)


def final(name: str, fault: Fault, error: type[ImageSDKError]) -> Row:
    return Row("final", name, fault, 1, error)


# The table of DESIGN.md, section 3, with every example that it names; "throttled" is below.
TABLE = [
    not_sent("DNS", ConnectError, ConnectError("Name or service not known")),
    not_sent("refused", ConnectError, ConnectError("Connect call failed")),
    not_sent("TLS set-up", ConnectError, ConnectError("certificate verify failed")),
    not_sent(
        "connect timeout", RequestTimeoutError, RequestTimeoutError("slow", phase="connect")
    ),
    not_sent(
        "reset before the body was written",
        ResponseInterruptedError,
        ResponseInterruptedError("reset", phase="send"),
    ),
    *(
        Row("failed", str(status), refuses(status), 3, ServerError)
        for status in (500, 502, 503, 529, 408, 409, 425)
    ),
    Row("failed", "page of a proxy", Fault(makes=False, step=ScriptedAnswer(b"<html>", status=502)), 3, ServerError),
    ambiguous("reset after the body", RESET),
    ambiguous("reset after the body, nothing made", attrs.evolve(RESET, makes=False)),
    ambiguous("end of stream before the body", attrs.evolve(CUT, step=ScriptedAnswer(b"", break_after=0))),
    ambiguous("truncated 200", CUT),
    *(
        ambiguous(f"{status}, {'made' if makes else 'nothing made'}", Fault(makes=makes, step=says(status)))
        for status in (504, *range(520, 525))
        for makes in (True, False)
    ),
    Row("still_running", "read timeout", Fault(makes=True, step=NO_ANSWER), 1, RequestTimeoutError),
    Row("still_running", "attempt_timeout", LATE, 1, RequestTimeoutError, options={"retry": RetryPolicy(attempt_timeout=10.0)}),
    Row("still_running", "timeout", LATE, 1, RequestTimeoutError, options={"timeout": 10.0}),
    unusable("bad JSON", b'{"data": ['),
    unusable("HTML", b"<html>"),
    unusable("empty body", b""),
    unusable("bad base64", {"data": [{"b64_json": "a"}]}),
    unusable("no data", {"created": 1}),
    unusable("empty data", {"data": []}),
    unusable("null", None),
    unusable("a list", []),
    unusable("an error object", {"error": {"message": "x"}}, APIError),
    final("400", refuses(400), BadRequestError),
    final("401", refuses(401), AuthenticationError),
    final("403", refuses(403), PermissionDeniedError),
    final("404", refuses(404), NotFoundError),
    final("413", refuses(413), BadRequestError),
    final("422", refuses(422), BadRequestError),
    final("501", refuses(501), ServerError),
    final("505", refuses(505), ServerError),
    final("redirect", refuses(307, location="http://other/"), BadRequestError),
    final("moderation", refuses(400, "moderation_blocked"), ModerationError),
    final("policy", refuses(400, "content_policy_violation"), ModerationError),
    final("insufficient_quota", refuses(429, "insufficient_quota"), QuotaExceededError),
    final("billing_hard_limit", refuses(400, "billing_hard_limit_reached"), QuotaExceededError),
    final("Limit: 0/1min", refuses(429, None, "Limit: 0/1min."), PermissionDeniedError),
]  # fmt: skip

every_row = pytest.mark.parametrize("row", TABLE, ids=str)


@every_row
def test_a_fault_that_stays(row: Row, caplog: pytest.LogCaptureFixture) -> None:
    """Every row of the failure table: what is asked, what is charged, and what the caller is told."""
    with caplog.at_level(logging.WARNING, "imagesdk"):
        played = Played(repeat(row.fault), calls=2, **row.options)
    billed = row.outcome in BILLED
    assert played.asked == 2 * row.asked
    assert played.charged == (2 * row.asked * N if row.fault.makes else 0)
    assert billed or not played.charged  # never paid without saying so
    for error in played.ends:
        assert isinstance(error, row.error)
        assert error.may_be_billed is billed
        assert [a.outcome for a in error.attempts] == [row.outcome] * row.asked
        assert [a.may_be_billed for a in error.attempts] == [billed] * row.asked
        assert [a.number for a in error.attempts] == list(range(1, row.asked + 1))
        # A call that its own timeout ends was not ended by its last attempt: that becomes a note.
        notes = getattr(error, "__notes__", [])
        assert len(notes) == row.asked - 1 + ("timeout" in row.options)
        assert all(f"attempt {k}: {row.outcome} after" in note for k, note in enumerate(notes, 1))
    warnings = [record for record in caplog.records if "may have been billed" in record.message]
    told = [e.may_be_billed for e in played.events if isinstance(e, Attempted)]
    assert told == [billed] * played.asked
    assert len(warnings) == (played.asked if billed else 0)


@every_row
def test_a_fault_that_passes(row: Row) -> None:
    """After one failure the call succeeds, where it is sent again, and tells what it may have cost."""
    played = Played([row.fault, GOOD], **row.options)
    again = row.asked > 1
    assert played.asked == 1 + again
    assert played.charged == N * (row.fault.makes + again)
    if again:
        assert len(played.end.data) == N
        assert played.outcomes() == [row.outcome, "ok"]
        assert [a.may_be_billed for a in played.end.attempts] == [row.outcome in BILLED, False]
        (retrying,) = [event for event in played.events if isinstance(event, Retrying)]
        assert (retrying.reason, retrying.may_be_billed) == (row.outcome, row.outcome in BILLED)
    else:
        assert isinstance(played.end, row.error)


@every_row
def test_one_key_for_a_call(row: Row) -> None:
    """All attempts of a call are the same request with the same Idempotency-Key, a call's own."""
    played = Played(chain([row.fault] * row.asked, [row.fault, GOOD]), calls=2, **row.options)
    first, second = played.server.asked.values()
    for requests in (first, second):
        assert len({request.headers["Idempotency-Key"] for request in requests}) == 1
        assert len({request.body for request in requests}) == 1
    assert first[0].headers["Idempotency-Key"] != second[0].headers["Idempotency-Key"]


THROTTLED = {
    "rate_limit_exceeded": refuses(429, "rate_limit_exceeded", retry_after="7"),
    "slow_down": refuses(429, "slow_down", retry_after="7"),
    "in the text": refuses(429, None, "Please try again in 7s."),
    "without a time": refuses(429, "rate_limit_exceeded"),
}
throttled = pytest.mark.parametrize("fault", THROTTLED.values(), ids=THROTTLED)


@throttled
def test_throttled(fault: Fault) -> None:
    """A 429 is asked again until it passes, uses up no attempt, and nothing of it is charged."""
    one = attrs.evolve(GOOD, step=images(1))
    played = Played([*[fault] * 5, one], n=1, retry=RetryPolicy(1), timeout=None)
    assert (played.asked, played.charged) == (6, 1)
    assert len(played.end.data) == 1
    assert played.outcomes() == ["throttled"] * 5 + ["ok"]
    assert not any(attempt.may_be_billed for attempt in played.end.attempts)
    assert len({r.headers["Idempotency-Key"] for r in played.transport.requests}) == 1
    assert [type(e) for e in played.events if isinstance(e, Throttled | Retrying)] == [
        Throttled
    ] * 5


@throttled
def test_throttled_without_a_limiter(fault: Fault) -> None:
    """With the limiter off a 429 uses attempts, and nothing of it is charged."""
    played = Played(repeat(fault), images_per_minute=None)
    assert (played.asked, played.charged) == (3, 0)
    assert (type(played.end), played.end.may_be_billed) == (RateLimitError, False)
    assert played.outcomes() == ["throttled"] * 3


def test_throttling_gives_no_second_chance() -> None:
    """A 429 between two failures that may have been billed does not make the second one the first."""
    slow = THROTTLED["slow_down"]
    played = Played([slow, RESET, slow, RESET, GOOD], n=1, retry=RetryPolicy(9))
    assert (played.asked, played.charged) == (4, 2)
    assert played.outcomes() == ["throttled", "ambiguous", "throttled", "ambiguous"]
    assert (type(played.end), played.end.may_be_billed) == (AmbiguousError, True)


MAYBE = {
    "reset": RESET,
    "truncated 200": CUT,
    **{str(status): Fault(makes=True, step=says(status)) for status in (504, 520, 524)},
}


@pytest.mark.parametrize("fault", MAYBE.values(), ids=MAYBE)
@pytest.mark.parametrize(("policy", "asked"), [("never", 1), ("once", 2), ("always", 4)])
def test_what_may_be_paid_again(policy: Any, asked: int, fault: Fault) -> None:
    """The policy says how often a call may be paid: once, twice, or as often as it has attempts."""
    played = Played(repeat(fault), retry=RetryPolicy(4, ambiguous=policy))
    assert (played.asked, played.charged) == (asked, asked * N)
    assert (type(played.end), played.end.may_be_billed) == (AmbiguousError, True)
    assert "Look at the account's usage" in str(played.end)
    passed = Played([fault, GOOD], retry=RetryPolicy(4, ambiguous=policy))
    assert passed.charged == (N if policy == "never" else 2 * N)


@pytest.mark.parametrize("fault", [Fault(makes=True, step=NO_ANSWER), LATE], ids=["read", "own"])
@pytest.mark.parametrize(("policy", "asked"), [("never", 1), ("once", 1), ("always", 4)])
def test_what_is_still_made_is_not_ordered_again(policy: Any, asked: int, fault: Fault) -> None:
    """After a timeout the server is still at work: only "always" pays for the same again."""
    retry = RetryPolicy(4, ambiguous=policy, attempt_timeout=10.0)
    played = Played(repeat(fault), retry=retry)
    assert (played.asked, played.charged) == (asked, asked * N)
    assert (type(played.end), played.end.may_be_billed) == (RequestTimeoutError, True)


@pytest.mark.parametrize(
    ("fault", "policy", "asked", "error"),
    [
        (refuses(400, x_should_retry="true"), "once", 3, BadRequestError),
        (refuses(501, x_should_retry="true"), "once", 3, ServerError),
        (Fault(makes=True, step=says(504, x_should_retry="true")), "once", 3, AmbiguousError),
        (Fault(makes=True, step=says(504, x_should_retry="true")), "never", 3, AmbiguousError),
        (Fault(makes=True, step=says(504, x_should_retry="false")), "once", 1, AmbiguousError),
        (Fault(makes=True, step=says(504, x_should_retry="false")), "always", 1, AmbiguousError),
        (refuses(503, x_should_retry="false"), "once", 1, ServerError),
        (refuses(429, x_should_retry="false"), "once", 1, RateLimitError),
    ],
)
def test_x_should_retry(fault: Fault, policy: Any, asked: int, error: type[ImageSDKError]) -> None:
    """The server's own word wins over the table; what it makes the call cost is told all the same."""
    played = Played(repeat(fault), retry=RetryPolicy(3, ambiguous=policy))
    assert (played.asked, played.charged) == (asked, asked * N if fault.makes else 0)
    assert (type(played.end), played.end.may_be_billed) == (error, fault.makes)


def refuses_late(status: int, code: str | None, message: str = "boom") -> Fault:
    return Fault(makes=False, step=attrs.evolve(says(status, code, message), delay=5.0))


STOPS = {
    "insufficient_quota": (refuses_late(429, "insufficient_quota"), QuotaExceededError),
    "billing": (refuses_late(400, "billing_hard_limit_reached"), QuotaExceededError),
    "spend limit": (refuses_late(429, "project_spend_limit_exceeded"), QuotaExceededError),
    "Limit: 0/1min": (refuses_late(429, None, "Limit: 0/1min."), PermissionDeniedError),
}


@pytest.mark.parametrize(("fault", "error"), STOPS.values(), ids=STOPS)
def test_what_waiting_does_not_mend_stops_the_queue(
    fault: Fault, error: type[ImageSDKError]
) -> None:
    """Calls that wait while one is told that waiting does not help are not sent, and told the same."""
    server = Server(chain([fault], repeat(GOOD)))

    async def main() -> tuple[list[Any], int, float]:
        loop = asyncio.get_running_loop()
        transport = ScriptedTransport(server)
        async with ImageSession(
            base_url="http://server/v1", transport=transport, images_per_minute=N
        ) as session:
            calls = (session.generate(f"fox {k}", n=N) for k in range(20))
            ends = await asyncio.gather(*calls, return_exceptions=True)
            took, asked = loop.time(), len(transport.requests)
            # It may have been mended since: a new call asks.
            assert len((await session.generate("later", n=N)).data) == N
        return list(ends), asked, took

    ends, asked, took = run(main())
    assert (asked, server.charged) == (1, N)
    assert took < 6
    assert {type(end) for end in ends} == {error}
    assert not any(end.may_be_billed for end in ends)
    assert sorted(len(end.attempts) for end in ends) == [0] * 19 + [1]


def test_more_images_than_the_limit_are_split() -> None:
    """A call that the server can never take is not asked again as it is, and costs what it gives."""
    counts: list[int] = []

    def server(request: SentRequest) -> Step:
        counts.append(request.json.get("n", 1))
        if counts[-1] > 5:
            message = "Rate limit reached on images per min: Limit 5, Requested 10."
            return says(429, "rate_limit_exceeded", message)
        return images(counts[-1])

    async def main() -> int:
        transport = ScriptedTransport(server)
        async with ImageSession(base_url="http://server/v1", transport=transport) as session:
            return len((await session.generate("foxes", n=10)).data)

    assert run(main()) == 10
    assert (counts[0], sum(counts[1:]), max(counts[1:])) == (10, 10, 5)


def test_every_example_of_the_table_is_here() -> None:
    """The rows cover each class of failure that a call can end with."""
    classes = {row.outcome for row in TABLE}
    assert classes == {"not_sent", "failed", "ambiguous", "still_running", "unusable", "final"}
    assert len({str(row) for row in TABLE}) == len(TABLE)
