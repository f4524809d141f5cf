from __future__ import annotations

import aiohttp
import pytest

from imagesdk.emulator.server import EmulatorServer

GENERATIONS = "/v1/images/generations"
SMALL = {"prompt": "a fox", "size": "256x256"}
FAULT = "X-Emulator-Fault"


async def status(http: aiohttp.ClientSession, fault: str, path: str = GENERATIONS) -> int:
    async with http.post(path, json=SMALL, headers={FAULT: fault}) as response:
        await response.read()
        return response.status


async def test_a_request_asks_for_its_own_fault(
    http: aiohttp.ClientSession, server: EmulatorServer
) -> None:
    """It gets that one alone, and uses none up that is planned."""
    server.fail_next(500)
    assert [await status(http, "fail=429"), await status(http, '{"fail": 418}')] == [429, 418]
    assert [fault.to_json() for fault in server.faults] == [{"fail": 500}]
    with pytest.raises(aiohttp.ClientConnectionError):
        await status(http, "stop=charge how=reset")
    assert [record.status for record in server.requests] == [429, 418, 0]
    assert server.charged == 1


@pytest.mark.parametrize("path", [GENERATIONS, "/v1/files", "/v1/nothing"])
async def test_a_request_that_asks_for_nonsense_is_told(
    http: aiohttp.ClientSession, path: str
) -> None:
    """The answer is 400, and its message says what a fault can be."""
    async with http.post(path, json=SMALL, headers={FAULT: "fial=500"}) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert error["code"] == "invalid_fault"
    assert "unknown field `fial`; a fault has" in error["message"]


@pytest.mark.parametrize("fault", ["fail=500 times=2", "latency=0 skip=1", "fail=400 on=edits"])
async def test_a_request_asks_for_itself_alone(http: aiohttp.ClientSession, fault: str) -> None:
    """How often and where makes no sense in a header."""
    assert await status(http, fault) == 400


async def test_control_can_be_kept_from_clients() -> None:
    """With ``control=False`` the header and the routes mean nothing."""
    async with (
        EmulatorServer(control=False) as server,
        aiohttp.ClientSession(headers={"api-key": server.api_key}) as http,
    ):
        base = server.base_url.removesuffix("/v1")
        assert await status(http, "fail=500", base + GENERATIONS) == 200
        async with http.get(base + "/_emulator/state") as response:
            assert response.status == 404


async def test_every_answer_has_the_id_that_is_recorded(
    http: aiohttp.ClientSession, server: EmulatorServer
) -> None:
    """Request ids come from the seed: the same ones after a reset."""
    seen = []
    for _ in range(2):
        async with http.post(GENERATIONS, json=SMALL) as response:
            seen.append(response.headers["x-request-id"])
        assert server.requests[0].request_id == seen[-1]
        server.reset()
    server.reset(seed=1)
    async with http.get("/v1/models") as response:
        seen.append(response.headers["x-request-id"])
    assert seen[0] == seen[1] != seen[2]


async def test_a_fault_meets_routes_that_do_not_exist(
    http: aiohttp.ClientSession, server: EmulatorServer
) -> None:
    """``on=all`` is for every request, and not for those that control the server."""
    server.fail_next(503, on="all", times=None)
    for path in ("/v1/models", "/v1/nothing", "/"):
        async with http.get(path) as response:
            assert response.status == 503
    async with http.get("/_emulator/state") as response:
        assert response.status == 200
    assert len(server.requests) == 3
