"""Open what a batch is made from: a file, standard input, or rows that a program makes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from imagesdk.batch.jobs import Job, Rules, checked, jobs_of_rows, read_jobs
from imagesdk.batch.rows import Format, format_of, whole_lines
from imagesdk.errors import BatchError

__all__ = ("Source", "naming", "open_source")

Source: TypeAlias = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
"""The path of a file, ``"-"`` for standard input, or rows: mappings that are what a line of JSON may be."""


def open_source(
    source: Source, kind: Format | None = None, *, rules: Rules = lambda _request: None
) -> Iterator[Job]:
    """Yield the jobs of *source*; blocks.

    Args:
        source: A path, ``"-"`` for standard input, or rows. Paths of images are relative to the file, or
            else to the working directory.
        kind: What the lines of a file are; None for what its suffix says, or else JSON lines.
        rules: Each request must keep them; see `imagesdk.client.session.rules_of`.

    Raises:
        BatchError: The file cannot be read or holds no requests, or a line cannot be used or breaks a
            rule; it names file, line and field.
    """
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        return _read_file(name, kind or format_of(name), rules)
    return checked(jobs_of_rows(source, Path()), rules)


@contextlib.contextmanager
def naming(source: Source | None) -> Iterator[None]:
    """Let what is wrong in a line name the file, too, whoever finds it.

    Raises:
        BatchError: In the place of one that names the line alone.
    """
    try:
        yield
    except BatchError as error:
        if (
            not isinstance(source, str | os.PathLike)
            or error.line is None
            or error.file is not None
        ):
            raise
        file = _said(os.fspath(source))
        found = BatchError(f"{file}: {error}", line=error.line, file=file)
        for note in getattr(error, "__notes__", ()):
            found.add_note(note)
        raise found from None


def _said(name: str) -> str:
    return "standard input" if name == "-" else name


def _read_file(name: str, kind: Format, rules: Rules) -> Iterator[Job]:
    job = None
    with contextlib.ExitStack() as stack, naming(name):
        try:
            file = sys.stdin.buffer if name == "-" else stack.enter_context(Path(name).open("rb"))
            jobs = read_jobs(whole_lines(file), Path(name).parent, kind=kind)
            for job in checked(jobs, rules):
                yield job
        except OSError as error:
            raise BatchError(f"{_said(name)} cannot be read: {error.strerror}") from None
    if job is None:
        raise BatchError(f"{_said(name)} holds no requests")
