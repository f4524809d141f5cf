"""Calls about anything but images: what is sent again, and what is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from imagesdk.client.api import Api, FreeCall
from imagesdk.client.config import read_endpoint
from imagesdk.errors import (
    AuthenticationError,
    ConnectError,
    ImageSDKError,
    ProtocolError,
    RateLimitError,
    RequestTimeoutError,
    ResponseInterruptedError,
    ServerError,
)
from imagesdk.models.servers import profile_for_host
from imagesdk.protocol.encode import BytesBody
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, virtual_time
from imagesdk.transport.base import Reply, read_all

OK = ScriptedAnswer({"id": "x"})
BODY = BytesBody(content_type="application/json", data=b"{}")
LOST = ResponseInterruptedError("lost", phase="receive")
NO_LINE = ConnectError("no line")


def failing(status: int, **headers: str) -> ScriptedAnswer:
    """Return a refusal."""
    error = {"error": {"message": "no", "code": None}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ScriptedAnswer(error, status=status, headers=named)


def ask(
    script: list[ScriptedAnswer | ImageSDKError], *, safe: bool = True, method: str = "POST"
) -> tuple[Any, ScriptedTransport]:
    """Make one call against a script, in virtual time; return what it gave or raised."""
    transport = ScriptedTransport(script)

    async def enter() -> None:
        """Nothing is to be done."""

    def headers() -> Mapping[str, str]:
        return {"User-Agent": "test"}

    api = Api(
        transport=transport,
        endpoint=read_endpoint(
            api_key="sk-test-secret", base_url="http://server/v1", organization=None, project=None
        ),
        enter=enter,
        headers=headers,
    )
    with virtual_time() as runner:
        try:
            return runner.run(api.ask(method, "things", BODY, safe=safe)), transport
        except ImageSDKError as error:
            return error, transport


def test_an_object_comes_back() -> None:
    """The answer is JSON; the request has the key, and what every request has."""
    found, transport = ask([OK])
    assert found == {"id": "x"}
    (sent,) = transport.requests
    assert (sent.method, sent.url, sent.body) == ("POST", "http://server/v1/things", b"{}")
    assert sent.headers["User-Agent"] == "test"
    assert sent.credentials["Authorization"] == "Bearer sk-test-secret"


@pytest.mark.parametrize("failure", [failing(500), failing(503), failing(429), LOST, NO_LINE])
def test_a_safe_call_is_sent_again(failure: ScriptedAnswer | ImageSDKError) -> None:
    """What can be asked twice is, whatever became of it."""
    found, transport = ask([failure, failure, OK])
    assert found == {"id": "x"}
    assert len(transport.requests) == 3


@pytest.mark.parametrize(
    ("failure", "again"),
    [(failing(429), True), (NO_LINE, True), (failing(500), False), (LOST, False)],
)
def test_an_unsafe_call_is_sent_again_only_if_it_was_not_taken(
    failure: ScriptedAnswer | ImageSDKError, *, again: bool
) -> None:
    """What costs money is sent twice only if the server cannot have taken it."""
    found, transport = ask([failure, OK], safe=False)
    assert (found == {"id": "x"}) is again
    assert len(transport.requests) == 1 + again


def test_what_is_refused_is_raised() -> None:
    """A refusal that will not change is raised at once, the last one of five attempts otherwise."""
    found, transport = ask([failing(401)])
    assert isinstance(found, AuthenticationError)
    assert len(transport.requests) == 1
    found, transport = ask([failing(500)] * 5)
    assert isinstance(found, ServerError)


def test_the_server_says_how_long_to_wait() -> None:
    """A Retry-After is the shortest pause; one of more than a minute is not waited for."""
    found, transport = ask([failing(429, retry_after="7"), OK])
    assert found == {"id": "x"}
    assert 7 <= transport.requests[1].at - transport.requests[0].at < 8
    found, _ = ask([failing(429, retry_after="90")])
    assert isinstance(found, RateLimitError)


def test_a_server_that_says_nothing_is_given_up() -> None:
    """An answer that does not begin, or does not go on, within two minutes is asked for once more."""
    for silent in (
        ScriptedAnswer({}, delay=1000),
        ScriptedAnswer({"a": 1}, chunk_bytes=1, chunk_delay=1000),
    ):
        found, transport = ask([silent, OK])
        assert found == {"id": "x"}
        assert 120 <= transport.requests[1].at < 125
    found, transport = ask([ScriptedAnswer({}, delay=1000)], safe=False)
    assert isinstance(found, RequestTimeoutError)
    assert found.phase == "receive"


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b""])
def test_an_answer_that_is_no_object_is_an_error(body: bytes) -> None:
    """What is no JSON object is told, with what came."""
    found, _ = ask([ScriptedAnswer(body)])
    assert isinstance(found, ProtocolError)
    assert found.body == body


async def test_a_query_of_the_server_goes_with_every_request() -> None:
    """What a profile puts into the query stands beside what is asked for."""
    transport = ScriptedTransport([OK, OK])

    async def enter() -> None:
        """Nothing is to be done."""

    server = attrs.evolve(profile_for_host("127.0.0.1"), query={"api-version": "1"})
    endpoint = read_endpoint(
        api_key="k", base_url="http://server/v1", organization=None, project=None, server=server
    )
    api = Api(transport=transport, endpoint=endpoint, enter=enter, headers=dict)
    await api.ask("GET", "batches")
    await api.ask("GET", "batches?limit=2")
    assert [sent.url.partition("/v1/")[2] for sent in transport.requests] == [
        "batches?api-version=1",
        "batches?limit=2&api-version=1",
    ]


def test_the_key_comes_out_of_nothing() -> None:
    """A server that echoes the key does not spread it."""
    found, _ = ask([ScriptedAnswer({"id": "sk-test-secret"})])
    assert found == {"id": "***"}
    found, _ = ask([ScriptedAnswer(b"sk-test-secret")])
    assert found.body == b"***"


async def test_a_download_begins_anew_if_it_breaks_off() -> None:
    """What receives an answer gets a new one, from its begin."""
    transport = ScriptedTransport(
        [ScriptedAnswer(b"abcdef", break_after=3), ScriptedAnswer(b"abc")]
    )
    seen: list[bytes] = []

    async def enter() -> None:
        """Nothing is to be done."""

    async def receive(reply: Reply) -> int:
        seen.append(bytes(await read_all(reply, 100, cut=False)))
        return len(seen)

    endpoint = read_endpoint(
        api_key="k", base_url="http://server/v1", organization=None, project=None
    )
    api = Api(transport=transport, endpoint=endpoint, enter=enter, headers=dict)
    assert await api.fetch("files/x/content", receive) == 1
    assert seen == [b"abc"]
    assert transport.open == 0


def test_a_free_call_counts_its_attempts() -> None:
    """The policy counts each exchange of a call that costs nothing."""
    assert FreeCall(attempts=2).counted_attempts == 2
