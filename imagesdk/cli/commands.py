"""Run a command, and report how it failed. What a command does is in a module of its own.

Only the module of the command is imported: a server need not wait for the client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import TextIO

from imagesdk.cli import report_error
from imagesdk.errors import (
    AuthenticationError,
    BatchError,
    ConfigurationError,
    ImageSDKError,
    InvalidRequestError,
    LedgerError,
    PermissionDeniedError,
    QuotaExceededError,
)
from imagesdk.observability._logging import LOGGER

__all__ = ("run",)

_MODULES = {
    "generate": "image_commands",
    "edit": "image_commands",
    "variation": "image_commands",
    "batch": "batch_commands",
    "gallery": "gallery_command",
    "serve": "serve",
    "doctor": "doctor",
}
_REFUSED = (AuthenticationError, PermissionDeniedError, QuotaExceededError)


def run(arguments: argparse.Namespace) -> int:
    """Run the command that *arguments* name and return its exit code."""
    try:
        with warnings.catch_warnings(), _shown_log():
            warnings.showwarning = _show_warning
            command = import_module(f"imagesdk.cli.{_MODULES[arguments.command]}")
            code: int = asyncio.run(command.run(arguments))
            return code
    except LedgerError as error:
        return report_error(error, "failed")
    except (ConfigurationError, InvalidRequestError, BatchError) as error:
        return report_error(error, "usage")
    except _REFUSED as error:
        return report_error(error, "refused")
    except ModuleNotFoundError as error:
        if error.name != "PIL":
            raise
        advice = "the emulator needs Pillow: python -m pip install 'imagesdk[emulator]'"
        return report_error(ConfigurationError(advice), "usage")
    except (ImageSDKError, OSError) as error:
        return report_error(error, "failed")
    except asyncio.CancelledError:  # a second signal
        raise KeyboardInterrupt from None


def _show_warning(  # noqa: PLR0917 - the signature is Python's
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as a person reads it, without the place in our code that it comes from."""
    del category, filename, lineno, file, line
    print(f"imagesdk: warning: {message}", file=sys.stderr)


@contextlib.contextmanager
def _shown_log() -> Iterator[None]:
    """Show what the package logs, such as an attempt that may have been billed."""
    handler = logging.StreamHandler()  # standard error
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("imagesdk: %(message)s"))
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
