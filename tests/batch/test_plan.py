"""A dry run: what is to be done, what it costs and how long it waits; nothing is sent or left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from imagesdk.batch.entries import Total
from imagesdk.batch.ledger import Ledger
from imagesdk.batch.plan import Plan, plan
from imagesdk.batch.prices import Price, PriceTable
from imagesdk.client.session import ImageSession
from imagesdk.errors import BatchError, LedgerError
from imagesdk.testing import ScriptedTransport
from tests.batch.conftest import image_answer, manifest_of, play, png, prompts, refusal, scripted

ROWS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "a"},
    {"id": "again", "prompt": "a"},
    {"id": "many", "prompt": "b", "n": 12},
    {"id": "varied", "image": "in.png", "n": 2},
]


async def test_a_plan_counts_all_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests, images, calls, duplicates, bytes and cost are told, and there is no folder afterwards."""
    monkeypatch.chdir(tmp_path)
    picture = png(4, 4)
    await asyncio.to_thread((tmp_path / "in.png").write_bytes, picture)
    prices = PriceTable(prices=(Price(image=(0.5, 2.0)),))
    out = tmp_path / "out"
    async with scripted(ScriptedTransport([])) as session:
        found = await plan(ROWS, out, session, prices=prices)
    assert isinstance(found, Plan)
    assert found.total == Total(4, 16)
    assert (found.duplicates, found.in_doubt, found.upload_bytes) == (1, 0, len(picture))
    assert (found.to_do.requests, found.to_do.images, found.to_do.calls) == (4, 16, 5)
    assert found.to_do.cost == (8.0, 32.0)
    assert not found.before
    assert not out.exists()


async def test_a_plan_names_the_columns_that_a_server_may_refuse(tmp_path: Path) -> None:
    """Fields that are no parameters of ours are counted: a CSV file often has columns for people."""
    rows: list[dict[str, object]] = [
        {"prompt": "a", "category": "x"},
        {"prompt": "b", "category": "y", "seed": 1},
    ]
    async with scripted(ScriptedTransport([])) as session:
        found = await plan(rows, tmp_path / "out", session)
    assert found.passed_on == {"category": 2, "seed": 1}


async def test_a_plan_knows_how_long_the_limit_takes(tmp_path: Path) -> None:
    """The wait is what the limiter foresees for all that is to be done."""
    async with ImageSession(
        base_url="http://server/v1",
        api_key="sk-test",
        transport=ScriptedTransport([]),
        images_per_minute=10,
    ) as session:
        found = await plan(({"prompt": str(n)} for n in range(31)), tmp_path, session)
    assert 170 <= found.to_do.wait <= 190


async def test_a_plan_leaves_out_what_earlier_runs_did(tmp_path: Path) -> None:
    """What is done or rejected is counted apart; what is gone, failed or was in flight is to be done."""
    script = [image_answer(), image_answer(), refusal(400, "no"), refusal(500, "x", "server_error")]
    await play(script, prompts(*"abcd"), tmp_path)
    await asyncio.to_thread((tmp_path / "b-1.png").unlink)
    async with Ledger(tmp_path) as ledger:
        await ledger.load(prompts(*"abcde"))
        (*_, entry) = await ledger.page(["pending"])
        await ledger.start(entry, "key")
    rows = [{"id": name, "prompt": name} for name in "abcdef"]
    before = manifest_of(tmp_path)
    async with scripted(ScriptedTransport([])) as session:
        found = await plan(rows, tmp_path, session)
        assert (dict(found.before), found.to_do.requests) == ({"done": 1, "rejected": 1}, 4)
        assert found.in_doubt == 1
        found = await plan(rows, tmp_path, session, states=("pending", "failed"))
        assert (found.before["in_doubt"], found.to_do.requests, found.in_doubt) == (1, 3, 0)
    assert manifest_of(tmp_path) == before
    async with Ledger(tmp_path) as ledger:
        assert await ledger.total() == Total(5, 5)


async def test_a_plan_of_a_run_whose_ledger_is_lost_reads_the_manifest(tmp_path: Path) -> None:
    """Without its ledger a run goes on from the manifest; a plan does, too, and makes none."""
    await play([image_answer()], prompts("a"), tmp_path)
    await asyncio.to_thread((tmp_path / "run.db").unlink)
    async with scripted(ScriptedTransport([])) as session:
        found = await plan(ROWS[:2], tmp_path, session)
    assert dict(found.before) == {"done": 1}
    assert not (tmp_path / "run.db").exists()


async def test_a_plan_finds_what_a_run_would_find(tmp_path: Path) -> None:
    """Broken rules, changed requests and missing prices are found as by a run, and leave no trace."""
    await play([image_answer()], prompts("a"), tmp_path)
    async with scripted(ScriptedTransport([])) as session:
        for rows, what in (
            ([{"prompt": "x" * 1001}], "line 1: prompt has 1,001 characters"),
            ([{"id": "a", "prompt": "b"}], "line 1: 'a' was made with other parameters"),
            ([{"id": "b", "prompt": "b"}] * 2, "line 2: custom_id 'b' stands in line 1, too"),
        ):
            with pytest.raises(BatchError, match=what):
                await plan(rows, tmp_path, session)
        changed = [{"id": "a", "prompt": "b"}]
        found = await plan(changed, tmp_path, session, allow_changed=True)
        assert (found.to_do.requests, dict(found.before)) == (1, {})
        found = await plan([{"id": "a", "prompt": "a"}], tmp_path, session)
        assert dict(found.before) == {"done": 1}
        async with Ledger(tmp_path):
            with pytest.raises(LedgerError, match="another runner works in"):
                await plan(changed, tmp_path, session)
