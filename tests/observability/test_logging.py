from __future__ import annotations

import asyncio
import base64
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable

import attrs
import pytest

from imagesdk import events
from imagesdk.client.session import ImageSession
from imagesdk.errors import ImageSDKError
from imagesdk.observability import log_events
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, virtual_time

GOOD = ScriptedAnswer({"data": [{"b64_json": base64.b64encode(b"image").decode()}]})
LOGGER = logging.getLogger("imagesdk")
SECRET = "a prompt that is in no log"  # noqa: S105


def run(
    transport: ScriptedTransport,
    body: Callable[[ImageSession], Awaitable[object]],
    logger: logging.Logger | None = None,
) -> None:
    """Use a session that logs, in virtual time."""

    async def main() -> None:
        async with ImageSession(
            base_url="http://server/v1",
            transport=transport,
            model="gpt-image-2",
            on_event=log_events(logger),
        ) as images:
            await body(images)

    with virtual_time() as runner:
        runner.run(main())


def test_a_call_that_has_it_all(caplog: pytest.LogCaptureFixture) -> None:
    """Each step is one line that says what, how long and why, at the level of its weight."""
    too_many = ScriptedAnswer(
        {"error": {"message": "Limit: 2/1min"}}, status=429, headers={"retry-after": "5"}
    )
    gone = ScriptedAnswer(b"", status=504, headers={"x-request-id": "req_2"})
    with caplog.at_level(logging.DEBUG, "imagesdk"):
        run(ScriptedTransport([too_many, gone, GOOD]), lambda images: images.generate(SECRET))
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if hasattr(r, "imagesdk_event")]
    words = [(level, line.removeprefix("generations call 1: ")) for level, line in lines]
    assert words[0] == ("DEBUG", "started: 1 image of gpt-image-2 at server:80")
    assert words[1] == ("DEBUG", "attempt 1 admitted after 0.000 s")
    assert words[2][1].startswith("attempt 1 throttled after 0.000 s (status 429, request id None")
    level, throttled = words[3]
    assert level == "WARNING"
    assert throttled.startswith(
        "throttled: all calls pause 5.0 s, the limit is 2 a minute now: Limit: 2/1min"
    )
    assert words[4] == ("DEBUG", "queued for pause: position 1, 5.0 s")
    (again,) = [line for level, line in words if level == "WARNING" and "again" in line]
    assert again.startswith("attempt 2 failed (ambiguous), again in ")
    assert "s, and may be billed twice: " in again
    level, done = words[-1]
    assert (level, done[:16]) == ("INFO", "done: 1 image af")
    assert done.endswith("in the queue, 3 attempts")
    assert SECRET not in caplog.text


def test_the_fields_of_a_record(caplog: pytest.LogCaptureFixture) -> None:
    """A formatter finds every field of the event on the record, under a name of ours."""
    with caplog.at_level(logging.INFO, "imagesdk"):
        run(ScriptedTransport([GOOD]), lambda images: images.generate(SECRET))
    (record,) = caplog.records
    told = {k: v for k, v in vars(record).items() if k.startswith("imagesdk_")}
    assert told.pop("imagesdk_event") == "Done"
    assert set(told) == {f"imagesdk_{field.name}" for field in attrs.fields(events.Done)}
    assert (told["imagesdk_call"], told["imagesdk_images"]) == (1, 1)


def test_a_failure_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """A call that fails is an ERROR that names the class and the reason."""

    async def fail(images: ImageSession) -> None:
        with pytest.raises(ImageSDKError):
            await images.generate(SECRET)

    refused = ScriptedAnswer({"error": {"message": "no such model"}}, status=404)
    run(ScriptedTransport([refused]), fail)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        "ERROR",
        "generations call 1: failed after 1 attempt: NotFoundError: no such model (HTTP 404)",
    )


def test_a_cancelled_call_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A caller that gives up has not failed: INFO, with the word that it may be billed."""

    async def give_up(images: ImageSession) -> None:
        task = asyncio.create_task(images.generate(SECRET))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])

    with caplog.at_level(logging.INFO, "imagesdk"):
        run(ScriptedTransport([ScriptedAnswer(b"", delay=9.0)]), give_up)
    record = caplog.records[-1]
    assert (record.levelname, record.getMessage()) == (
        "INFO",
        "generations call 1: failed after 1 attempt, may be billed: CancelledError: ",
    )


def test_a_logger_of_the_program_takes_the_lines(caplog: pytest.LogCaptureFixture) -> None:
    """The lines go to the logger that was given, with its level."""
    own = logging.getLogger("my_app")
    with caplog.at_level(logging.WARNING, "my_app"):
        run(ScriptedTransport([GOOD]), lambda images: images.generate(SECRET), own)
        assert caplog.records == []
    with caplog.at_level(logging.INFO, "my_app"):
        run(ScriptedTransport([GOOD]), lambda images: images.generate(SECRET), own)
    assert [record.name for record in caplog.records] == ["my_app"]


def test_streams_splits_and_downloads_have_words(caplog: pytest.LogCaptureFixture) -> None:
    """The rarer events, and those of a listener's own making, are lines as well."""
    log = log_events()
    common = {"call": 7, "endpoint": "edits", "model": None}

    @attrs.frozen(kw_only=True)
    class Own(events.Event):
        """An event that is not ours."""

    with caplog.at_level(logging.DEBUG, "imagesdk"):
        log(events.Partial(**common, index=1, size_bytes=1_234_567))  # type: ignore[arg-type]
        log(events.Split(**common, limit=1))  # type: ignore[arg-type]
        log(events.Downloaded(call=0, endpoint="downloads", model=None, size_bytes=12))
        log(Own(**common))  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records] == [
        "edits call 7: partial image 1: 1,234,567 bytes",
        "edits call 7: split: a request takes 1 image at most now",
        "downloads: downloaded 12 bytes",
        "edits call 7: Own",
    ]


def test_a_program_that_configures_nothing_hears_nothing() -> None:
    """The package prints no warning to the standard error of a program that did not ask for a log."""
    code = (
        "from imagesdk.client.session import ImageSession\nimport logging\n"
        "logging.getLogger('imagesdk').warning('may have been billed')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
