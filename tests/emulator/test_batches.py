"""How batches are run: their states, what goes into which file, and when it is charged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import pytest
from openai import AsyncOpenAI
from openai.types import Batch

from imagesdk.emulator import BatchPlan, EmulatorServer

ENDPOINT: Final = "/v1/images/generations"


def line(custom_id: str, /, **more: Any) -> dict[str, Any]:
    """Return a line for a small picture."""
    body = {"prompt": custom_id, "size": "256x256", "response_format": "b64_json"}
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body} | more


class Client:
    """The official client, and what a program does with it to run a batch."""

    def __init__(self, openai: AsyncOpenAI, server: EmulatorServer) -> None:
        self.openai = openai
        self.server = server

    async def create(self, *lines: dict[str, Any] | str) -> Batch:
        """Upload lines and begin to run them."""
        texts = [text if isinstance(text, str) else json.dumps(text) for text in lines]
        file = await self.openai.files.create(
            file=("lines.jsonl", "\n".join(texts).encode()), purpose="batch"
        )
        return await self.openai.batches.create(
            input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h"
        )

    async def wait(self, batch: Batch, *statuses: str) -> Batch:
        """Ask until a batch has one of *statuses*, or has ended."""
        ends = statuses or ("completed", "failed", "expired", "cancelled")
        while batch.status not in ends:
            await asyncio.sleep(0.01)
            batch = await self.openai.batches.retrieve(batch.id)
        return batch

    async def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        """Return the lines of a file."""
        assert file_id is not None
        content = await self.openai.files.content(file_id)
        return [json.loads(text) for text in content.text.splitlines()]


@asynccontextmanager
async def running(clock: SimpleNamespace, **plan: Any) -> AsyncIterator[Client]:
    """Run an emulator, and a client of it."""
    async with (
        EmulatorServer(
            batches=BatchPlan(**plan), images_per_minute=1, clock=lambda: clock.now
        ) as server,
        AsyncOpenAI(base_url=server.base_url, api_key="sk-test-1", max_retries=0) as openai,
    ):
        yield Client(openai, server)


async def test_a_batch_is_run_to_its_end(clock: SimpleNamespace) -> None:
    """Good answers are in the output file, others in the error file, and the good ones are charged."""
    async with running(clock, failing={"c": 503}) as client:
        created = await client.create(
            line("a"), line("b", body={"prompt": ""}), line("c"), line("d")
        )
        assert created.status == "validating"
        batch = await client.wait(created)
        assert batch.status == "completed"
        assert (batch.in_progress_at, batch.finalizing_at) == (1_800_000_000, 1_800_000_000)
        assert batch.request_counts is not None
        assert batch.request_counts.to_dict() == {"total": 4, "completed": 2, "failed": 2}
        good = await client.lines(batch.output_file_id)
        assert {found["custom_id"] for found in good} == {"a", "d"}
        assert all(found["response"]["body"]["data"][0]["b64_json"] for found in good)
        assert all(found["error"] is None for found in good)
        bad = await client.lines(batch.error_file_id)
        assert {f["custom_id"]: f["response"]["status_code"] for f in bad} == {"b": 400, "c": 503}
        assert all(found["response"]["body"]["error"]["message"] for found in bad)
        assert client.server.charged == 2  # more than the key's limit a minute: it has its own


async def test_the_answers_come_in_another_order(clock: SimpleNamespace) -> None:
    """Lines are run in a random order, or in that of the file if that is asked for."""
    ids = [str(number) for number in range(12)]
    for shuffle in (True, False):
        async with running(clock, shuffle=shuffle, failing=dict.fromkeys(ids, 500)) as client:
            batch = await client.wait(await client.create(*map(line, ids)))
            found = [entry["custom_id"] for entry in await client.lines(batch.error_file_id)]
            assert (found == ids) is not shuffle
            assert sorted(found) == sorted(ids)
            assert batch.output_file_id is None


async def test_what_is_not_run_in_time_expires(clock: SimpleNamespace) -> None:
    """After its window a batch ends: what is done is in its files, the rest has an error."""
    async with running(clock, window=3600.0, seconds_per_line=0.01) as client:
        batch = await client.create(*(line(str(number)) for number in range(30)))
        while not (batch.request_counts and batch.request_counts.completed):
            await asyncio.sleep(0.005)
            batch = await client.openai.batches.retrieve(batch.id)
        assert client.server.charged == 0  # that comes at the end
        clock.now += 3600
        batch = await client.wait(batch)
        assert batch.status == "expired"
        assert batch.request_counts is not None
        done = batch.request_counts.completed
        assert len(await client.lines(batch.output_file_id)) == done == client.server.charged
        left = await client.lines(batch.error_file_id)
        assert len(left) == 30 - done
        assert {entry["error"]["code"] for entry in left} == {"batch_expired"}
        assert {entry["response"] for entry in left} == {None}


async def test_a_batch_can_be_cancelled(clock: SimpleNamespace) -> None:
    """A cancelled batch ends soon; what was not run says so."""
    async with running(clock, delay=60.0) as client:
        batch = await client.openai.batches.cancel((await client.create(line("a"))).id)
        assert batch.status == "cancelling"
        batch = await client.wait(batch)
        assert batch.status == "cancelled"
        (left,) = await client.lines(batch.error_file_id)
        assert left["error"]["code"] == "batch_cancelled"
        assert client.server.charged == 0


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        ((), "empty_file", None),
        ((line("a"), "{oh"), "invalid_json_line", 2),
        (("[1]",), "invalid_json_line", 1),
        ((line("a", custom_id=None),), "missing_required_parameter", 1),
        ((line("a", body=[]),), "invalid_json_line", 1),
        ((line("a"), line("a")), "duplicate_custom_id", 2),
        ((line("a", url="/v1/images/edits"),), "url_mismatch", 1),
        ((line("a"), line("b", body={"model": "gpt-image-1"})), "model_mismatch", 2),
    ],
)
async def test_a_file_that_cannot_be_used_fails_its_batch(
    clock: SimpleNamespace, lines: tuple[dict[str, Any] | str, ...], code: str, number: int | None
) -> None:
    """A line that cannot be used ends the batch before anything is run, and is named."""
    async with running(clock) as client:
        batch = await client.wait(await client.create(*lines))
        assert batch.status == "failed"
        assert batch.errors is not None
        assert batch.errors.data is not None
        (error,) = batch.errors.data
        assert (error.code, error.line) == (code, number)
        assert error.message
        assert (batch.output_file_id, batch.error_file_id) == (None, None)
        assert client.server.charged == 0


async def test_a_file_that_is_not_there_fails_its_batch(clock: SimpleNamespace) -> None:
    """The input file is looked for when the batch is run, as the real server does it."""
    async with running(clock) as client:
        created = await client.openai.batches.create(
            input_file_id="file-none", endpoint=ENDPOINT, completion_window="24h"
        )
        batch = await client.wait(created)
        assert batch.status == "failed"
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert batch.errors.data[0].code == "invalid_input_file"


async def test_a_stream_is_refused_in_a_batch(clock: SimpleNamespace) -> None:
    """A line that asks for a stream gets a refusal of its own."""
    async with running(clock) as client:
        body = {"prompt": "a", "model": "gpt-image-1", "stream": True}
        batch = await client.wait(await client.create(line("a", body=body)))
        (refused,) = await client.lines(batch.error_file_id)
        assert refused["response"]["status_code"] == 400
        assert refused["response"]["body"]["error"]["param"] == "stream"


async def test_tokens_are_counted_for_the_batch(clock: SimpleNamespace) -> None:
    """The usage of a batch is the sum of its lines."""
    async with running(clock) as client:
        body = {"prompt": "abcd", "model": "gpt-image-1", "quality": "low"}
        batch = await client.wait(await client.create(line("a", body=body)))
        assert batch.model == "gpt-image-1"
        assert batch.usage is not None
        assert (batch.usage.input_tokens, batch.usage.total_tokens) == (1, 273)


@pytest.mark.parametrize("name", ["delay", "seconds_per_line", "window"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_time_must_be_one(name: str, value: float) -> None:
    """Times that cannot be waited are refused when the plan is made."""
    wrong: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} of batches must be 0 or more seconds"):
        BatchPlan(**wrong)


async def test_a_server_that_ends_leaves_its_batches(clock: SimpleNamespace) -> None:
    """Closing and resetting the emulator end what is run."""
    async with running(clock, delay=60.0) as client:
        batch = await client.create(line("a"))
        client.server.reset()
        assert [found.id async for found in client.openai.batches.list()] == []
        await client.create(line("b"))
    assert batch.status == "validating"
