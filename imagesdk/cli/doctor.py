"""``imagesdk doctor``: which settings, server, limits and extras a program would use, and a test if asked.

Nothing is sent but with ``--test``. The key is never shown whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from time import perf_counter
from typing import TypeAlias
from urllib.parse import urlsplit

from imagesdk.cli import EXIT_CODES
from imagesdk.cli.sessions import open_session
from imagesdk.client.config import read_settings
from imagesdk.client.session import ImageSession
from imagesdk.errors import ConfigurationError
from imagesdk.models.families import Choice, ModelFamily
from imagesdk.models.profiles import family_of

__all__ = ("run",)

_Row: TypeAlias = tuple[str, object, str]
"""Name, value, and where the value comes from or what to do about it."""

_REQUIREMENT = re.compile(r"""([\w.-]+)[^;]*(?:;.*extra == ["']([\w-]+)["'])?.*""")
_NO_EXTRAS = ("all", "dev")
_PROMPT = "a small red circle on a white ground"


async def run(arguments: argparse.Namespace) -> int:
    """Print what was found; return 0 if a session can be opened, and the test, if any, brought an image.

    Raises:
        ImageSDKError: The test failed.
    """
    report = _Report(as_json=arguments.json)
    for section, rows in await asyncio.to_thread(_installed):
        report.add(section, rows)
    report.add("settings", _settings(arguments))
    problem = ""
    try:
        async with open_session(arguments) as session:
            family = family_of(session.model, session.server)
            report.add("server", _server(session, arguments))
            report.add(f"limits of {family.name}", _limits(family))
            if session.model is None and session.server.requires_model:
                problem = f"{session.base_url} needs a model: pass --model, and model= in programs"
            elif arguments.test:
                report.add("test", await _test(session, family))
    except ConfigurationError as error:
        problem = str(error)
    finally:
        if problem:
            report.add("problem", [("settings", problem, "")])
        report.end()
    return EXIT_CODES["usage" if problem else "done"]


class _Report:
    """Prints sections of rows at once, or all of them in the end as one JSON document."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._sections: dict[str, dict[str, dict[str, object]]] = {}

    def add(self, section: str, rows: Iterable[_Row]) -> None:
        """Add a section."""
        rows = list(rows)
        self._sections[section] = {
            name: {"value": value, "note": note} for name, value, note in rows
        }
        if self._as_json:
            return
        print(section)
        for name, value, note in rows:
            shown = "-" if value is None else str(value)
            print(f"  {name:<22} {shown:<28} {note}".rstrip())

    def end(self) -> None:
        """Print the document."""
        if self._as_json:
            print(json.dumps(self._sections, indent=2, ensure_ascii=False))


def _installed() -> list[tuple[str, list[_Row]]]:
    """Return what is installed, in sections; reads files."""
    extras = sorted({extra for _, extra in _requirements()} - {"", *_NO_EXTRAS})
    return [
        ("program", list(_program())),
        ("packages", list(_packages(""))),
        *((f"extra {extra}", list(_packages(extra))) for extra in extras),
    ]


def _program() -> Iterator[_Row]:
    yield "imagesdk", metadata.version("imagesdk"), ""
    yield "python", platform.python_version(), sys.executable
    yield "system", platform.platform(), ""


def _settings(arguments: argparse.Namespace) -> Iterator[_Row]:
    value: object
    settings = read_settings(server=arguments.server, base_url=arguments.base_url)
    for setting in settings:
        value, origin = setting.value, setting.origin
        if origin == "argument":
            origin = f"--{setting.name.replace('_', '-')}"
        if arguments.emulator and setting.name in ("api_key", "base_url"):
            value, origin = "the emulator's own", "--emulator"
        yield setting.name, value, origin
    yield "server", arguments.server, "--server" if arguments.server else "the host of base_url"
    yield "model", arguments.model, "--model" if arguments.model else "default"
    if arguments.limiter is None:
        yield "limiter", "of each session its own", "default"
    else:  # the URL may hold a password
        yield "limiter", f"shared, at {urlsplit(arguments.limiter).hostname}", "--limiter"
    rate = arguments.images_per_minute
    origin = "the server's profile" if rate is None else "--images-per-minute"
    yield "images_per_minute", "profile" if rate is None else rate, origin
    for name, default, said in (
        ("timeout", "profile", "the server's profile"),
        ("max_wait", None, "default"),
    ):
        given = getattr(arguments, name)
        value = default if given is None else given
        yield name, value, said if given is None else f"--{name.replace('_', '-')}"


def _requirements() -> Iterator[tuple[str, str]]:
    """Yield the packages that the installed one names, each with the extra that needs it."""
    for line in metadata.requires("imagesdk") or ():
        if (found := _REQUIREMENT.match(line)) and found[1] != "imagesdk":
            yield found[1], found[2] or ""


def _packages(extra: str) -> Iterator[_Row]:
    for name, needed_by in _requirements():
        if needed_by != extra:
            continue
        try:
            yield name, metadata.version(name), ""
        except metadata.PackageNotFoundError:
            yield name, None, f"python -m pip install 'imagesdk[{extra}]'"


def _server(session: ImageSession, arguments: argparse.Namespace) -> Iterator[_Row]:
    profile, limiter = session.server, session.snapshot()
    yield "base_url", session.base_url, ""
    by = "the host of base_url" if arguments.server is None else "--server"
    yield "profile", profile.name, f"by {by}; {profile.source}"
    yield "needs a model", "yes" if profile.requires_model else "no", ""
    limit = limiter.images_per_minute
    origin = "" if arguments.images_per_minute is not None else f"default of {profile.name}"
    yield "images a minute", "any number" if limit is None else f"{limit:g}", origin
    seconds = "any time" if profile.timeout is None else f"{profile.timeout:g} s"
    yield "timeout", seconds, f"default of {profile.name}"
    if profile.limits_each_family:
        yield "limited", "each line of models", "by the server, and so by the limiter"


def _limits(family: ModelFamily) -> Iterator[_Row]:
    unknown = "the server decides"
    longest = family.max_prompt_chars
    yield "prompt", unknown if longest is None else f"1 to {longest:,} characters", family.source
    yield "n in one request", family.max_n, "more is split"
    size = family.size
    yield "size", unknown if size is None else ", ".join(size.names), ""
    if size is not None and size.multiple_px is not None:
        bounds = f"{size.min_pixels:,} to {size.max_pixels:,} pixels"
        edges = f"multiples of {size.multiple_px} up to {size.max_edge_px:,}"
        yield "any other size", edges, f"{bounds}, up to {size.max_ratio:g}:1"
    if (image := family.image) is not None:
        kind = f"{'square ' if image.square else ''}{', '.join(image.formats)}"
        below = f"smaller than {image.below_bytes / 2**20:g} MiB"
        yield "input images", f"up to {image.max_count}", f"{kind}, {below}"


async def _test(session: ImageSession, family: ModelFamily) -> list[_Row]:
    """Make the smallest and cheapest image that the model makes."""
    names = [name for name in family.size.names if "x" in name] if family.size else []
    size = min(names, key=lambda name: int(name.partition("x")[0]), default=None)
    rules = (family.params or {}).get("generations", {})
    quality = rules.get("quality")
    low = "low" if isinstance(quality, Choice) and "low" in quality.values else None
    began = perf_counter()
    result = await session.generate(_PROMPT, size=size, quality=low)
    image = result.data[0]
    content = await image.read()
    rows: list[_Row] = [
        ("image", f"{image.width}x{image.height} {image.mime_type}", f"{len(content):,} bytes"),
        ("took", f"{perf_counter() - began:.2f} s", f"{len(result.attempts)} attempt(s)"),
        ("request id", result.request_id, ""),
    ]
    named = {k: v for k, v in result.headers.items() if k.startswith("x-ratelimit-limit")}
    rows += [(name, value, "named by the server") for name, value in sorted(named.items())]
    return rows
