"""The arguments of ``imagesdk batch``."""

from __future__ import annotations

import argparse

from imagesdk.cli.options import Commands, add_command, add_session_options

__all__ = ("add_batch",)


def add_batch(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its actions."""
    batch = add_command(commands, "batch", "run many requests from a file")
    actions = batch.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_run(actions)


def _add_run(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions, "run", "run the requests of a file and keep the images and a manifest"
    )
    parser.add_argument(
        "file",
        help="JSON lines, CSV, TSV or a prompt a line, '-' for standard input: see docs/batch.md",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "csv", "tsv", "txt"),
        help="of the file (default: what its suffix says, or else jsonl)",
    )
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder for images and manifest.jsonl"
    )
    parser.add_argument(
        "--in-doubt",
        choices=("retry", "skip"),
        default="retry",
        help="what to do with requests that were in flight when an earlier run was cut off, and may "
        "have been billed (default: retry)",
    )
    parser.add_argument("--model", help="for requests that name none")
    parser.add_argument(
        "--concurrency",
        type=int,
        default=16,
        metavar="N",
        help="most requests in flight (default: 16)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON record a request on stdout"
    )
    add_session_options(parser)
