"""The benchmark beside the peers: its server, its clients on tiny workloads, and what is made of the results."""

from __future__ import annotations

import base64
import json
import sys
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

# The benchmarks are in no wheel. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[1]))

from benchmarks import _peers_report as report, batch
from benchmarks.__main__ import main
from benchmarks._peers_footprint import requirements
from benchmarks._peers_picture import draw, short
from benchmarks._peers_results import TARGETS, Results, Verdict
from benchmarks._peers_runs import Runner, available_bytes, prepared_server
from benchmarks._peers_server import answer_to, picture
from benchmarks._peers_workloads import WORKLOADS, Kind, Workload

ABOUT = {"day": "2026-11-21", "machine": "Linux <x86_64>, 2 cores", "versions": {"Python": "3.11"}}


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner.start(None) as started:
        yield started


def whole(wanted: str, body_bytes: int = 0) -> tuple[bytes, bytes]:
    head, _, body = b"".join(answer_to(wanted, body_bytes)).partition(b"\r\n\r\n")
    return head, body


def ignore(_: str) -> None:
    """Take no notice."""


def tiny(kind: Kind, **more: Any) -> Workload:
    values = {"requests": 4, "concurrency": 2, "size_bytes": 300_001, "n": 2} | more
    return Workload(name=kind, title=kind, kind=kind, **values)


def results_of(ours: float, theirs: float) -> Results:
    """Return results of all workloads, in which our client has one figure everywhere, the others another."""

    def measured(value: float) -> list[dict[str, float]]:
        fields = ("wall", "cpu", "rss_mb", "lag_ms", "first_ms")
        return [dict.fromkeys(fields, value * part) | {"requests": 2} for part in (0.5, 1, 9)]

    return Results(
        about=ABOUT,
        workloads={
            name: {
                client: measured(ours if client == "imagesdk" else theirs)
                for client in workload.clients
            }
            for name, workload in WORKLOADS.items()
        },
        starts={
            "empty interpreter": [10.0],
            "import imagesdk": [10.0 + ours],
            "a session, aiohttp included": [10.0 + ours],
        },
        footprints={"imagesdk": {"mb": 13.2, "distributions": 15}},
    )


@pytest.mark.parametrize("size", [57, 512, 300_001])
def test_a_picture_is_a_png_of_its_size(size: int) -> None:
    """A picture has the size that was asked for, and its one data chunk is whole."""
    data = picture(size)
    assert len(data) == size
    assert data.startswith(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    assert data.endswith(b"IEND\xaeB`\x82")
    assert zlib.crc32(data[37:-16]) == int.from_bytes(data[-16:-12])


def test_an_answer_has_its_images_and_its_length() -> None:
    """The body is JSON with n images, as long as its head says, whatever the slices."""
    head, body = whole("b64.300001.3")
    answer = json.loads(body)
    assert f"content-length: {len(body)}".encode() in head
    assert [base64.b64decode(each["b64_json"]) for each in answer["data"]] == [picture(300_001)] * 3
    assert json.loads(whole("url")[1])["data"][0]["url"].startswith("https://")


def test_a_short_upload_is_refused() -> None:
    """A client that leaves bytes out is not measured."""
    assert whole("take.1000", 1000)[0].startswith(b"HTTP/1.1 200")
    assert whole("take.1000", 999)[0].startswith(b"HTTP/1.1 400")
    assert whole("nonsense")[0].startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "workload",
    [
        tiny("small", requests=40),
        tiny("save"),
        tiny("upload", form="path"),
        tiny("upload", form="bytes"),
        tiny("upload", form="BytesIO"),
        tiny("stream"),
        tiny("map", requests=40),
    ],
    ids=lambda workload: f"{workload.kind}-{workload.form}",
)
def test_every_client_does_the_work(runner: Runner, workload: Workload) -> None:
    """Each client ends a round, what it saved is what was sent, and all is measured."""
    results = runner.run(workload, 1, ignore)
    assert runner.failures == []
    assert [*results] == [client for client in workload.clients if client != "LiteLLM"]
    for client, (measured,) in results.items():
        assert measured["wall"] > 0
        assert measured["cpu"] > 0
        assert measured["rss_mb"] >= 0
        assert measured["requests"] == workload.requests_of(client)
        assert ("first_ms" in measured) == (workload.kind == "stream")


def test_a_client_that_fails_is_left_out_and_named() -> None:
    """An interpreter without LiteLLM costs its rows, and is told about; the others are measured."""
    told: list[str] = []
    with Runner.start(sys.executable) as started:
        results = started.run(tiny("upload", requests=1, concurrency=1), 1, told.append)
    assert [*results] == ["imagesdk", "AsyncOpenAI", "aiohttp script"]
    assert {len(rounds) for rounds in results.values()} == {1}
    (failure,) = started.failures
    assert failure.startswith("FAILED: LiteLLM, upload: ")
    assert failure.endswith("No module named 'litellm'")
    assert failure in told


def test_a_run_is_printed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command measures, prints a table, says how to get LiteLLM, and writes what it measured."""
    file = tmp_path / "results.json"
    assert main(["--only", "upload-1x4mb-1-path", "--rounds", "1", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "1 upload of 1 x 4 MB from path, one at a time\nclient " in printed
    assert "pip install litellm" in printed
    assert [*Results.read(file).workloads["upload-1x4mb-1-path"]] == [
        "imagesdk",
        "AsyncOpenAI",
        "aiohttp script",
    ]


def test_what_may_not_fit_into_the_memory_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workload that could take more than is free is named and passed over."""
    monkeypatch.setattr("benchmarks.__main__.available_bytes", lambda: 12_000_000_000)
    assert main(["--only", "upload-16x20mb-32-bytesio", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert (
        "upload-16x20mb-32-bytesio is left out: it may take 12.3 GB of memory, and 12.0 " in printed
    )
    assert available_bytes() > 100_000_000


def test_all_sizes_and_forms_with_all_concurrencies() -> None:
    """Answers of 1, 4 and 20 MB, one or four in each, and uploads in all forms: one, 8 and 32 at a time."""
    measured = {
        (each.kind, each.size_bytes, each.n, each.form, each.concurrency)
        for each in WORKLOADS.values()
    }
    mb, concurrencies = 1_000_000, (1, 8, 32)
    answers = product(["save"], [mb, 4 * mb, 20 * mb], [1, 4], ["path"], concurrencies)
    forms = ["path", "bytes", "BytesIO"]
    uploads = (
        *product(["upload"], [4 * mb], [1], forms, concurrencies),
        *product(["upload"], [20 * mb], [16], forms, concurrencies),
    )
    assert measured >= {*answers, *uploads}


def test_the_list_names_every_workload(capsys: pytest.CaptureFixture[str]) -> None:
    """What --only takes is listed."""
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == [*WORKLOADS, "start"]


@pytest.mark.parametrize("arguments", [["--only", "small-32,big"], ["--rounds", "0"]])
def test_a_wrong_option_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is no workload, and a number of rounds that is none, end the command."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_figures_are_medians_and_ratios_of_one_request() -> None:
    """Times are those of one request, so that clients with fewer requests can be compared."""
    results = results_of(2.0, 8.0)
    assert results.figure("small-32", "imagesdk", "wall") == 1.0
    assert results.figure("small-32", "imagesdk", "lag_ms") == 2.0
    assert results.ratio("small-32", "wall", "AsyncOpenAI", "imagesdk") == 4.0
    assert results.start("import imagesdk") == 2.0


@pytest.mark.parametrize(("ours", "theirs", "missed"), [(1, 10, 0), (10, 10, 7), (1000, 1000, 14)])
def test_each_target_is_judged(ours: float, theirs: float, missed: int) -> None:
    """A figure that is not reached is named, and so is one that is."""
    verdicts = Verdict.all_of(results_of(ours, theirs))
    assert len(verdicts) == len(TARGETS)
    assert sum(not verdict.reached for verdict in verdicts) == missed
    assert report.judgement(verdicts).count("MISSED") == missed


def test_what_was_not_measured_is_not_judged() -> None:
    """Targets of workloads that were left out are left out."""
    assert Verdict.all_of(Results(about=ABOUT)) == []


@pytest.mark.parametrize(("theirs", "status"), [(10.0, 0), (1.0, 1)])
def test_results_are_rendered_again(tmp_path: Path, theirs: float, status: int) -> None:
    """The page and the picture come from the JSON file, and the status says whether all was reached."""
    source, page, image = tmp_path / "r.json", tmp_path / "page.md", tmp_path / "r.svg"
    results = results_of(1.0, theirs)
    results.write(source)
    assert Results.read(source) == results
    options = ["--render", str(source), "--markdown", str(page), "--svg", str(image)]
    assert main(options) == status
    text = page.read_text()
    for name, workload in WORKLOADS.items():
        assert f"## {workload.title}\n\n`--only {name}`" in text
    assert image.read_text() == draw(results)


def test_a_failure_costs_the_status(tmp_path: Path) -> None:
    """A run in which a client failed does not end with 0, whatever was reached."""
    results = results_of(1.0, 10.0)
    results.failures.append("FAILED: LiteLLM, small-32: no such module")
    results.write(tmp_path / "r.json")
    assert main(["--render", str(tmp_path / "r.json")]) == 1


def test_the_picture_has_a_bar_for_each_client() -> None:
    """It is well-formed, for light and dark, draws no more than there is, and says if that is nothing."""
    svg = draw(results_of(1.0, 10.0))
    root = ET.fromstring(svg)  # noqa: S314 - our own
    assert "prefers-color-scheme: dark" in svg
    assert len(root.findall("{*}rect")) == 3 * 5 + 4 + 3 + 4
    nothing = draw(Results(about=ABOUT))
    assert len(ET.fromstring(nothing).findall("{*}rect")) == 0  # noqa: S314
    assert "None of the workloads that are drawn was measured: small-32, save-1x20mb-32" in nothing
    assert "None of" not in svg


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,300"), (15.6, "16"), (2.57, "2.6"), (0.987, "0.99"), (0, "0.00")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    """Two or three digits count."""
    assert short(value) == text


def test_a_footprint_follows_what_is_required_without_extras() -> None:
    """What the extras need is no part of an installation, what the requirements require is."""
    names = requirements("imagesdk")
    assert {"imagesdk", "aiohttp", "yarl", "pybase64"} <= names
    assert not {"pytest", "rich", "redis"} & names
    assert "rich" in requirements("imagesdk", frozenset({"cli"}))
    assert requirements("no-such-distribution") == set()


def test_every_client_saves_a_batch(tmp_path: Path) -> None:
    """The batch, the plain script and the careful one save what was sent, and are measured."""
    with prepared_server() as port:
        for name in batch.CLIENTS:
            folder = tmp_path / name
            folder.mkdir()
            url = f"http://127.0.0.1:{port}/b64.5000.1/v1"
            measured = batch.run_client(name, url, 3, folder)
            saved = [path.read_bytes() for path in folder.rglob("*.png")]
            assert saved == [picture(5000)] * 3
            assert measured["wall"] > 0
            assert measured["user"] + measured["system"] > 0
