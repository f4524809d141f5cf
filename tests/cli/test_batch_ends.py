"""`imagesdk batch run` that ends early: its limits, signals, and what the next command makes of the rest."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagesdk.cli import EXIT_CODES
from imagesdk.cli.main import main
from tests.cli.conftest import PROGRAM, clean_environment, serve

KEY = "sk-test-cli"


def fox(name: str, **more: object) -> str:
    """Return a line of a batch file."""
    return json.dumps({"id": name, "prompt": f"a fox named {name}", "size": "256x256", **more})


def foxes(count: int) -> list[str]:
    """Return so many lines."""
    return [fox(f"fox-{number}") for number in range(count)]


def statuses(out: Path) -> dict[str, str]:
    """Return the status of each request in the manifest."""
    lines = (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return {record["custom_id"]: record["status"] for record in map(json.loads, lines)}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for images that does not exist yet."""
    return tmp_path / "out"


@pytest.fixture(scope="module")
def slow() -> Iterator[str]:
    """A server whose smallest images take half a second."""
    with serve("--seconds-per-image", "8") as url:
        yield url


@pytest.fixture(autouse=True)
def _account(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", served)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


# Limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--max-images", "2"), "would exceed max_images, 2"),
        (("--max-cost", "0.05", "--prices", "p.toml"), "would exceed max_cost, 0.05"),
        (("--deadline", "0.000001s"), "the deadline"),
    ],
)
def test_a_limit_is_exit_code_4_and_the_same_command_goes_on(
    prompts: Callable[..., Path],
    out: Path,
    options: tuple[str, ...],
    what: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run that a limit ended says which one, and how much is left; without it the rest is done."""
    path = prompts(*foxes(4))
    path.with_name("p.toml").write_text("[[price]]\nimage = 0.02\n", encoding="utf-8")
    options = tuple(str(path.with_name(o)) if o == "p.toml" else o for o in options)
    command = ["batch", "run", str(path), "--out", str(out)]
    assert main([*command, *options]) == EXIT_CODES["stopped"] == 4
    said = capsys.readouterr().err
    assert what in said
    assert ("4 not begun" if "--deadline" in options else "2 not begun") in said
    assert main(command) == EXIT_CODES["done"]
    assert len(statuses(out)) == 4


def test_failures_are_exit_code_4(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --max-failures the run ends at the failure with that number."""
    path = prompts(*(fox(f"bad-{n}", prompt="a [blocked] thing") for n in range(4)))
    command = ["batch", "run", str(path), "--out", str(out), "--concurrency", "1"]
    assert main([*command, "--max-failures", "2"]) == EXIT_CODES["stopped"]
    said = capsys.readouterr().err
    assert "stopped, 2 not begun: requests that failed: 2, which is max_failures" in said
    assert said.endswith(
        "next: the same command goes on with what is left, and does again what failed\n"
    )


def test_a_request_without_a_price_is_found_before_anything_is_sent(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A price table that does not fit all lines is refused, with the line."""
    path = prompts(fox("a"), fox("b", size="512x512"))
    prices = path.with_name("prices.toml")
    prices.write_text('[[price]]\nsize = "256x256"\nimage = 0.016\n', encoding="utf-8")
    command = ["batch", "run", str(path), "--out", str(out), "--prices", str(prices)]
    assert main(command) == EXIT_CODES["usage"]
    assert f"{path}: line 2: {prices} has no price for" in capsys.readouterr().err
    prompts(fox("a"))
    assert main(command) == EXIT_CODES["done"]
    assert "they cost 0.02 at most" in capsys.readouterr().err
    record = json.loads((out / "manifest.jsonl").read_text(encoding="utf-8"))
    assert record["cost"] == 0.016


@pytest.mark.parametrize(
    "options",
    [("--max-images", "0"), ("--max-cost", "1"), ("--max-failure-rate", "2"), ("--sample", "0")],
)
def test_a_limit_that_is_none_is_exit_code_2(
    prompts: Callable[..., Path], out: Path, options: tuple[str, str]
) -> None:
    """A limit out of range, or without its prices, is a usage error; nothing is made."""
    path = prompts(fox("a"))
    assert main(["batch", "run", str(path), "--out", str(out), *options]) == EXIT_CODES["usage"]
    assert not out.exists() or not list(out.glob("*.png"))


def test_a_sample_leaves_the_rest(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--sample does some requests for real; the command without it does the others."""
    path = prompts(*foxes(10))
    command = ["batch", "run", str(path), "--out", str(out)]
    assert main([*command, "--sample", "2"]) == EXIT_CODES["done"]
    assert "8 were left for another run" in capsys.readouterr().err
    assert set(statuses(out)) == {"fox-0", "fox-5"}
    assert main(command) == EXIT_CODES["done"]
    assert "2 were done before" in capsys.readouterr().err


# Retry --------------------------------------------------------------------------------------------


def test_retry_does_again_what_failed(
    prompts: Callable[..., Path],
    out: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``batch retry`` needs no file, from any folder; what was rejected is done again if it is included."""
    path = prompts(fox("good"), fox("bad", prompt="a [blocked] thing"))
    picture = path.with_name("in.png")
    picture.write_bytes(b"no image")
    prompts(fox("good"), fox("bad", prompt="a [blocked] thing"), '{"id": "v", "image": "in.png"}')
    monkeypatch.chdir(path.parent)
    command = ["batch", "run", path.name, "--out", str(out), "--validate", "off"]
    assert main(command) == EXIT_CODES["some_failed"]
    assert statuses(out) == {"good": "done", "bad": "rejected", "v": "rejected"}
    monkeypatch.chdir("/")
    assert main(["batch", "retry", str(out)]) == EXIT_CODES["some_failed"]
    assert "0 images from 0 requests" in capsys.readouterr().err
    picture.write_bytes(next(out.glob("*.png")).read_bytes())
    assert main(["batch", "retry", str(out), "--include", "rejected"]) == EXIT_CODES["some_failed"]
    assert "1 image from 2 requests" in capsys.readouterr().err
    assert statuses(out)["v"] == "done"


def test_what_failed_says_how_to_go_on(
    prompts: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a run the commands are named, with the folder, that do again what failed and what was rejected."""
    out = tmp_path / "my images"
    path = prompts(fox("a"), fox("bad", prompt="a [blocked] thing"))
    with serve("--fault", "fail=404 times=null") as url:
        options = ("--base-url", url, "--out", str(out))
        assert main(["batch", "run", str(path), *options]) == EXIT_CODES["some_failed"]
    retry = f"imagesdk batch retry '{out}'"
    said = capsys.readouterr().err.splitlines()
    assert said[said.index("next, with the options of this run:") + 1 :][0] == (
        f"  {retry}                     does again what failed"
    )
    assert main(shlex.split(retry)[1:]) == EXIT_CODES["some_failed"]
    said = capsys.readouterr().err.splitlines()
    assert f"  {retry} --include rejected  sends again what was rejected, as it is; or change " in (
        "".join(said)
    )
    assert not any("does again what failed" in line for line in said)


def test_what_is_in_doubt_says_how_it_is_sent_again(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a retry leaves in doubt can be sent again, and the command says that it may be billed twice."""
    path, ledger = prompts(fox("a"), fox("b")), out.with_name("ledger")
    command = ["batch", "run", str(path), "--out", str(out), "--ledger", str(ledger)]
    assert main(command) == EXIT_CODES["done"]
    assert "next" not in capsys.readouterr().err
    (out / "a-1.png").unlink()
    with contextlib.closing(sqlite3.connect(ledger / "run.db", isolation_level=None)) as db:
        db.execute("UPDATE jobs SET state = 'started' WHERE custom_id = 'a'")
    again = ["batch", "retry", str(out), "--ledger", str(ledger)]
    assert main(again) == EXIT_CODES["some_failed"]
    assert f"  imagesdk {' '.join(again)} --include in_doubt  sends" in capsys.readouterr().err
    assert main([*again, "--include", "in_doubt"]) == EXIT_CODES["done"]


@pytest.mark.parametrize("action", ["status", "retry", "export", "fetch", "cancel"])
def test_a_folder_without_a_run_is_exit_code_2(
    tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that no run was made into is told as the mistake that it is, and is left as it is."""
    for folder in (tmp_path, tmp_path / "gone"):
        assert main(["batch", action, str(folder)]) == EXIT_CODES["usage"]
        said = capsys.readouterr().err
        assert f"there was no run into {folder}: {folder / 'run.db'} does not exist; name" in said
    assert not list(tmp_path.iterdir())


# Before, while and after ----------------------------------------------------------------------------


def test_a_dry_run_sends_nothing(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--dry-run says what is to be done, how long it waits and what it costs, and leaves no folder."""
    path = prompts(*foxes(59), fox("last", category="x"), fox("same", prompt="a fox named fox-0"))
    prices = path.with_name("prices.toml")
    prices.write_text("[[price]]\nimage = [0.01, 0.02]\n", encoding="utf-8")
    command = ["batch", "run", str(path), "--out", str(out), "--dry-run", "--prices", str(prices)]
    assert main(command) == EXIT_CODES["done"]
    said = capsys.readouterr().out
    assert re.search(r"^input +61 requests for 61 images$", said, re.MULTILINE)
    assert re.search(r"^the same +1 asks for what another one asks for", said, re.MULTILINE)
    assert re.search(r"^to do +61 requests for 61 images$", said, re.MULTILINE)
    assert re.search(
        r"^passed on +category \(1 request\): no parameter that is", said, re.MULTILINE
    )
    assert re.search(r"^time +the last one goes after 1 min 0\d s \(limit 50", said, re.MULTILINE)
    assert re.search(r"^cost +0\.61 to 1\.22$", said, re.MULTILINE)
    assert not out.exists()
    assert main([*command, "--json", "--images-per-minute", "off"]) == EXIT_CODES["done"]
    found = json.loads(capsys.readouterr().out)
    assert (found["to_do"]["cost"], found["to_do"]["wait"]) == ([0.61, 1.22], 0.0)
    prompts("{}")
    assert main(command) == EXIT_CODES["usage"]


def test_a_dry_run_needs_no_key(
    prompts: Callable[..., Path],
    out: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is to be sent to OpenAI itself can be looked at before there is an account."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    command = [
        "batch",
        "run",
        str(prompts(fox("one", size="auto"))),
        "--out",
        str(out),
        "--dry-run",
    ]
    assert main([*command, "--model", "gpt-image-2"]) == EXIT_CODES["done"]
    assert "1 request for 1 image\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("count", "limit", "said"),
    [
        (1, "off", "no limit: as long as the server takes"),
        (
            2,
            "50",
            "all may go at once (limit 50 images a minute); then as long as the server takes",
        ),
        (11, "50", "all may go at once (limit 50 images a minute);"),
        (50, "50", "all may go within 2 s (limit 50 images a minute);"),
        (51, "50", "the last one goes after 1 min 00 s (limit 50"),
        (12, "5", "the last one goes after 2 min 0"),
    ],
)
def test_a_dry_run_says_how_long_the_limit_takes(
    prompts: Callable[..., Path],
    count: int,
    limit: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The time is what the limiter foresees, or that nothing needs to wait."""
    path = prompts(*foxes(count))
    command = ["batch", "run", str(path), "--out", str(path.parent / "out"), "--dry-run"]
    assert main([*command, "--images-per-minute", limit]) == EXIT_CODES["done"]
    assert f"time          {said}" in capsys.readouterr().out


def test_status_and_export_say_what_there_is(
    prompts: Callable[..., Path], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``batch status`` counts by state; ``batch export`` writes records to standard output or a file."""
    path = prompts(fox("a", n=2), fox("c"), fox("bad", prompt="a [blocked] thing"))
    assert main(["batch", "run", str(path), "--out", str(out), "--sample", "2"]) == 3
    capsys.readouterr()
    assert main(["batch", "status", str(out)]) == EXIT_CODES["done"]
    said = capsys.readouterr().out
    for line in (r"run +\S+: 3 requests for 4 images", "done +1", "to do +1", "rejected +1"):
        assert re.search(f"^{line}$", said, re.MULTILINE), said
    assert re.search(r"^error +1 like bad: ModerationError: ", said, re.MULTILINE)
    assert re.search(r"^images +2, \d+ kB$", said, re.MULTILINE)
    assert main(["batch", "status", str(out), "--json"]) == EXIT_CODES["done"]
    assert json.loads(capsys.readouterr().out)["requests"]["rejected"] == 1
    table = out.with_name("table.csv")
    command = ["batch", "export", str(out), "--format", "csv", "--to", str(table)]
    assert main(command) == EXIT_CODES["done"]
    assert len(table.read_text(encoding="utf-8").splitlines()) == 4


def test_an_export_that_fails_leaves_the_file_as_it_was(
    prompts: Callable[..., Path], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file is there complete or not at all, and one that was there before stays; nothing else is left."""
    path, target = prompts(fox("a"), fox("b")), tmp_path / "there" / "x.jsonl"
    target.parent.mkdir()
    link = target.with_name("link.jsonl")
    link.symlink_to(target.name)
    assert main(["batch", "run", str(path), "--out", str(out)]) == EXIT_CODES["done"]
    command = ["batch", "export", str(out), "--format", "openai", "--to"]
    assert main([*command, str(link)]) == EXIT_CODES["done"]
    whole = target.read_bytes()
    assert whole.count(b"b64_json") == 2
    (out / "b-1.png").unlink()  # after the line of the first one is written
    for name in (target, target.with_name("new.jsonl")):
        assert main([*command, str(name)]) == EXIT_CODES["usage"]
    assert target.read_bytes() == whole
    assert sorted(target.parent.iterdir()) == [link, target]
    assert main([*command, str(out / "none" / "x")]) == EXIT_CODES["failed"]
    assert capsys.readouterr().err.endswith(
        f"imagesdk: {out / 'none' / '.x.part'}: No such file or directory\n"
    )
    assert main([*command, os.devnull]) == EXIT_CODES["usage"]
    assert not Path(os.devnull).is_file()


def test_an_export_without_a_run_makes_no_file(tmp_path: Path) -> None:
    """Nothing is written where there is nothing to write."""
    target = tmp_path / "x.jsonl"
    assert main(["batch", "export", str(tmp_path), "--to", str(target)]) == EXIT_CODES["usage"]
    assert not target.exists()


def test_an_export_goes_into_a_pipe(
    prompts: Callable[..., Path], out: Path, environment: Callable[..., dict[str, str]]
) -> None:
    """A reader that has enough is no failure: no error, and exit code 0."""
    path = prompts(*(fox(f"fox-{number}", prompt="[blocked]" + "x" * 900) for number in range(200)))
    assert main(["batch", "run", str(path), "--out", str(out), "--images-per-minute", "off"]) == 3
    with subprocess.Popen(
        [*PROGRAM, "batch", "export", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["custom_id"] == "fox-0"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == EXIT_CODES["done"]


# Signals ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(path: Path, out: Path, url: str) -> Iterator[subprocess.Popen[str]]:
    """Run a batch, two requests at a time, in a process; begin the block when two are in flight."""
    command = [*PROGRAM, "batch", "run", str(path), "--out", str(out), "--concurrency", "2"]
    with subprocess.Popen(
        [*command, "--images-per-minute", "off", "--base-url", url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=clean_environment(OPENAI_API_KEY=KEY),
    ) as process:
        try:
            until = time.monotonic() + 20
            while _count(out, "started") < 2:
                assert time.monotonic() < until, "nothing was sent"
                assert process.poll() is None, process.communicate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
            yield process
        finally:
            process.kill()


def _count(out: Path, state: str) -> int:
    sql = "SELECT count(*) FROM jobs WHERE state = ?"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{out}/run.db?mode=ro", uri=True)) as ledger:
            return int(ledger.execute(sql, (state,)).fetchone()[0])
    except sqlite3.OperationalError:  # not yet there
        return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_is_in_flight_arrive(
    prompts: Callable[..., Path], out: Path, slow: str, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM end a run after what is paid for: nothing is in doubt, the rest is to be done."""
    with running(prompts(*foxes(6)), out, slow) as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == EXIT_CODES["interrupted"] == 130
    assert "what is in flight is waited for (Ctrl-C ends it at once" in said
    assert statuses(out) == {"fox-0": "done", "fox-1": "done"}
    assert "stopped, 4 not begun" in said
    assert (_count(out, "pending"), _count(out, "in_doubt")) == (4, 0)


def test_a_second_signal_ends_at_once_and_says_what_is_in_doubt(
    prompts: Callable[..., Path], out: Path, slow: str
) -> None:
    """A second Ctrl-C waits for nothing; what was in flight is in doubt."""
    path = prompts(*(fox(f"fox-{number}", size="1024x1024") for number in range(4)))
    with running(path, out, slow) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "waited for" not in process.stderr.readline():
            pass
        begun_at = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert time.monotonic() - begun_at < 4  # an image takes eight seconds
    assert process.returncode == EXIT_CODES["interrupted"]
    assert "Traceback" not in said
    assert f"imagesdk batch status {out} tells what is in doubt; the same command goes on" in said
    assert statuses(out) == {"fox-0": "in_doubt", "fox-1": "in_doubt"}


def test_a_third_signal_kills_a_process_that_waits_for_its_input(out: Path) -> None:
    """While standard input is read nothing can end it but its end, and the third signal; nothing is left behind."""
    command = [*PROGRAM, "batch", "run", "-", "--out", str(out), "--model", "gpt-image-2"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=clean_environment(OPENAI_API_KEY=KEY),
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"prompt": "a fox"}\n')
        process.stdin.flush()
        until = time.monotonic() + 20
        while process.poll() is None:
            assert time.monotonic() < until
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
    assert process.returncode in (-signal.SIGINT, EXIT_CODES["interrupted"])
    assert not list(out.glob("*.png"))


def test_a_signal_while_the_input_is_read_takes_it_back(
    out: Path, environment: Callable[..., dict[str, str]], served: str
) -> None:
    """A run that is asked to end while it reads its file has begun nothing."""
    command = [*PROGRAM, "batch", "run", "-", "--out", str(out)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=served),
    ) as process:
        assert process.stdin is not None
        until = time.monotonic() + 20
        while not (out / "run.db").exists():
            assert time.monotonic() < until
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        process.send_signal(signal.SIGINT)
        table, said = process.communicate(b'{"prompt": "a fox"}\n' * 2)
    assert process.returncode == EXIT_CODES["interrupted"]
    assert b"0 images from 0 requests" in said
    assert b"; stopped: the run was asked to end; " in said
    assert table == b""
    assert (_count(out, "pending"), (out / "manifest.jsonl").read_bytes()) == (0, b"")
