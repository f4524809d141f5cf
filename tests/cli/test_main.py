"""The command line itself: help, version, usage, exit codes, and that nothing heavy is loaded for them."""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version

import pytest

from imagesdk.cli import EXIT_CODES
from imagesdk.cli.main import build_parser, main

COMMANDS = (
    "generate",
    "edit",
    "variation",
    "batch run",
    "batch retry",
    "batch status",
    "batch export",
    "batch submit",
    "batch fetch",
    "batch cancel",
    "gallery",
    "serve",
    "doctor",
)


def usage_error(*arguments: str) -> None:
    """Expect that the arguments are refused as argparse does it."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == EXIT_CODES["usage"]


def parsers(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the parser of each command."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not inner:
        yield name, parser
    for action in inner:
        for word, child in action.choices.items():
            yield from parsers(child, f"{name} {word}".strip())


def test_every_command_is_known() -> None:
    """The commands are those that the README names."""
    assert tuple(name for name, _ in parsers(build_parser())) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` of a command names each of its options and arguments, each with an explanation."""
    parser = dict(parsers(build_parser()))[command]
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for action in parser._actions:
        assert action.help, f"{command}: {action.dest} is not explained"
        for option in action.option_strings or [str(action.metavar or action.dest)]:
            assert option in text
    assert parser.description
    assert parser.description in text


def test_help_lists_commands_and_exit_codes(
    launch: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """``imagesdk --help`` answers in a process, with all commands, exit codes and variables."""
    done = launch("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert command.split()[0] in done.stdout
    for code in EXIT_CODES.values():
        assert f"{code} " in done.stdout
    assert "OPENAI_API_KEY" in done.stdout


def test_the_console_script_is_this_program(
    environment: Callable[..., dict[str, str]], program: tuple[str, ...]
) -> None:
    """The script that is installed does what the module does."""
    script = (
        "from importlib.metadata import entry_points as e; import sys; sys.argv[0] = 'imagesdk'; "
    )
    script += "[point] = e(group='console_scripts', name='imagesdk'); sys.exit(point.load()())"
    done = subprocess.run(
        [program[0], "-c", script, "--version"],
        capture_output=True,
        encoding="utf-8",
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"imagesdk {version('imagesdk')}\n")


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` prints name and version."""
    assert main(["--version"]) == EXIT_CODES["done"]
    assert capsys.readouterr().out == f"imagesdk {version('imagesdk')}\n"


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """No command is wrong usage, and the help says what there is."""
    assert main([]) == EXIT_CODES["usage"]
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["draw"],
        ["generate"],
        ["edit", "a.png"],
        ["variation"],
        ["batch"],
        ["batch", "run", "a.jsonl"],
        ["generate", "a", "-n", "two"],
        ["generate", "a", "--images-per-minute", "many"],
        ["generate", "a", "--timeout", "soon"],
        ["generate", "a", "--validate", "perhaps"],
        ["generate", "a", "--unknown"],
        ["variation", "a.png", "--quality", "low"],
        ["serve", "--port", "http"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the command line does not know is refused, with its usage."""
    usage_error(*arguments)
    assert capsys.readouterr().err.startswith("usage: imagesdk")


def test_exit_codes_are_what_scripts_rely_on() -> None:
    """The exit codes never change."""
    assert EXIT_CODES == {
        "done": 0,
        "failed": 1,
        "usage": 2,
        "some_failed": 3,
        "stopped": 4,
        "refused": 5,
        "interrupted": 130,
    }


def test_ctrl_c_ends_a_call_without_a_traceback(
    program: tuple[str, ...], environment: Callable[..., dict[str, str]]
) -> None:
    """Ctrl-C while the server is silent ends the program with 130, and says what may have been billed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with subprocess.Popen(
            [*program, "generate", "a fox", "--base-url", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=environment(),
        ) as process:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(4) == b"POST"
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=20)
    assert process.returncode == EXIT_CODES["interrupted"]
    assert out == ""
    assert err.endswith("interrupted\n")
    assert "may have been billed" in err
    assert "Traceback" not in err


def test_a_port_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """A port out of range is a usage error, not a traceback."""
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--port", "99999"])
    assert caught.value.code == EXIT_CODES["usage"]
    assert "99999 is no port" in capsys.readouterr().err


def test_the_package_is_a_program() -> None:
    """``python -m imagesdk`` is the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "imagesdk", "--version"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout.startswith("imagesdk ")
