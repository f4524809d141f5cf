from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any

import aiohttp
import openai
import pytest
from PIL import Image

import imagesdk.emulator
from imagesdk.emulator.recording import RecordedRequest
from imagesdk.emulator.server import EmulatorServer

Encode = Callable[..., bytes]


@pytest.fixture
async def client(server: EmulatorServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official SDK, pointed at the emulator."""
    async with openai.AsyncOpenAI(
        base_url=server.base_url, api_key="sk-test", max_retries=0
    ) as official:
        yield official


async def test_the_official_sdk_generates(client: openai.AsyncOpenAI) -> None:
    """openai-python gets classic URLs and GPT Image pictures with usage."""
    classic = await client.images.generate(prompt="a cat", n=2, size="256x256")
    assert [bool(image.url) for image in classic.data or []] == [True, True]
    answer = await client.images.generate(
        prompt="a cat", model="gpt-image-2", size="1024x1024", output_format="webp"
    )
    assert answer.data
    assert answer.data[0].b64_json
    assert Image.open(BytesIO(b64decode(answer.data[0].b64_json))).format == "WEBP"
    assert answer.usage
    assert answer.usage.total_tokens > 0


async def test_the_official_sdk_edits(client: openai.AsyncOpenAI, picture: Encode) -> None:
    """openai-python edits one picture with a mask, and several with a GPT Image model."""
    classic = await client.images.edit(
        image=("a.png", picture()), mask=("m.png", picture()), prompt="a hat", size="256x256"
    )
    assert classic.data
    several = await client.images.edit(
        image=[("a.png", picture()), ("b.png", picture((30, 40)))],
        prompt="a hat",
        model="gpt-image-2.5-flare",
        size="1024x1024",
    )
    assert several.size == "1024x1024"


async def test_the_official_sdk_streams(client: openai.AsyncOpenAI, picture: Encode) -> None:
    """openai-python gets partial images and the picture, of generations and of edits."""
    generation = await client.images.generate(
        prompt="a cat", model="gpt-image-2", size="1024x1024", stream=True, partial_images=2
    )
    generated = [event async for event in generation]
    assert [event.type for event in generated] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    edit = await client.images.edit(
        image=("a.png", picture()),
        prompt="a hat",
        model="gpt-image-2",
        size="1024x1024",
        stream=True,
        partial_images=2,
    )
    edited = [event async for event in edit]
    assert [
        event.partial_image_index for event in edited if event.type == "image_edit.partial_image"
    ] == [0, 1]
    for last in (generated[-1], edited[-1]):
        assert last.type in {"image_generation.completed", "image_edit.completed"}
        assert last.usage.total_tokens > 0
        assert Image.open(BytesIO(b64decode(last.b64_json))).size == (1024, 1024)


async def test_the_official_sdk_sees_faults_in_a_stream(
    client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """openai-python raises on the error event of a stream that fails in the middle."""
    monkeypatch.delattr("imagesdk.emulator.painter.preview")
    stream = await client.images.generate(
        prompt="a cat", model="gpt-image-2", stream=True, partial_images=1
    )
    with pytest.raises(openai.APIError, match="server had an error"):
        _ = [event async for event in stream]


async def test_the_official_sdk_varies(client: openai.AsyncOpenAI, picture: Encode) -> None:
    """openai-python makes variations, from bytes without a name as well."""
    with pytest.warns(DeprecationWarning, match="deprecated"):
        answer = await client.images.create_variation(  # type: ignore[deprecated]
            image=picture(), n=2, size="256x256"
        )
    assert len(answer.data or []) == 2


async def test_the_official_sdk_understands_refusals(client: openai.AsyncOpenAI) -> None:
    """openai-python raises its own errors with code, parameter and request id."""
    with pytest.raises(openai.BadRequestError) as caught:
        await client.images.generate(prompt="a cat", n=11)
    assert (caught.value.code, caught.value.param) == ("integer_above_max_value", "n")
    assert caught.value.request_id
    wrong = client.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError):
        await wrong.models.list()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])  # noqa: S104
def test_binds_this_machine_only(host: str) -> None:
    """A host that other machines can reach is refused, with what to do about it."""
    with pytest.raises(ValueError, match=r"reachable from other machines.*allow_remote=True"):
        EmulatorServer(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
async def test_loopback_hosts(host: str) -> None:
    """Every loopback host is served, at the address that base_url says."""
    async with (
        EmulatorServer(host=host) as server,
        aiohttp.ClientSession() as session,
        session.get(f"{server.base_url}/models") as response,
    ):
        assert response.status == 401


async def test_other_hosts_on_request() -> None:
    """allow_remote lifts the restriction."""
    async with EmulatorServer(host="0.0.0.0", allow_remote=True) as server:  # noqa: S104
        assert server.base_url.startswith("http://0.0.0.0:")


@pytest.mark.parametrize(
    "settings",
    [
        {"url_lifetime": 0},
        {"url_lifetime": 1e308},
        {"url_lifetime": float("nan")},
        {"seconds_per_image": -1},
        {"seconds_per_image": float("inf")},
        {"images_per_minute": -1},
    ],
)
def test_senseless_settings(settings: dict[str, Any]) -> None:
    """A number outside its range is refused by name."""
    (name,) = settings
    with pytest.raises(ValueError, match=name.replace("_", "[_ ]")):
        EmulatorServer(**settings)


async def test_the_address_is_known_while_it_runs() -> None:
    """base_url is there between entering and leaving, and the server may run again."""
    server = EmulatorServer()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="does not run"):
            _ = server.base_url
        async with server:
            assert server.base_url.startswith("http://127.0.0.1:")
            with pytest.raises(RuntimeError, match="runs already"):
                await server.__aenter__()


async def test_a_port_in_use(server: EmulatorServer) -> None:
    """A port that cannot be bound is an OSError, and nothing stays behind."""
    port = int(server.base_url.removesuffix("/v1").rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        await EmulatorServer(port=port).__aenter__()


async def test_reset(server: EmulatorServer, client: openai.AsyncOpenAI) -> None:
    """reset() forgets requests and charges."""
    await client.images.generate(prompt="a cat", size="256x256", n=2)
    assert (server.charged, len(server.requests)) == (2, 1)
    server.reset()
    assert (server.charged, server.requests) == (0, [])


async def test_requests_need_not_be_kept() -> None:
    """With recording off nothing is kept, and the callback still sees each answered request."""
    seen: list[RecordedRequest] = []
    async with (
        EmulatorServer(record_requests=False, on_request=seen.append) as server,
        aiohttp.ClientSession() as session,
        session.get(f"{server.base_url}/models") as response,
    ):
        assert response.status == 401
        assert server.requests == []
    assert [(record.path, record.status) for record in seen] == [("/v1/models", 401)]


async def test_closes_while_a_picture_is_made() -> None:
    """Leaving does not wait for the pictures that are still being made."""
    admitted = asyncio.Event()

    def clock() -> float:
        admitted.set()
        return 0.0

    async with aiohttp.ClientSession(headers={"api-key": "sk-test"}) as session:
        async with EmulatorServer(seconds_per_image=600, clock=clock) as server:
            body = {"prompt": "a cat", "size": "256x256"}
            request = asyncio.create_task(
                session.post(f"{server.base_url}/images/generations", json=body)
            )
            await admitted.wait()
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 10
        with pytest.raises(aiohttp.ClientError):
            await request
        assert server.charged == 0


def test_the_package_loads_no_aiohttp() -> None:
    """Importing imagesdk.emulator loads neither aiohttp nor Pillow."""
    code = "import sys, imagesdk.emulator; assert not {'aiohttp', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_offers_the_server() -> None:
    """imagesdk.emulator has EmulatorServer, and nothing that it does not have."""
    assert imagesdk.emulator.EmulatorServer is EmulatorServer
    assert not hasattr(imagesdk.emulator, "other")


def test_synchronous_programs() -> None:
    """With ``with`` the server runs in a thread: for a client that blocks, and for any loop."""
    with EmulatorServer() as server:
        with openai.OpenAI(base_url=server.base_url, api_key=server.api_key) as client:
            client.images.generate(prompt="a cat", size="256x256", n=2)
            assert (server.charged, server.requests[0].params["n"]) == (2, 2)
            server.fail_next(500, headers={"x-should-retry": "false"})
            with pytest.raises(openai.InternalServerError):
                client.images.generate(prompt="a cat")
            server.reset()
            assert (server.charged, server.requests) == (0, [])
        with pytest.raises(RuntimeError, match="runs already"):
            server.__enter__()
    with pytest.raises(RuntimeError, match="does not run"):
        _ = server.base_url
    with server:
        assert server.base_url
    server.__exit__(None, None, None)  # a second time is nothing


def test_a_port_in_use_in_a_thread() -> None:
    """What keeps the server from starting is raised to the caller, and it can start later."""
    with EmulatorServer() as first:
        port = int(first.base_url.removesuffix("/v1").rpartition(":")[2])
        second = EmulatorServer(port=port)
        with pytest.raises(OSError, match="in use"):
            second.__enter__()
    with second:
        assert second.base_url == f"http://127.0.0.1:{port}/v1"


async def test_a_reset_begins_anew() -> None:
    """Faults from the start come back, others do not; the limit is the one from the start."""
    async with EmulatorServer(faults=["fail=500"], images_per_minute=5) as server:
        server.clear_faults()
        server.fail_next(429, times=None)
        server.rate_limit(None)
        server.reset()
        assert [fault.to_json() for fault in server.faults] == [{"fail": 500}]
        async with openai.AsyncOpenAI(
            base_url=server.base_url, api_key=server.api_key, max_retries=0
        ) as client:
            with pytest.raises(openai.InternalServerError):
                await client.images.generate(prompt="a cat")
            with pytest.raises(openai.RateLimitError):
                await client.images.generate(prompt="a cat", n=6)


async def test_what_is_late_is_charged_to_nobody() -> None:
    """A request that is answered after a reset does not count for what comes after it."""
    admitted = asyncio.Event()

    def clock() -> float:
        admitted.set()
        return 0.0

    async with (
        EmulatorServer(seconds_per_image=1.0, clock=clock) as server,
        aiohttp.ClientSession(headers={"api-key": "sk-test"}) as session,
    ):
        body = {"prompt": "a cat", "size": "256x256"}
        request = asyncio.create_task(
            session.post(f"{server.base_url}/images/generations", json=body)
        )
        await admitted.wait()
        server.reset()
        async with await request as response:
            assert response.status == 200
        assert (server.charged, server.requests) == (0, [])


@pytest.mark.parametrize(
    ("idempotency", "statuses", "charged"),
    [("ignores", [200, 200], 2), ("honours", [200, 200], 1), ("rejects", [200, 422], 1)],
)
async def test_idempotency_keys(idempotency: Any, statuses: list[int], charged: int) -> None:
    """A retry after a lost answer is paid twice, once, or refused."""
    async with (
        EmulatorServer(idempotency=idempotency) as server,
        aiohttp.ClientSession(headers={"api-key": "sk-test", "Idempotency-Key": "k"}) as session,
    ):
        server.drop_connection(after="charge")
        body = {"prompt": "a cat", "size": "256x256", "response_format": "b64_json"}
        url = f"{server.base_url}/images/generations"
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(url, json=body)
        async with session.post(url, json=body) as response:
            assert [200, response.status] == statuses
            assert ("Idempotent-Replayed" in response.headers) is (idempotency == "honours")
        assert server.charged == charged
        assert [record.charged for record in server.requests] == [1, charged - 1]


async def test_only_the_last_requests_are_kept() -> None:
    """A number keeps so many."""
    async with (
        EmulatorServer(record_requests=2) as server,
        aiohttp.ClientSession(server.base_url + "/") as session,
    ):
        for name in "abc":
            async with session.get(name):
                pass
        assert [record.path for record in server.requests] == ["/v1/b", "/v1/c"]


async def test_large_uploads_are_not_kept_for_ever(
    picture: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only some requests are kept, their uploads have a limit, too."""
    data = picture()
    monkeypatch.setattr("imagesdk.emulator.server._KEPT_UPLOAD_BYTES", 2 * len(data))
    async with (
        EmulatorServer(record_requests=100) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="sk-test") as client,
    ):
        for number in range(3):
            await client.images.edit(image=("a.png", data), prompt=f"hat {number}", size="256x256")
        assert [kept.params["prompt"] for kept in server.requests] == ["hat 1", "hat 2"]


async def test_the_same_seed_gives_the_same_names() -> None:
    """Ids of files and batches, and the order in which a batch is run, are those of the seed."""
    lines = b"".join(
        b'{"custom_id": "%d", "method": "POST", "url": "/v1/images/generations", ' % number
        + b'"body": {"prompt": "a fox", "model": "gpt-image-2"}}\n'
        for number in range(5)
    )
    runs: list[list[str]] = []
    for seed in (0, 0, 1):
        async with (
            EmulatorServer(plain=True, seed=seed) as server,
            openai.AsyncOpenAI(base_url=server.base_url, api_key="sk-test") as client,
        ):
            file = await client.files.create(file=("a.jsonl", lines), purpose="batch")
            batch = await client.batches.create(
                input_file_id=file.id,
                endpoint="/v1/images/generations",
                completion_window="24h",
            )
            runs.append([file.id, batch.id])
            while not batch.output_file_id:
                await asyncio.sleep(0.01)
                batch = await client.batches.retrieve(batch.id)
            output = (await client.files.content(batch.output_file_id)).text
            runs[-1] += [json.loads(line)["id"] for line in output.splitlines()]
    assert runs[0] == runs[1] != runs[2]
    assert len(runs[0]) == 7


def test_without_pillow_it_says_what_to_install() -> None:
    """The emulator's extra is named, and not a module that is missing."""
    program = "import sys; sys.modules['PIL'] = None; from imagesdk.emulator import EmulatorServer"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"python -m pip install 'imagesdk[emulator]'" in done.stderr
