"""Arguments that several commands have."""

from __future__ import annotations

import argparse

__all__ = (
    "EXIT_CODES_TEXT",
    "Commands",
    "add_command",
    "add_place_options",
    "add_session_options",
    "own_rate",
    "rate",
    "seconds",
)

EXIT_CODES_TEXT = """\
exit codes:  0 all done, 1 failed, 2 wrong usage or invalid input,
             3 finished but some failed,
             4 stopped by a budget, failures or a deadline,
             5 the key or the account was refused, 130 interrupted
"""
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

Commands = argparse._SubParsersAction  # noqa: SLF001 - the type has no public name


def add_command(
    commands: Commands[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    """Add the parser of a command that *text* describes."""
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")


def add_session_options(parser: argparse.ArgumentParser) -> None:
    """Add what `imagesdk.cli.sessions.open_session` reads, but the model."""
    group = parser.add_argument_group("server")
    group.add_argument(
        "--emulator", action="store_true", help="run against an emulator started for this command"
    )
    add_place_options(group)
    group.add_argument(
        "--images-per-minute",
        type=own_rate,
        metavar="N",
        help="limit of the key; 'auto' to follow what the server names, 'off' for none",
    )
    group.add_argument(
        "--limiter",
        metavar="URL",
        help="redis://HOST: share the limit with all programs that name it, on any machine",
    )
    group.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="for a call, without its wait in the queue"
    )
    group.add_argument(
        "--max-wait", type=float, metavar="SECONDS", help="refuse a longer wait in the queue"
    )
    group.add_argument(
        "--validate",
        choices=("error", "warn", "off"),
        default="error",
        help="what to do with a request that breaks a rule of its model (default: error)",
    )


def add_place_options(parser: argparse._ActionsContainer) -> None:
    """Add which server it is, and where."""
    parser.add_argument(
        "--server",
        metavar="NAME",
        help="what kind of server it is, such as azure, xai, localai, sglang: see docs/servers.md "
        "(default: what the host of the URL says)",
    )
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help="default: OPENAI_BASE_URL, or else where the server NAME is, or OpenAI's own",
    )


def seconds(text: str) -> float:
    """Read a time: ``90``, ``90s``, ``15m``, ``2h`` or ``1d``."""
    unit = _UNITS.get(text[-1:])
    try:
        return float(text if unit is None else text[:-1]) * (unit or 1.0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90, 90s, 15m or 2h") from None


def rate(text: str) -> float | str:
    """Read a limit of a server."""
    return _number_or(text, "off")


def own_rate(text: str) -> float | str:
    """Read a limit of our own."""
    return _number_or(text, "auto", "off")


def _number_or(text: str, *words: str) -> float | str:
    if text in words:
        return text
    try:
        return float(text)
    except ValueError:
        choices = " or ".join(repr(word) for word in words)
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor {choices}") from None
