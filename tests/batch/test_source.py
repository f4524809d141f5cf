"""What a batch is made from: every line is looked at before anything is sent, wherever it comes from."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from imagesdk.batch.source import open_source
from imagesdk.client._assembly import Validate
from imagesdk.client.session import rules_of
from imagesdk.errors import BatchError, ImageSDKError, InvalidRequestError
from imagesdk.models.requests import ImageRequest
from imagesdk.testing import ScriptedTransport
from tests.batch.conftest import png, scripted


def test_a_file_is_read_by_its_suffix_or_as_is_said(tmp_path: Path) -> None:
    """The suffix tells what the lines are, unless the caller does."""
    path = tmp_path / "prompts.csv"
    path.write_text("id,prompt\na,a fox\n", encoding="utf-8")
    assert [job.custom_id for job in open_source(path)] == ["a"]
    assert [job.params["prompt"] for job in open_source(path, "txt")] == ["id,prompt", "a,a fox"]


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input is JSON lines, and is named in errors."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"prompt": "a"}\n{}\n')))
    jobs = open_source("-")
    assert next(jobs).params == {"prompt": "a"}
    with pytest.raises(BatchError, match="standard input: line 2: has neither prompt nor image"):
        next(jobs)


def test_rows_of_a_program_are_what_a_line_may_be() -> None:
    """Mappings are read as lines of JSON are, one by one, and stay as they were."""
    row = {"id": "a", "prompt": "a fox"}
    batch_line = {"custom_id": "b", "url": "/v1/images/generations", "body": {"prompt": "b"}}
    jobs = open_source(row for row in (row, batch_line, {"prompt": "c"}))
    assert [(job.custom_id, job.line) for job in jobs] == [("a", 1), ("b", 2), ("line-3", 3)]
    assert row == {"id": "a", "prompt": "a fox"}


def test_a_row_that_is_no_json_is_an_error() -> None:
    """What cannot be kept in the ledger is refused."""
    with pytest.raises(BatchError, match="line 1: holds a value that is no JSON"):
        list(open_source([{"prompt": "a", "more": object()}]))


def test_a_file_without_requests_is_an_error(tmp_path: Path) -> None:
    """A file that is empty or not there says so."""
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(BatchError, match=r"empty\.txt holds no requests"):
        list(open_source(tmp_path / "empty.txt"))
    with pytest.raises(BatchError, match=r"none\.txt cannot be read: No such file"):
        list(open_source(tmp_path / "none.txt"))


def test_rules_are_kept_line_by_line(tmp_path: Path) -> None:
    """Each request is shown to the rules as it is read; an error names file and line, and keeps its notes."""

    def rules(request: ImageRequest) -> None:
        seen.append(request.n)
        if request.n == 3:
            error = InvalidRequestError("too many", field="n")
            error.add_note("another rule")
            raise error

    def lines() -> Iterator[Mapping[str, object]]:
        yield from ({"prompt": "a", "n": n} for n in (1, 3, 5))

    seen: list[object] = []
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines()), encoding="utf-8")
    with pytest.raises(BatchError, match=r"in\.jsonl: line 2: too many") as caught:
        list(open_source(path, rules=rules))
    assert (caught.value.line, caught.value.file) == (2, str(path))
    assert caught.value.__notes__ == ["line 2: another rule"]
    with pytest.raises(BatchError, match=r"^line 2: too many"):
        list(open_source(lines(), rules=rules))
    assert seen == [1, 3, 1, 3]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ({"prompt": "x" * 1001}, r"prompt has 1,001 characters; .* takes 1 to 1,000"),
        ({"prompt": "a", "n": 0}, "n is 0; it must be a whole number from 1 to 100,000"),
        ({"prompt": "a", "size": "1x1"}, "size is '1x1'"),
        ({"prompt": "a", "model": "dall-e-3", "style": "loud"}, "style is 'loud'"),
        ({"prompt": "a", "stream": True}, "must not hold stream"),
        ({"image": "wide.png"}, "image is '4x2'; it must be a square"),
        ({"image": "text.png"}, "image: the file .* is no"),
        ({"image": "empty.png"}, r"image: the file .* is empty \(0 bytes\)"),
        ({"image": "big.png"}, r"image has 4,194,\d+ bytes; it must be smaller"),
        ({"image": "opaque.png", "prompt": "a"}, "transparency of its own, or a mask"),
    ],
)
def test_the_rules_of_a_session_are_those_of_its_model(
    tmp_path: Path, line: dict[str, object], what: str
) -> None:
    """A request that breaks a rule, of its fields or its files, is found without sending it."""
    (tmp_path / "wide.png").write_bytes(png(4, 2))
    (tmp_path / "text.png").write_bytes(b"text")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "opaque.png").write_bytes(png(4, 4))
    (tmp_path / "big.png").write_bytes(png(4, 4) + bytes(4 << 20))
    path = tmp_path / "in.jsonl"
    path.write_text(f'{{"prompt": "good", "n": 12}}\n{json.dumps(line)}\n', encoding="utf-8")
    session = scripted(ScriptedTransport([]))
    with pytest.raises(BatchError, match=rf"in\.jsonl: line 2: .*{what}"):
        list(open_source(path, rules=rules_of(session)))


def test_a_session_that_validates_nothing_has_no_rules() -> None:
    """With validate="warn" or "off" the server decides; what cannot be sent at all is still an error."""
    transport = ScriptedTransport([])
    rows = [{"prompt": "x" * 1001}]
    choices: tuple[Validate, ...] = ("warn", "off")
    for validate in choices:
        session = scripted(transport, validate=validate)
        assert len(list(open_source(rows, rules=rules_of(session)))) == 1
        with pytest.raises(BatchError, match="must not hold stream"):
            list(open_source([{"prompt": "a", "stream": True}], rules=rules_of(session)))
    assert issubclass(BatchError, ImageSDKError)
