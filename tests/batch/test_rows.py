"""The rows of a batch file: each format, what a cell becomes, and errors that name the line."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from imagesdk.batch.rows import FORMATS, Format, format_of, read_rows, whole_lines
from imagesdk.errors import BatchError


def rows(text: str | bytes, kind: Format) -> list[tuple[int, dict[str, Any]]]:
    """Read the rows of a file."""
    content = text if isinstance(text, bytes) else text.encode()
    return list(read_rows(whole_lines(io.BytesIO(content)), kind))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "jsonl"),
        ("deep/a.CSV", "csv"),
        ("a.tsv", "tsv"),
        ("a.b.txt", "txt"),
        ("a.json", "jsonl"),
        ("csv", "jsonl"),
        ("-", "jsonl"),
    ],
)
def test_the_suffix_tells_the_format(name: str, kind: Format) -> None:
    """What is no known suffix means JSON lines."""
    assert format_of(name) == kind


def test_a_text_is_a_prompt_a_line() -> None:
    """Blank lines are passed over and counted; white space around a prompt is not sent."""
    text = "\ufeffa fox\r\n\n  an owl, {asleep}\t\n"
    assert rows(text, "txt") == [(1, {"prompt": "a fox"}), (3, {"prompt": "an owl, {asleep}"})]


def test_a_table_names_its_fields() -> None:
    """Cells are fields, numbers are numbers, empty and missing cells are left out."""
    text = "id,prompt,n,seed,size\na,a fox,2,7,512x512\n\nb,an owl,,x,\nc,7\n"
    assert rows(text, "csv") == [
        (2, {"id": "a", "prompt": "a fox", "n": 2, "seed": 7, "size": "512x512"}),
        (4, {"id": "b", "prompt": "an owl", "seed": "x"}),
        (5, {"id": "c", "prompt": "7"}),
    ]


def test_a_cell_may_go_over_several_lines() -> None:
    """A row has the number of its first line, also after a cell with line breaks in it."""
    text = 'prompt,size\n"a fox\nasleep",1x1\na,2x2\n'
    assert rows(text, "csv") == [
        (2, {"prompt": "a fox\nasleep", "size": "1x1"}),
        (4, {"prompt": "a", "size": "2x2"}),
    ]


def test_several_images_are_a_json_list_in_a_cell() -> None:
    """A path is a text, and a list of paths is JSON."""
    text = 'prompt\timage\na\tx.png\nb\t"[""x.png"", ""y.png""]"\n'
    read = rows(text, "tsv")
    assert [row["image"] for _, row in read] == ["x.png", ["x.png", "y.png"]]


def test_a_text_that_looks_like_a_list_stays_a_text() -> None:
    """Prompts are never read as JSON, nor are paths that only begin like it."""
    assert rows("prompt,image\n[1],[x.png\n", "csv") == [(2, {"prompt": "[1]", "image": "[x.png"})]


WRONG: list[tuple[str | bytes, Format, str]] = [
    (
        "prompt\na,b\n",
        "csv",
        "line 2: has 2 cells; the header, the first line, names 1 (prompt). A cell with a comma in it stands in quotes",
    ),
    (
        "prompt;size\na;1x1\n",
        "csv",
        "line 1: the header names one column, 'prompt;size', with ';' in it",
    ),
    ("prompt\tsize\na\t1x1\n", "csv", "line 1: the header names one column, 'prompt\\tsize', with"),
    ("prompt,\na,b\n", "csv", "line 1: the header names ''; each column needs a name"),
    ("n,prompt,n\n", "csv", "line 1: the header names 'n'"),
    ('prompt\n"a', "csv", "line 2: is no row of a table"),
    ('prompt\n"a" b\n', "csv", "line 2: is no row of a table"),
    (
        b"prompt\nb\xfcsch\n",
        "tsv",
        "position 1: invalid start byte; save the file as UTF-8 (in Excel: CSV UTF-8)",
    ),
    (b"a\n\xff\n", "txt", "line 2: is no UTF-8"),
    (
        b'{"prompt": "a"}\n' + b"x" * (32 * 1024 * 1024 + 1),
        "jsonl",
        "line 2: is longer than 33,554,432",
    ),
]


@pytest.mark.parametrize(("content", "kind", "message"), WRONG, ids=[what for *_, what in WRONG])
def test_an_error_names_the_line(content: str | bytes, kind: Format, message: str) -> None:
    """What cannot be read is refused with its line."""
    with pytest.raises(BatchError) as caught:
        rows(content, kind)
    assert message in str(caught.value)
    assert caught.value.line == int(str(caught.value)[5])


@given(st.binary(max_size=80), st.sampled_from(FORMATS))
def test_any_bytes_are_rows_or_a_batch_error(content: bytes, kind: Format) -> None:
    """Whatever stands in a file, it gives rows or a BatchError that names the line."""
    lines: list[int | None] = [0]
    try:
        read = rows(content, kind)
    except BatchError as error:
        lines, read = [error.line], []
    assert all(line is not None for line in lines)
    assert all(isinstance(row, dict) for _, row in read)


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")).filter(
    str.strip
)


@given(st.lists(CELLS, min_size=1, max_size=5))
def test_a_table_and_json_lines_say_the_same(prompts: list[str]) -> None:
    """A prompt comes out of a CSV file as it does out of JSON lines."""
    table = io.StringIO(newline="")
    csv.writer(table).writerows([["prompt"], *([prompt] for prompt in prompts)])
    lines = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
    from_table = [row for _, row in rows(table.getvalue(), "csv")]
    assert from_table == [row for _, row in rows(lines, "jsonl")]
