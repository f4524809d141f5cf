"""`imagesdk batch run`: what it makes and prints, and the exit code of each way to fail."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagesdk.cli import EXIT_CODES
from imagesdk.cli.main import main

RIGHT_KEY = "sk-test-cli"
WRONG_KEY = "sk-wrong-0123456789"


def files_in(folder: Path) -> list[str]:
    """Return the names of the files in a folder, without those of ledger and gallery."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith("run.")}
    return sorted(names - {"index.html", ".thumbnails"})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for images that does not exist yet."""
    return tmp_path / "deep" / "out"


@pytest.fixture
def account(served: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A right key and the address of a server, in the environment."""
    monkeypatch.setenv("OPENAI_BASE_URL", served)
    monkeypatch.setenv("OPENAI_API_KEY", RIGHT_KEY)
    return served


def fox(name: str, **more: object) -> str:
    """Return a line of a batch file."""
    return json.dumps({"id": name, "prompt": f"a fox named {name}", "size": "256x256", **more})


def test_batch_makes_images_a_manifest_and_a_table(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch prints a table of all jobs in the order of the file, and a summary."""
    path = prompts(fox("b", n=2), "", fox("a"))
    assert main(["batch", "run", str(path), "--out", str(out), "--emulator"]) == 0
    assert files_in(out) == ["a-1.png", "b-1.png", "b-2.png", "manifest.jsonl"]
    captured = capsys.readouterr()
    names = re.findall(r"[ab]-\d\.png", captured.out)
    assert names == ["b-1.png", "b-2.png", "a-1.png"]
    assert str(out) in captured.out.replace("\n", "")
    assert f"3 images from 2 requests in {out}; manifest: {out / 'manifest.jsonl'}" in captured.err
    assert "3/3 images" in captured.err


def test_batch_prints_a_record_a_line_as_json(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--json`` prints one record a new request on standard output, and nothing else."""
    path = prompts(fox("a"))
    arguments = ["batch", "run", str(path), "--out", str(out), "--emulator", "--json"]
    assert main(arguments) == 0
    (line,) = capsys.readouterr().out.splitlines()
    manifest = (out / "manifest.jsonl").read_text(encoding="utf-8")
    assert json.loads(line) == json.loads(manifest)
    prompts(fox("a"), fox("b"))
    assert main(arguments) == 0
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    assert json.loads(line)["custom_id"] == "b"
    assert "1 was done before" in captured.err


def test_batch_with_a_failing_line_is_exit_code_3(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other lines are done, and the table says why one failed."""
    bad = json.dumps({"id": "bad", "prompt": "a [blocked] thing", "size": "256x256"})
    path = prompts(bad, fox("good"))
    code = main(["batch", "run", str(path), "--out", str(out), "--emulator"])
    assert code == EXIT_CODES["some_failed"]
    captured = capsys.readouterr()
    assert "good-1.png" in captured.out
    assert "ModerationError" in captured.out
    assert "1 failed" in captured.err


def test_batch_uses_the_model_of_the_command_line(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--model`` is for the requests that name none."""
    path = prompts('{"id": "a", "prompt": "a", "quality": "low"}')
    arguments = ["batch", "run", str(path), "--out", str(out), "--emulator"]
    assert main([*arguments, "--model", "gpt-image-1.5"]) == 0
    assert "1024x1024" in capsys.readouterr().out


@pytest.mark.usefixtures("account")
def test_batch_with_a_wrong_key_is_exit_code_5(
    prompts: Callable[..., Path],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A refused key ends the batch; the summary says how much was not begun."""
    monkeypatch.setenv("OPENAI_API_KEY", WRONG_KEY)
    path = prompts(*map(fox, "abcde"))
    code = main(["batch", "run", str(path), "--out", str(out), "--concurrency", "1"])
    assert code == EXIT_CODES["refused"]
    captured = capsys.readouterr()
    assert "stopped, 4 not begun" in captured.err
    assert WRONG_KEY not in captured.out + captured.err


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{}"], "prompts.jsonl: line 1: has neither prompt nor image"),
        (['{"prompt": "a"}', "{"], "prompts.jsonl: line 2: is no JSON"),
        (['{"prompt": "a", "n": "2"}'], "prompts.jsonl: line 1: n is '2'"),
        (['{"image": "gone.png"}'], "prompts.jsonl: line 1: image is 'gone.png'"),
        ([""], "prompts.jsonl holds no requests"),
    ],
)
def test_batch_with_a_bad_file_is_exit_code_2(
    prompts: Callable[..., Path],
    out: Path,
    capsys: pytest.CaptureFixture[str],
    lines: list[str],
    message: str,
) -> None:
    """A line that cannot be used is told with file, line and field before anything is sent."""
    path = prompts(*lines)
    code = main(["batch", "run", str(path), "--out", str(out), "--emulator"])
    assert code == EXIT_CODES["usage"]
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_batch_without_its_file_is_exit_code_2(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there, or is a folder, is invalid input."""
    for path in (tmp_path / "gone.jsonl", tmp_path):
        code = main(["batch", "run", str(path), "--out", str(out), "--emulator"])
        assert code == EXIT_CODES["usage"]
        assert f"{path} cannot be read: " in capsys.readouterr().err


@pytest.mark.usefixtures("account")
def test_batch_finds_a_broken_rule_before_anything_is_paid_for(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that breaks a rule of its model ends the command, with file, line and field; nothing is made."""
    path = prompts(fox("a"), fox("b", n=0))
    assert main(["batch", "run", str(path), "--out", str(out)]) == EXIT_CODES["usage"]
    assert f"{path}: line 2: n is 0; it must be a whole number" in capsys.readouterr().err
    assert not out.exists()
    assert main(["batch", "run", str(path), "--out", str(out), "--validate", "off"]) == 3
    assert files_in(out) == ["a-1.png", "manifest.jsonl"]


def test_batch_with_changed_parameters_is_exit_code_2(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that holds another image under the same id is left alone."""
    path = prompts(fox("a"))
    arguments = ["batch", "run", str(path), "--out", str(out), "--emulator"]
    assert main(arguments) == 0
    prompts(fox("a", user="me"))
    capsys.readouterr()
    assert main(arguments) == EXIT_CODES["usage"]
    assert f"{path}: line 1: 'a' was made with other parameters" in capsys.readouterr().err
    assert main([*arguments, "--dry-run"]) == EXIT_CODES["usage"]
    assert f"{path}: line 1: 'a' was made with other parameters" in capsys.readouterr().err
    prompts(fox("b"), fox("b"))
    assert main(arguments) == EXIT_CODES["usage"]
    said = capsys.readouterr().err
    assert said.startswith(f"imagesdk: {path}: line 2: custom_id 'b' stands in line 1, too")


def test_batch_needs_a_concurrency_of_1(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A concurrency of 0 is invalid input."""
    path = prompts(fox("a"))
    arguments = ["batch", "run", str(path), "--out", str(out), "--emulator", "--concurrency", "0"]
    assert main(arguments) == EXIT_CODES["usage"]
    assert "--concurrency is 0; it must be 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("action", [("run",), ("submit",), ("run", "--dry-run")])
@pytest.mark.usefixtures("account")
def test_batch_into_a_file_is_exit_code_2(
    prompts: Callable[..., Path], action: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file where the folder is to be is a wrong argument, told in one line with what to do."""
    path = prompts(fox("a"))
    for out in (path, path / "below" / "it"):
        code = main(["batch", *action, str(path), "--out", str(out)])
        assert code == EXIT_CODES["usage"]
        said = f"imagesdk: {path} is a file, and must be a folder: choose another one\n"
        assert capsys.readouterr().err == said


@pytest.mark.parametrize("action", ["run", "submit"])
@pytest.mark.usefixtures("account")
def test_a_refused_file_leaves_what_was_there(
    prompts: Callable[..., Path], out: Path, action: str
) -> None:
    """What was refused leaves no trace: no ledger, and only the folders, files and runs of before."""
    bad, good = prompts("{}", name="bad.jsonl"), prompts(fox("a"))
    many = prompts(fox("a", n=2), fox("b", image="none.png"), name="many.jsonl")
    for path in (bad, many):
        assert main(["batch", action, str(path), "--out", str(out / "deep")]) == EXIT_CODES["usage"]
        assert not out.exists()
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("mine", encoding="utf-8")
    assert main(["batch", action, str(bad), "--out", str(out)]) == EXIT_CODES["usage"]
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert main(["batch", "run", str(good), "--out", str(out)]) == EXIT_CODES["done"]
    before = files_in(out)
    assert main(["batch", action, str(bad), "--out", str(out)]) == EXIT_CODES["usage"]
    assert files_in(out) == before
    assert (out / "run.db").exists()


def test_batch_that_cannot_save_is_exit_code_1(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be written ends the batch without a traceback, and says how to go on."""
    path = prompts(fox("a"))
    (out / "a-1.png" / "in the way").mkdir(parents=True)
    code = main(["batch", "run", str(path), "--out", str(out), "--emulator"])
    assert code == EXIT_CODES["failed"]
    line, note = capsys.readouterr().err.splitlines()[-2:]
    assert line.startswith("imagesdk: ")
    assert "a-1.png" in line
    assert note == f"  images saved now in {out}: 0; run it again once that is put right"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jobs.csv", 'id,prompt,size,n\r\na,"a fox, asleep",256x256,2\r\n'),
        ("jobs.tsv", "id\tprompt\tsize\tn\na\ta fox\t256x256\t2\n"),
    ],
)
def test_batch_reads_tables(tmp_path: Path, out: Path, name: str, text: str) -> None:
    """The suffix of the file tells that it is a table."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert main(["batch", "run", str(tmp_path / name), "--out", str(out), "--emulator"]) == 0
    assert files_in(out) == ["a-1.png", "a-2.png", "manifest.jsonl"]


def test_batch_reads_standard_input(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` is standard input, in the format that is said."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a fox\n\nan owl\n")))
    arguments = ["batch", "run", "-", "--format", "txt", "--out", str(out), "--emulator"]
    assert main(arguments) == 0
    assert files_in(out) == ["line-1-1.png", "line-3-1.png", "manifest.jsonl"]


def test_batch_of_very_many_has_no_table(
    prompts: Callable[..., Path],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody reads a table of thousands: above 200 requests the manifest must do."""
    monkeypatch.setattr("imagesdk.cli.batch_commands.TABLE_ROWS", 2)
    path = prompts(fox("a"), fox("b"), fox("c"))
    assert main(["batch", "run", str(path), "--out", str(out), "--emulator"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "3 images from 3 requests" in captured.err


def test_batch_of_another_runner_is_exit_code_1(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two runners in one folder would pay for everything twice: the second one is told so."""
    out.mkdir(parents=True)
    lock = sqlite3.connect(out / "run.lock", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    code = main(["batch", "run", str(prompts(fox("a"))), "--out", str(out), "--emulator"])
    lock.close()
    assert code == EXIT_CODES["failed"]
    assert f"another runner works in {out}" in capsys.readouterr().err


def test_batch_tells_what_is_in_doubt(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was in flight in a run that was killed is left or sent again, and counted."""
    path = prompts(fox("a", n=2))
    arguments = ["batch", "run", str(path), "--out", str(out), "--emulator"]
    assert main(arguments) == 0
    for name in ("a-1.png", "a-2.png"):
        (out / name).unlink()
    with contextlib.closing(sqlite3.connect(out / "run.db", isolation_level=None)) as ledger:
        ledger.execute("UPDATE jobs SET state = 'started'")
    capsys.readouterr()
    assert main(["batch", "status", str(out)]) == 0
    assert "in flight     1 when the run was cut off: in doubt" in capsys.readouterr().out
    assert main([*arguments, "--in-doubt", "skip"]) == EXIT_CODES["some_failed"]
    assert "1 in doubt was left" in capsys.readouterr().err
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert "1 in doubt was sent again: up to 2 images may have been billed twice" in said


def test_batch_tells_what_was_rejected_and_what_had_arrived(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second run says what the first one left behind."""
    path = prompts(fox("a"), '{"id": "bad", "prompt": "a [blocked] thing", "size": "256x256"}')
    arguments = ["batch", "run", str(path), "--out", str(out), "--emulator"]
    assert main(arguments) == EXIT_CODES["some_failed"]
    with contextlib.closing(sqlite3.connect(out / "run.db", isolation_level=None)) as ledger:
        ledger.execute("UPDATE jobs SET state = 'started' WHERE custom_id = 'a'")
    capsys.readouterr()
    assert main(arguments) == EXIT_CODES["some_failed"]
    said = capsys.readouterr().err
    assert "1 was done before; 1 of them had arrived when the last run was cut off" in said
    assert "1 was rejected before, and not sent again" in said
