from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from imagesdk.emulator.server import EmulatorServer

GENERATIONS = "/v1/images/generations"
SMALL = {"prompt": "a fox", "size": "256x256"}


async def call(
    http: aiohttp.ClientSession, method: str, path: str, body: bytes | str = b""
) -> tuple[int, Any]:
    async with http.request(method, f"/_emulator/{path}", data=body) as response:
        return response.status, await response.json()


async def status(http: aiohttp.ClientSession) -> int:
    async with http.post(GENERATIONS, json=SMALL) as response:
        return response.status


@pytest.mark.parametrize(
    "body", ['{"fail": 418}', '[{"fail": 418}]', '["fail=418"]', "fail=418", '"fail=418"']
)
async def test_faults_are_planned_from_another_process(
    http: aiohttp.ClientSession, body: str
) -> None:
    """As JSON objects or as texts, one or several."""
    assert await call(http, "POST", "faults", body) == (200, {"faults": [{"fail": 418}]})
    assert await call(http, "GET", "faults") == (200, {"faults": [{"fail": 418}]})
    assert [await status(http), await status(http)] == [418, 200]


async def test_faults_are_taken_back(http: aiohttp.ClientSession) -> None:
    """DELETE leaves none."""
    await call(http, "POST", "faults", "fail=500 times=null")
    assert await call(http, "DELETE", "faults") == (200, {"faults": []})
    assert await status(http) == 200


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("faults", "fail=1000", "<= 599"),
        ("faults", '[{"fail": 500}, {"fial": 1}]', "unknown field `fial`"),
        ("faults", "7", "Expected `object`"),
        ("limit", '{"limit": -1}', "must be 0 or more"),
        ("limit", '{"limit": "many"}', "must be real number"),
        ("limit", '{"limit": 5, "kind": "leaky"}', "use one of sliding"),
        ("limit", '{"limits": 5}', "Unknown parameter: 'limits'"),
        ("limit", "5", "could not parse"),
        ("reset", '{"seed": "x"}', "seed must be a whole number: 'x'"),
        ("reset", "{", "could not parse"),
        ("faults", '{"body":' + "[" * 100_000, "is no fault"),
        ("faults", "{" + '"a":[' * 100_000, "is no fault"),
        ("limit", '{"limit":' + "[" * 100_000, "could not parse"),
    ],
)
async def test_nonsense_is_refused_and_changes_nothing(
    http: aiohttp.ClientSession, server: EmulatorServer, path: str, body: str, message: str
) -> None:
    """The answer is 400 and says what was wrong; no fault of an array is planned."""
    method = "PUT" if path == "limit" else "POST"
    code, answer = await call(http, method, path, body)
    assert code == 400
    assert message in answer["error"]["message"]
    assert server.faults == []
    assert await status(http) == 200


async def test_another_limit(http: aiohttp.ClientSession) -> None:
    """The limit can be set to any kind, and to none."""
    await call(http, "PUT", "limit", '{"limit": 1, "kind": "bucket", "period": 3600}')
    assert [await status(http), await status(http)] == [200, 429]
    await call(http, "PUT", "limit", '{"limit": null}')
    assert await status(http) == 200


async def test_what_happened_can_be_asked(http: aiohttp.ClientSession) -> None:
    """What was charged and what was asked for, without the key; control is not recorded."""
    await status(http)
    assert await call(http, "GET", "state") == (
        200,
        {"charged": 1, "requests": 1, "faults": []},
    )
    (kept,) = (await call(http, "GET", "requests"))[1]["requests"]
    assert (kept["path"], kept["status"], kept["params"]) == (GENERATIONS, 200, SMALL)
    assert kept["headers"]["Authorization"] == "***"


async def test_begin_anew(http: aiohttp.ClientSession, server: EmulatorServer) -> None:
    """A reset forgets everything, with another seed if one is named."""
    await call(http, "POST", "faults", "fail=500 times=null")
    await status(http)
    state = {"charged": 0, "requests": 0, "faults": []}
    assert await call(http, "POST", "reset", '{"seed": 7}') == (200, state)
    async with http.post(GENERATIONS, json=SMALL) as response:
        assert response.status == 200
        first = response.headers["x-request-id"]
    server.reset(seed=7)
    async with http.post(GENERATIONS, json=SMALL) as response:
        assert response.headers["x-request-id"] == first
