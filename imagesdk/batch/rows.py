"""Read the rows of a batch file as mappings: JSON lines, a table, or one prompt a line."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, BinaryIO, Literal, TypeAlias

import msgspec

from imagesdk.errors import BatchError

__all__ = ("FORMATS", "Format", "format_of", "line_error", "read_rows", "whole_lines")

Format: TypeAlias = Literal["jsonl", "csv", "tsv", "txt"]

FORMATS: tuple[Format, ...] = ("jsonl", "csv", "tsv", "txt")
_MAX_LINE_BYTES = 32 * 1024 * 1024  # an image may stand in it as a data URL
_SHOWN_CHARS = 80
_TEXTS = frozenset(
    [
        "id",
        "custom_id",
        "prompt",
        "image",
        "mask",
        "markup",
        "model",
        "size",
        "quality",
        "style",
        "response_format",
        "background",
        "moderation",
        "input_fidelity",
        "output_format",
        "complexity",
        "safety_identifier",
        "user",
    ]
)
"""Columns of a table that are text whatever stands in them; others are JSON where they can be."""
_PATHS = frozenset(("image", "mask", "markup"))


def format_of(name: str) -> Format:
    """Return the format that the suffix of a file name tells; JSON lines if it tells none."""
    suffix = PurePath(name).suffix.lower().removeprefix(".")
    return suffix if suffix in FORMATS else "jsonl"


def whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, one at a time in memory.

    Raises:
        BatchError: A line is longer than 32 MiB.
    """
    number = 0
    while line := file.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > _MAX_LINE_BYTES:
            raise line_error(number, f"is longer than {_MAX_LINE_BYTES:,} bytes")
        yield line


def read_rows(
    lines: Iterable[str | bytes], kind: Format = "jsonl"
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield number and fields of each line that is not blank.

    In a table the first line names the fields, and an empty cell leaves its field out. What is no text
    by nature (``n``, and fields that are not known) is read as JSON where it is that; several images
    are a JSON list of paths.

    Args:
        lines: Of the file, with or without their ends.
        kind: What the lines are.

    Raises:
        BatchError: A line cannot be read; it names the line.
    """
    match kind:
        case "jsonl":
            return _json_rows(lines)
        case "txt":
            return (
                (number, {"prompt": text.strip()}) for number, text in _texts(lines) if text.strip()
            )
        case _:
            return _table_rows(lines, "," if kind == "csv" else "\t")


def line_error(number: int, what: str) -> BatchError:
    """Return the error that says what is wrong in a line."""
    return BatchError(f"line {number}: {what}", line=number)


def _texts(lines: Iterable[str | bytes], broken: str = "is no UTF-8") -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig") if isinstance(line, bytes) else line
        except UnicodeError as error:
            hint = "save the file as UTF-8 (in Excel: CSV UTF-8)"
            raise line_error(number, f"{broken}: {error}; {hint}") from None
        yield number, text.removeprefix("\ufeff")  # some editors write a mark


def _json_rows(lines: Iterable[str | bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, text in _texts(lines, "is no JSON"):
        if not text.strip():
            continue
        try:
            data = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise line_error(number, f"is no JSON: {error}") from None
        if not isinstance(data, dict):
            raise line_error(number, f"is {data!r}; it must be a JSON object")
        yield number, data


def _table_rows(
    lines: Iterable[str | bytes], delimiter: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    texts = (text for _, text in _texts(lines))
    rows = csv.reader(texts, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    last = 0
    while True:
        number = last + 1  # a cell may go over several lines: the row is told by its first one
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise line_error(number, f"is no row of a table: {error}") from None
        last = rows.line_num
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = _header(number, row)
        elif len(row) > len(header):
            named = ", ".join(header)[:_SHOWN_CHARS]
            raise line_error(
                number,
                f"has {len(row)} cells; the header, the first line, names {len(header)} ({named}). A cell "
                'with a comma in it stands in quotes: "a fox, asleep"',
            )
        else:
            cells: Mapping[str, str] = dict(zip(header, row, strict=False))
            yield number, {name: _value(name, cell) for name, cell in cells.items() if cell.strip()}


def _header(number: int, row: list[str]) -> list[str]:
    names = [cell.strip() for cell in row]
    other = re.search(r"[;|\t]", names[0])
    if len(names) == 1 and other is not None:
        raise line_error(
            number,
            f"the header names one column, {names[0][:_SHOWN_CHARS]!r}, with {other[0]!r} in it: save the file "
            "with commas as .csv, or with tabs as .tsv",
        )
    for name in names:
        if not name or names.count(name) > 1:
            raise line_error(
                number, f"the header names {name!r}; each column needs a name of its own"
            )
    return names


def _value(name: str, cell: str) -> object:
    if name in _TEXTS and not (name in _PATHS and cell.lstrip().startswith("[")):
        return cell
    try:
        return msgspec.json.decode(cell)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return cell
