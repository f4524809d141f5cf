"""The routes of files and batches: what they answer, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from imagesdk.emulator.server import EmulatorServer
from tests.emulator.conftest import Encode

BATCH = {
    "input_file_id": "file-1",
    "endpoint": "/v1/images/generations",
    "completion_window": "24h",
}


def form(**fields: str | bytes) -> aiohttp.FormData:
    """Return a form; bytes are files."""
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        data.add_field(name, value, filename="a.jsonl" if isinstance(value, bytes) else None)
    return data


async def refused(response: aiohttp.ClientResponse) -> tuple[int, str | None, str | None]:
    """Return status, parameter and code of a refusal."""
    error = (await response.json())["error"]
    assert error["message"]
    return response.status, error["param"], error["code"]


async def test_the_official_client_handles_files(server: EmulatorServer) -> None:
    """A file is uploaded, described, read, listed and deleted."""
    async with AsyncOpenAI(base_url=server.base_url, api_key="sk-test-1") as client:
        files = [
            await client.files.create(file=(f"{number}.jsonl", b"x" * number), purpose="batch")
            for number in range(3)
        ]
        last = await client.files.create(
            file=("a.png", b"png"),
            purpose="vision",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert last.expires_at == last.created_at + 3600
        assert await client.files.retrieve(files[2].id) == files[2]
        assert (await client.files.content(files[2].id)).content == b"xx"
        listed = [file.id async for file in client.files.list(purpose="batch", order="asc")]
        assert listed == [file.id for file in files]
        paged = [file.id async for file in client.files.list(limit=2)]
        assert paged == [last.id, *reversed(listed)]
        assert (await client.files.delete(last.id)).deleted
        assert server.requests[0].files[0].filename == "0.jsonl"
        assert server.requests[0].params == {"purpose": "batch"}


async def test_the_official_client_lists_batches(server: EmulatorServer) -> None:
    """Batches come page by page, the newest one first, with their metadata."""
    async with AsyncOpenAI(base_url=server.base_url, api_key="sk-test-1") as client:
        made = [
            await client.batches.create(
                input_file_id="file-1",
                endpoint="/v1/images/edits",
                completion_window="24h",
                metadata={"number": str(number)},
                output_expires_after={"anchor": "created_at", "seconds": 3600},
            )
            for number in range(5)
        ]
        found = [batch async for batch in client.batches.list(limit=2)]
        assert [batch.id for batch in found] == [batch.id for batch in reversed(made)]
        assert found[0].metadata == {"number": "4"}
        assert (await client.batches.retrieve(made[0].id)).created_at == made[0].created_at


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"purpose": "batch"}, "file", "missing_required_parameter"),
        ({"file": b"x"}, "purpose", "missing_required_parameter"),
        ({"file": b"x", "purpose": "fun"}, "purpose", "invalid_value"),
        ({"file": "x", "purpose": "batch"}, "file", "invalid_type"),
        ({"file": b"x", "purpose": "vision", "n": "1"}, "n", "unknown_parameter"),
        (
            {"file": b"x", "purpose": "vision", "expires_after": "1"},
            "expires_after",
            "invalid_type",
        ),
        (
            {"file": b"x", "purpose": "vision", "expires_after[seconds]": "7200"},
            "expires_after",
            "invalid_value",
        ),
        (
            {
                "file": b"x",
                "purpose": "vision",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "1",
            },
            "expires_after.seconds",
            "integer_below_min_value",
        ),
    ],
)
async def test_an_upload_that_breaks_the_contract_is_refused(
    http: aiohttp.ClientSession, fields: dict[str, str | bytes], param: str, code: str
) -> None:
    """A refusal of an upload names the parameter at fault."""
    async with http.post("v1/files", data=form(**fields)) as response:
        assert await refused(response) == (400, param, code)


async def test_a_batch_file_must_be_called_jsonl(http: aiohttp.ClientSession) -> None:
    """The name of a file for a batch says its format."""
    data = aiohttp.FormData({"purpose": "batch"})
    data.add_field("file", b"x", filename="a.txt")
    async with http.post("v1/files", data=data) as response:
        assert await refused(response) == (400, None, None)


@pytest.mark.parametrize("body", [b"", b"--x\r\ngarbage", b"\xff\xfe"])
async def test_an_upload_that_is_no_form_is_refused(
    http: aiohttp.ClientSession, body: bytes
) -> None:
    """Garbage is refused with 400."""
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with http.post("v1/files", data=body, headers=headers) as response:
        assert (await refused(response))[0] == 400
    async with http.post("v1/files", json={"purpose": "batch"}) as response:
        assert await refused(response) == (400, None, "unsupported_content_type")


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"input_file_id": None}, "input_file_id", "missing_required_parameter"),
        ({"endpoint": "/v1/images/variations"}, "endpoint", "invalid_value"),
        ({"completion_window": "1h"}, "completion_window", "invalid_value"),
        ({"metadata": []}, "metadata", "invalid_type"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"metadata": {"a": "x" * 513}}, "metadata", "invalid_value"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "invalid_value"),
        ({"output_expires_after": {"seconds": 7200}}, "output_expires_after", "invalid_value"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 2_592_001}},
            "output_expires_after.seconds",
            "integer_above_max_value",
        ),
        ({"prompt": "a"}, "prompt", "unknown_parameter"),
    ],
)
async def test_a_batch_that_breaks_the_contract_is_refused(
    http: aiohttp.ClientSession, change: dict[str, Any], param: str, code: str
) -> None:
    """A refusal of a batch names the parameter at fault."""
    async with http.post("v1/batches", json=BATCH | change) as response:
        assert await refused(response) == (400, param, code)


async def test_a_batch_that_is_no_json_is_refused(http: aiohttp.ClientSession) -> None:
    """A body that is no JSON object, or does not say that it is one, is refused."""
    headers = {"Content-Type": "application/json"}
    async with http.post("v1/batches", data=b"[1", headers=headers) as response:
        assert await refused(response) == (400, None, None)
    async with http.post("v1/batches", data=json.dumps(BATCH).encode()) as response:
        assert await refused(response) == (400, None, "unsupported_content_type")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "v1/files/file-none"),
        ("GET", "v1/files/file-none/content"),
        ("DELETE", "v1/files/file-none"),
        ("GET", "v1/batches/batch_none"),
        ("POST", "v1/batches/batch_none/cancel"),
    ],
)
async def test_what_is_not_there_is_not_found(
    http: aiohttp.ClientSession, method: str, path: str
) -> None:
    """An id of nothing is 404."""
    async with http.request(method, path) as response:
        assert (await refused(response))[0] == 404


async def test_a_batch_that_has_ended_cannot_be_cancelled(http: aiohttp.ClientSession) -> None:
    """Cancelling what has ended is a conflict."""
    async with http.post("v1/batches", json=BATCH) as response:
        batch = await response.json()
    while batch["status"] != "failed":
        async with http.get(f"v1/batches/{batch['id']}") as response:
            batch = await response.json()
    async with http.post(f"v1/batches/{batch['id']}/cancel") as response:
        assert (await refused(response))[0] == 409


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("v1/files?limit=0", "limit"),
        ("v1/files?limit=x", "limit"),
        ("v1/files?order=up", "order"),
        ("v1/files?after=file-none", "after"),
        ("v1/batches?limit=101", "limit"),
    ],
)
async def test_a_list_that_breaks_the_contract_is_refused(
    http: aiohttp.ClientSession, path: str, param: str
) -> None:
    """A refusal of a list names the parameter at fault."""
    async with http.get(path) as response:
        status, named, _ = await refused(response)
        assert (status, named) == (400, param)


async def test_every_route_needs_a_key(server: EmulatorServer) -> None:
    """Without a key there are no files and no batches."""
    async with aiohttp.ClientSession() as session:
        for path in ("files", "batches", "files/x/content"):
            async with session.get(f"{server.base_url}/{path}") as response:
                assert response.status == 401


async def test_a_file_is_edited_by_its_id(
    server: EmulatorServer, http: aiohttp.ClientSession, picture: Encode
) -> None:
    """A JSON edit takes a file that was uploaded, and refuses one that was not."""
    async with AsyncOpenAI(base_url=server.base_url, api_key="sk-test-1") as client:
        file = await client.files.create(file=("a.png", picture()), purpose="vision")
    body = {"model": "gpt-image-1", "prompt": "a", "images": [{"file_id": file.id}]}
    async with http.post("v1/images/edits", json=body) as response:
        assert response.status == 200
    body["images"] = [{"file_id": "file-none"}]
    async with http.post("v1/images/edits", json=body) as response:
        assert await refused(response) == (400, "images[0]", "image_file_not_found")
