from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagesdk.batch._estimate import Estimate, estimate
from imagesdk.batch.jobs import read_jobs
from imagesdk.batch.prices import Price, PriceTable
from imagesdk.client.session import ImageSession
from imagesdk.errors import BatchError, ConfigurationError, InvalidRequestError
from imagesdk.limiters.local import ImageLimiter
from imagesdk.models.requests import EditRequest, GenerateRequest, VariationRequest
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, virtual_time

PRICES = PriceTable(
    prices=(
        Price(model="gpt-image-2*", quality="low", image=(0.02, 0.02)),
        Price(model="gpt-image-2*", image=(0.1, 0.4)),
        Price(model="", image=(0.5, 0.5)),
    )
)


def run(requests: Any, prices: PriceTable | Path | str | None = None, **options: Any) -> Estimate:
    """Estimate in virtual time; fail if anything is sent."""
    options = {"base_url": "http://server/v1", "model": "gpt-image-2"} | options

    async def main() -> Estimate:
        async with ImageSession(transport=ScriptedTransport([]), **options) as images:
            return await estimate(images, requests, prices=prices)

    with virtual_time() as runner:
        return runner.run(main())


def test_one_call() -> None:
    """A call that may go at once costs what the table says, and waits for nothing."""
    assert run("a fox", PRICES) == Estimate(
        requests=1, images=1, calls=1, cost=(0.1, 0.4), wait=0.0
    )
    assert run(GenerateRequest("a fox", n=3, quality="low"), PRICES).cost == pytest.approx(
        (0.06, 0.06)
    )
    assert run(VariationRequest(b"", n=2), PRICES, model=None).cost == (1.0, 1.0)


def test_a_body_counts_as_it_is_sent() -> None:
    """What extra_body says is what is charged."""
    request = GenerateRequest("a fox", extra_body={"n": 4, "quality": "low"})
    found = run(request, PRICES)
    assert found.images == 4
    assert found.cost == pytest.approx((0.08, 0.08))


def test_many_requests_wait_for_the_limit() -> None:
    """The last of 100 images, 50 a minute, may go after a minute; without a limit at once."""
    found = run(["a fox"] * 100)
    assert (found.requests, found.images, found.calls, found.cost) == (100, 100, 100, None)
    assert found.wait == pytest.approx(60.0, abs=3.0)
    assert run(["a fox"] * 100, images_per_minute=None).wait == 0.0


def test_a_large_n_takes_several_calls() -> None:
    """Calls are counted as the session will split them: by the model, and by the limit."""
    assert run(GenerateRequest("a fox", n=25)).calls == 3
    assert run(GenerateRequest("a fox", n=25, model="dall-e-3")).calls == 25
    assert run(GenerateRequest("a fox", n=25), images_per_minute=5).calls == 5


def test_lines_of_models_wait_side_by_side() -> None:
    """Where the server limits models apart, the longest wait counts; else all images together."""
    mixed = [
        GenerateRequest("a fox", model=model)
        for model in ("gpt-image-2", "gpt-image-1", "dall-e-3", "chatgpt-image-latest")
        for _ in range(50)
    ]
    openai: dict[str, Any] = {"base_url": "https://api.openai.com/v1", "api_key": "sk-test"}
    assert run(mixed, **openai).wait == pytest.approx(60.0, abs=3.0)
    assert run(mixed).wait == pytest.approx(180.0, abs=9.0)


def test_what_waits_already_goes_first() -> None:
    """A call is foreseen behind those that wait in the queue now."""

    async def main() -> float:
        limiter = ImageLimiter(1)
        transport = ScriptedTransport(lambda _: ScriptedAnswer(b"", delay=600.0))
        async with ImageSession(
            base_url="http://server/v1", transport=transport, limiter=limiter
        ) as images:
            tasks = [asyncio.create_task(images.generate("a fox")) for _ in range(3)]
            await asyncio.sleep(1)
            found = await estimate(images, "a fox")
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            return found.wait

    with virtual_time() as runner:
        assert runner.run(main()) == pytest.approx(180.0, abs=3.0)


def test_the_jobs_of_a_file() -> None:
    """A file is read once, as it is iterated; a line that cannot be used ends it."""
    lines = ['{"prompt": "a fox", "n": 2}', '{"prompt": "an otter", "quality": "low"}']
    found = run(read_jobs(lines, Path()), PRICES)
    assert (found.requests, found.images) == (2, 3)
    assert found.cost == pytest.approx((0.22, 0.82))
    with pytest.raises(BatchError, match="line 2"):
        run(read_jobs([lines[0], '{"n": 2}'], Path()))


def test_the_path_of_a_file(tmp_path: Path) -> None:
    """A path is a file of requests, whose lines are checked, and of prices; a text is a prompt."""
    table, file = tmp_path / "prices.toml", tmp_path / "prompts.jsonl"
    table.write_text("[[price]]\nimage = [0.01, 0.25]")
    file.write_text('{"prompt": "a fox", "n": 2}\n{"prompt": "an otter"}')
    found = run(file, table)
    assert (found.requests, found.images, found.cost) == (2, 3, (0.03, 0.75))
    assert run(str(file), str(table)).images == 1
    file.write_text('{"prompt": "a fox", "size": "5x5"}')
    with pytest.raises(BatchError, match=r"prompts.jsonl: line 1: size is '5x5'"):
        run(file)


def test_nothing_costs_nothing() -> None:
    """No requests are an estimate of zeros."""
    assert run([], PRICES) == Estimate(requests=0, images=0, calls=0, cost=(0.0, 0.0), wait=0.0)


def test_requests_are_iterated_off_the_loop() -> None:
    """An iterator that blocks, such as one over a file, does not keep the event loop."""

    def blocking() -> Iterator[str]:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        yield "a fox"

    assert run(blocking()).requests == 1


def test_what_cannot_be_estimated_is_told() -> None:
    """A price that is missing and an item that is no request are named."""
    with pytest.raises(ConfigurationError, match="no price for endpoint 'edits', model 'flux'"):
        run(EditRequest(b"", "a fox", model="flux"), PRICES)
    with pytest.raises(InvalidRequestError, match=r"estimate\(\) was given a int"):
        run([5])
