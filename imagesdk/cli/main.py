"""The command line: arguments in, an exit code out.

Imports nothing heavy: ``--help`` answers at once. What a command does is in `imagesdk.cli.commands`.

Exit codes: 0 all done · 1 failed · 2 wrong usage or invalid input · 3 finished, some failed ·
4 stopped by a limit of the run · 5 the key or the account was refused · 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from imagesdk.cli import EXIT_CODES
from imagesdk.cli.batch_parser import add_batch
from imagesdk.cli.options import EXIT_CODES_TEXT, Commands, add_command, add_session_options, rate

__all__ = ("build_parser", "main")

_EPILOG = f"""\
environment: OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_ORG_ID, OPENAI_PROJECT_ID,
             as the official SDK reads them
{EXIT_CODES_TEXT}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: Arguments without the program's name; None for those of the process.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        from importlib.metadata import version

        print(f"imagesdk {version('imagesdk')}")
        return EXIT_CODES["done"]
    if arguments.command is None:
        parser.print_help()
        return EXIT_CODES["usage"]
    from imagesdk.cli.commands import run

    try:
        return run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_CODES["interrupted"]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="imagesdk",
        description="Make, edit and vary images with the Images API, within its rate limit.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_generate(commands)
    _add_edit(commands)
    _add_variation(commands)
    add_batch(commands)
    _add_gallery(commands)
    _add_serve(commands)
    _add_doctor(commands)
    return parser


def _add_generate(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "generate", "make images from a description")
    parser.add_argument("prompt", help="the wanted picture; detail helps")
    _add_request_options(parser)
    parser.add_argument("--style", help="dall-e-3: vivid or natural")
    parser.add_argument("--moderation", help="low or auto")
    _add_stream_options(parser)
    _add_output_options(parser)
    _add_estimate_options(parser)
    add_session_options(parser)


def _add_edit(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "edit", "edit an image where a mask is transparent")
    parser.add_argument("image", nargs="+", help="image files; more than one for GPT Image models")
    parser.add_argument("prompt", help="the full new image, not just the erased area")
    parser.add_argument(
        "--mask", metavar="FILE", help="PNG; where its alpha is 0 the image is edited"
    )
    _add_request_options(parser)
    parser.add_argument("--input-fidelity", help="high or low")
    _add_stream_options(parser)
    _add_output_options(parser)
    _add_estimate_options(parser)
    add_session_options(parser)


def _add_variation(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "variation", "make variations of an image (classic servers)")
    parser.add_argument("image", help="square PNG file smaller than 4 MiB")
    _add_basic_request_options(parser)
    _add_output_options(parser)
    _add_estimate_options(parser)
    add_session_options(parser)


def _add_doctor(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands, "doctor", "show which settings, server, limits and extras are used"
    )
    parser.add_argument("--model", help="the model that is meant; leave it out for the classic API")
    parser.add_argument(
        "--test", action="store_true", help="make one small image, which the server may bill"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    add_session_options(parser)


def _add_gallery(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands, "gallery", "make a page of the images of a batch run, to look at and to compare"
    )
    parser.add_argument("out", metavar="DIR", help="folder of the run")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.add_argument(
        "--no-thumbnails",
        action="store_true",
        help="make none, and show the originals where there is none (default: make them with Pillow, if "
        "it is installed)",
    )


def _add_serve(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(commands, "serve", "run a local emulator of the Images API")
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="-- PROGRAM ...",
        help="run this program against the emulator, with OPENAI_BASE_URL and OPENAI_API_KEY set, "
        "and end with it",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="a loopback address (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=_port, default=8000, help="0 for any free one (default: 8000)"
    )
    parser.add_argument(
        "--images-per-minute",
        type=rate,
        default=50.0,
        metavar="N",
        help="limit for each key, 'off' for none (default: 50)",
    )
    parser.add_argument(
        "--batch-delay",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="time before a batch of /v1/batches is begun (default: 0)",
    )
    parser.add_argument(
        "--limit-kind",
        choices=("sliding", "fixed", "bucket", "quantised"),
        default="sliding",
        help="how images are counted (default: sliding)",
    )
    parser.add_argument(
        "--url-lifetime",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="how long pictures stay at their URLs (default: 3600)",
    )
    parser.add_argument(
        "--blocked-prompt",
        action="append",
        metavar="TEXT",
        help="refuse prompts that contain it; may be repeated (default: [blocked])",
    )
    parser.add_argument(
        "--seconds-per-image",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="time for a 1024x1024 image, smaller ones take less (default: 0)",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="generate flat colours instead of paintings: for speed",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="FAULT",
        help="let something go wrong, such as 'fail=429 times=3 retry_after=2', 'latency=0.2 "
        "times=null' or 'stop=charge'; may be repeated; docs/emulator.md lists all",
    )
    parser.add_argument(
        "--idempotency",
        choices=("ignores", "honours", "rejects"),
        default="ignores",
        help="what an Idempotency-Key that comes again does (default: ignores, as OpenAI)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of what is drawn by chance (default: 0)"
    )
    parser.add_argument(
        "--no-control",
        action="store_true",
        help="take no faults from requests: no x-emulator-fault, no /_emulator/",
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="log no requests, so that stderr is the program's alone",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the address as JSON on stdout, and a JSON record a request on stderr",
    )


def _add_basic_request_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("request")
    group.add_argument("-n", type=int, metavar="N", help="number of images (default: 1)")
    group.add_argument("--size", help="for example 512x512; smaller is faster")
    group.add_argument("--model", help="leave it out for the classic API")
    group.add_argument("--response-format", help="url or b64_json (classic API)")
    group.add_argument("--user", help="an identifier of your end user")
    group.add_argument(
        "--extra",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a further field for the body, VALUE as JSON or text; may be repeated",
    )


def _add_request_options(parser: argparse.ArgumentParser) -> None:
    _add_basic_request_options(parser)
    group = parser.add_argument_group("GPT Image models")
    group.add_argument("--quality", help="low, medium, high or auto")
    group.add_argument("--background", help="transparent, opaque or auto")
    group.add_argument("--output-format", help="png, jpeg or webp")
    group.add_argument("--output-compression", type=int, metavar="0..100", help="for jpeg and webp")


def _add_stream_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("stream (GPT Image models)")
    group.add_argument(
        "--stream", action="store_true", help="save and show the image on its way as well"
    )
    group.add_argument(
        "--partial-images",
        type=int,
        metavar="N",
        help="images on the way with --stream, 0 to 3; each is billed (default: 2)",
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", default=".", metavar="DIR", help="folder for the images (default: .)"
    )
    group.add_argument(
        "--name",
        default="image",
        help="first part of the file names; none is replaced (default: image)",
    )
    group.add_argument(
        "--json",
        action="store_true",
        help="print one JSON document on stdout; with --stream a line for each image",
    )


def _add_estimate_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("dry run")
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="check the call, and say how long it waits for the limit and, with --prices, what it costs; "
        "nothing is sent",
    )
    group.add_argument(
        "--prices", metavar="FILE", help="price table, TOML or JSON: see docs/batch.md"
    )


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError(f"{number} is no port: 0 to 65535")
    return number


if __name__ == "__main__":
    sys.exit(main())
