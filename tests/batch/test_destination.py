"""Where images go: a folder beside the ledger, or one of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagesdk.batch.destination import LocalFolder, destination_of, is_url
from imagesdk.batch.records import MANIFEST
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.batch.worker import Worker
from imagesdk.cli.main import main
from imagesdk.testing import ScriptedTransport
from tests.batch.conftest import image_answer, jobs_of, prompts, scripted


@pytest.mark.parametrize(
    ("out", "answer"),
    [("out", False), ("s3://bucket/x", True), ("C:\\out", False), (Path("s3://x"), False)],
)
def test_a_url_is_told_from_a_folder(out: str | Path, answer: bool) -> None:  # noqa: FBT001
    """Only text with a scheme names a store."""
    assert is_url(out) is answer


def test_a_folder_is_its_own_ledgers_unless_said_otherwise(tmp_path: Path) -> None:
    """The ledger lives with the images, or where it is told to."""
    assert destination_of(tmp_path).folder == tmp_path
    assert destination_of(str(tmp_path), "ledger").folder == Path("ledger")
    given = LocalFolder(tmp_path)
    assert destination_of(given) is given


@pytest.mark.parametrize(
    "command",
    [
        ("gallery",),
        ("batch", "fetch"),
        ("batch", "cancel"),
        ("batch", "submit", __file__, "--out"),
        ("batch", "export", "--format", "openai"),
    ],
)
def test_what_needs_a_folder_says_so(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store is no place for a page or for the server's batches; no folder of that name is made."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert main([*command, "s3://bucket/x"]) == 2
    assert "s3://bucket/x is a store of objects; this needs a folder" in capsys.readouterr().err


async def test_ledger_and_images_may_be_apart(tmp_path: Path) -> None:
    """Images go to the one folder, everything about them to the other; a second run finds both."""
    out = LocalFolder(tmp_path / "far" / "images", tmp_path / "near" / "ledger")
    for expected in (Summary(done=2, images=4), Summary(skipped=2)):
        transport = ScriptedTransport(lambda _: image_answer(b"\x89PNG\r\n\x1a\n", b"GIF89a"))
        async with scripted(transport) as session:
            jobs = jobs_of(*({"id": name, "prompt": name, "n": 2} for name in "ab"))
            assert await run_jobs(Worker(session, out), jobs, out) == expected
    names = sorted(path.name for path in out.here.iterdir())
    assert names == ["a-1.png", "a-2.gif", "b-1.png", "b-2.gif"]
    assert (out.folder / MANIFEST).exists()


async def test_a_folder_lists_nothing_that_the_ledger_does_not_know(tmp_path: Path) -> None:
    """In a folder, files of others are no images of ours."""
    out = LocalFolder(tmp_path)
    (tmp_path / "a-1.png").write_bytes(b"not ours")
    async with scripted(ScriptedTransport([image_answer()])) as session:
        assert (await run_jobs(Worker(session, out), prompts("a"), out)).done == 1
    assert await out.complete([]) == []
