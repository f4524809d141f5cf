"""The arguments of ``imagesdk batch``."""

from __future__ import annotations

import argparse

from imagesdk.cli.options import (
    EXIT_CODES_TEXT,
    Commands,
    add_command,
    add_place_options,
    add_session_options,
    seconds,
)

__all__ = ("LIMITS", "add_batch")

LIMITS = ("prices", "max_images", "max_cost", "max_failures", "max_failure_rate", "deadline")
"""The arguments of a run that are limits of `imagesdk.batch.run`."""


def add_batch(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its actions."""
    batch = add_command(commands, "batch", "run many requests from a file")
    actions = batch.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_run(actions)
    _add_retry(actions)
    _add_status(actions)
    _add_export(actions)
    _add_submit(actions)
    _add_fetch(actions)
    _add_cancel(actions)


def _add_run(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions, "run", "run the requests of a file and keep the images and a manifest"
    )
    _add_source(parser)
    parser.add_argument(
        "--in-doubt",
        choices=("retry", "skip"),
        default="retry",
        help="what to do with requests that were in flight when an earlier run was cut off, and may "
        "have been billed (default: retry)",
    )
    parser.add_argument(
        "--allow-changed",
        action="store_true",
        help="make images again whose request or input picture was changed under the same id; the old files "
        "stay (default: refuse the file)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="read and check the file, say what is to be done, how long it waits for the limit and, with --prices, "
        "what it costs; nothing is sent",
    )
    parser.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="do N requests from all over the file for real, and leave the rest",
    )
    _add_run_options(parser)


def _add_source(parser: argparse.ArgumentParser) -> None:
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
        "--out",
        metavar="DIR|URL",
        required=True,
        help="folder for images and manifest.jsonl; or a store for the images, such as s3://bucket/prefix",
    )


def _add_retry(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(actions, "retry", "do again what failed in the last run into a folder")
    parser.add_argument("out", metavar="DIR", help="folder, or URL, of the run")
    parser.add_argument(
        "--include",
        action="append",
        choices=("rejected", "in_doubt"),
        default=[],
        help="do these again, too; may be repeated. What is in doubt may have been billed",
    )
    _add_run_options(parser)


def _add_status(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions,
        "status",
        "say how far a run is, also while it is at work; of what was submitted the server is asked",
    )
    parser.add_argument("out", metavar="DIR", help="folder of the run, where its ledger is")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    _add_server(parser)


def _add_export(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(actions, "export", "write what a run brought as a file for other programs")
    parser.add_argument("out", metavar="DIR", help="folder of the run, where its ledger is")
    parser.add_argument(
        "--format",
        choices=("jsonl", "csv", "openai"),
        default="jsonl",
        help="a record a line, an image a row, or the output lines of the server's Batch API with the images in "
        "base64 (default: jsonl)",
    )
    parser.add_argument("--to", metavar="FILE", help="default: standard output")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ledger",
        metavar="DIR",
        help="local folder for the ledger and manifest.jsonl (default: --out, or a folder that is called after "
        "its URL)",
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
        "--engine",
        default="local",
        metavar="local|ray|ray://HOST:PORT",
        help="what does the requests: this program, or workers on a Ray cluster; see docs/batch.md "
        "(default: local)",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="on a cluster (default: one on each machine)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON record a request on stdout"
    )
    _add_gallery(parser)
    group = parser.add_argument_group(
        "limits", "what ends the run early, after what is in flight (exit code 4)"
    )
    group.add_argument("--max-images", type=int, metavar="N", help="images that it may ask for")
    group.add_argument(
        "--max-cost", type=float, metavar="AMOUNT", help="what it may spend; needs --prices"
    )
    group.add_argument(
        "--prices",
        metavar="FILE",
        help="price table, TOML or JSON: see docs/batch.md; what each request cost is then in the manifest",
    )
    group.add_argument(
        "--max-failures", type=int, metavar="N", help="requests that may fail: the Nth one ends it"
    )
    group.add_argument(
        "--max-failure-rate",
        type=float,
        metavar="SHARE",
        help="share of the requests that may fail, for example 0.2, from the 50th on that ended",
    )
    group.add_argument(
        "--deadline",
        type=seconds,
        metavar="TIME",
        help="send nothing any more after that time: seconds, or 90s, 15m, 2h",
    )
    add_session_options(parser)
    parser.epilog = EXIT_CODES_TEXT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _add_submit(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions,
        "submit",
        "have the server run the requests of a file within a day, at half the price",
    )
    _add_source(parser)
    parser.add_argument("--model", help="for requests that name none")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document a batch on stdout"
    )
    _add_server(parser)
    parser.add_argument(
        "--validate",
        choices=("error", "warn", "off"),
        default="error",
        help="what to do with a request that breaks a rule of its model (default: error)",
    )


def _add_fetch(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(actions, "fetch", "bring the images that were submitted from a folder")
    parser.add_argument("out", metavar="DIR", help="--out of batch submit")
    parser.add_argument("--wait", action="store_true", help="until all batches have ended")
    parser.add_argument(
        "--every",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="between two looks, with --wait (default: 30)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON record a request on stdout"
    )
    parser.add_argument(
        "--prices",
        metavar="FILE",
        help="price table with the full prices: see docs/batch.md; what each request cost, half of that, is "
        "then in the manifest",
    )
    _add_gallery(parser)
    _add_server(parser)


def _add_gallery(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gallery",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="make a page of the images at the end, index.html (default: yes)",
    )


def _add_cancel(actions: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        actions,
        "cancel",
        "end batches early that were submitted from a folder; fetch what they did",
    )
    parser.add_argument("out", metavar="DIR", help="--out of batch submit")
    _add_server(parser)


def _add_server(parser: argparse.ArgumentParser) -> None:
    """Add what is asked about the server of a batch; an emulator for one command has no tomorrow."""
    add_place_options(parser)
    parser.set_defaults(
        emulator=False,
        images_per_minute=None,
        limiter=None,
        max_wait=None,
        model=None,
        timeout=None,
        validate="error",
    )
