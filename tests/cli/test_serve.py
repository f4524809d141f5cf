"""`imagesdk serve`: what it prints, how it ends, and what its options make of the server."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from imagesdk.cli import EXIT_CODES
from imagesdk.cli.main import main

ASKS = """
import json, os, sys, urllib.request
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/images/generations",
    data=json.dumps({"prompt": "a fox", "size": "256x256"}).encode(),
    headers={"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"],
             "Content-Type": "application/json"},
)
with urllib.request.urlopen(request) as answer:
    sys.exit(40 + len(json.load(answer)["data"]))
"""


class CtrlC(io.StringIO):
    """Standard error that presses Ctrl-C once the server has said how to use it."""

    def write(self, text: str) -> int:
        """Keep what is written; the signal comes when the command waits."""
        if "OPENAI_API_KEY" in text:
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        return super().write(text)


def test_serve_runs_until_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server prints its URL and how to use it, and ends with 0."""
    stderr = CtrlC()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert main(["serve", "--port", "0"]) == EXIT_CODES["done"]
    found = re.search(r"http://127\.0\.0\.1:\d+/v1", capsys.readouterr().out)
    assert found
    assert f"OPENAI_BASE_URL={found[0]}" in stderr.getvalue()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_server_in_peace(
    program: tuple[str, ...], environment: Callable[..., dict[str, str]], name: str
) -> None:
    """Ctrl-C and SIGTERM end the process with 0 and without a traceback."""
    with subprocess.Popen(
        [*program, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert re.search(r"http://127\.0\.0\.1:\d+/v1", process.stdout.readline())
        process.send_signal(getattr(signal, name))
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()


def test_serve_runs_a_program_against_itself(capfd: pytest.CaptureFixture[str]) -> None:
    """The program finds address and key in its environment; its exit code is that of the command."""
    code = main(["serve", "--port", "0", "--", sys.executable, "-c", ASKS])
    assert code == 41, capfd.readouterr().err
    assert "POST /v1/images/generations 200" in capfd.readouterr().err


def test_serve_takes_a_program_without_dashes(capfd: pytest.CaptureFixture[str]) -> None:
    """The two dashes before the program may be left out."""
    code = main(["serve", "--port", "0", sys.executable, "-c", "import sys; sys.exit(7)"])
    assert (code, capfd.readouterr().out) == (7, "")


def test_serve_hands_its_options_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Limit, blocked prompts and time are those of the command line."""
    options = ["--images-per-minute", "off", "--blocked-prompt", "FOX", "--url-lifetime", "5"]
    code = main(["serve", "--port", "0", *options, "--", sys.executable, "-c", ASKS])
    assert code == 1
    assert "HTTP Error 400" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "reachable from other machines"),  # noqa: S104 - it is refused
        (["--url-lifetime", "0"], "url_lifetime"),
        (["--seconds-per-image", "-1"], "seconds_per_image"),
        (["--batch-delay", "-1"], "delay of batches"),
        (["--fault", "fail=429 tims=3"], "unknown field `tims`"),
        (["--", "no-such-program-here"], "'no-such-program-here' cannot be run"),
    ],
)
def test_serve_refuses_what_it_cannot_do(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    """Values out of range and missing programs are invalid input."""
    assert main(["serve", "--port", "0", *options]) == EXIT_CODES["usage"]
    assert message in capsys.readouterr().err


def test_serve_on_a_port_that_is_taken_is_exit_code_1(
    served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port that cannot be bound is told in one line."""
    port = served.removesuffix("/v1").rpartition(":")[2]
    assert main(["serve", "--port", port]) == EXIT_CODES["failed"]
    assert capsys.readouterr().err.startswith("imagesdk: ")


ENDS_IN_ITS_OWN_TIME = """
import signal, sys, threading, time
told = []
def ask(number, frame):
    told.append(number)
    # "tidied" only if nothing else ends it meanwhile; a second signal would be here by then
    threading.Timer(0.2, lambda: print("tidied after", len(told), flush=True)).start()
signal.signal(signal.SIGINT, ask)
signal.signal(signal.SIGTERM, ask)
print("up", flush=True)
while not told:
    time.sleep(0.01)
sys.exit(9)
"""
IN_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@pytest.mark.parametrize("by", ["SIGINT", "SIGTERM", "terminal"])
def test_a_program_is_told_once_and_ends_in_its_own_time(
    program: tuple[str, ...], environment: Callable[..., dict[str, str]], by: str
) -> None:
    """A signal to the server, or Ctrl-C in a terminal, reaches the program once, and is waited for."""
    serve = [*program, "serve", "--port", "0", "--", sys.executable, "-c", ENDS_IN_ITS_OWN_TIME]
    terminal = by == "terminal"
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, *serve] if terminal else serve,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,  # out of the terminal in which the tests may be run
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"up"
        if not terminal:
            process.send_signal(getattr(signal, by))
        out, err = process.communicate(b"\x03" if terminal else None, timeout=20)
    assert (process.returncode, err) == (9, b"")
    assert out.strip().removeprefix(b"^C") == b"tidied after 1"


def asked(capfd: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Run the program against a server with *options*; return its exit code and what was logged."""
    code = main(["serve", "--port", "0", *options, "--", sys.executable, "-c", ASKS])
    return code, capfd.readouterr().err


def test_faults_are_asked_for_on_the_command_line(capfd: pytest.CaptureFixture[str]) -> None:
    """One fault comes after the other, and what was dropped is logged as that."""
    faults = ["--fault", "latency=0 times=null", "--fault", "stop=charge how=reset"]
    code, logged = asked(capfd, *faults)
    assert code == 1
    assert "POST /v1/images/generations dropped" in logged
    code, logged = asked(capfd, "--fault", "fail=418 skip=1")
    assert code == 41


def test_the_log_can_be_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    """With --quiet the program alone writes to standard error, whatever form the log would have."""
    assert asked(capfd, "--quiet") == (41, "")
    assert asked(capfd, "--quiet", "--json") == (41, "")


def test_the_log_can_be_json(capfd: pytest.CaptureFixture[str]) -> None:
    """Each request is a line that a program can read, on stderr."""
    _, logged = asked(capfd, "--json", "--fault", "fail=503")
    (line,) = [line for line in logged.splitlines() if line.startswith("{")]
    record = json.loads(line)
    assert record["params"] == {"prompt": "a fox", "size": "256x256"}
    assert (record["status"], record["charged"], record["fault"]) == (503, 0, {"fail": 503})


def test_the_address_can_be_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The only line on stdout is address and key."""

    class Stdout(io.StringIO):
        def write(self, text: str) -> int:
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
            return super().write(text)

    stdout = Stdout()
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["serve", "--port", "0", "--json"]) == EXIT_CODES["done"]
    told = json.loads(stdout.getvalue())
    assert told["base_url"].startswith("http://127.0.0.1:")
    assert told["api_key"].startswith("sk-test")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--images-per-minute", "0", "--limit-kind", "bucket"], 1),
        (["--idempotency", "honours", "--seed", "7"], 41),
        (["--no-control", "--json"], 41),
    ],
)
def test_more_options(capfd: pytest.CaptureFixture[str], options: list[str], code: int) -> None:
    """Kind of limit, idempotency keys, seed and control are those of the command line."""
    assert asked(capfd, *options)[0] == code
