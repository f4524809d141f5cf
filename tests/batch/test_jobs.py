"""The lines of a batch file: both shapes, ids, paths, keys, and errors that name line and field."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given, strategies as st

from imagesdk.batch.jobs import Job, read_jobs
from imagesdk.errors import BatchError
from imagesdk.models.requests import EditRequest, GenerateRequest, VariationRequest

HERE = Path(__file__).parent


def read(*lines: object, folder: Path = HERE) -> list[Job]:
    """Read lines; what is no text or bytes is encoded as JSON."""
    texts = [line if isinstance(line, str | bytes) else json.dumps(line) for line in lines]
    return list(read_jobs(texts, folder))


def batch_line(body: object, url: str = "/v1/images/generations", **more: object) -> dict[str, Any]:
    """Return a line as the server's own Batch API takes it."""
    return {"custom_id": "a", "method": "POST", "url": url, "body": body, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with image files; only their existence counts here."""
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "b.png", "mask.png", "deep/c.png"):
        (tmp_path / name).write_bytes(b"-")
    return tmp_path


# What a line becomes ------------------------------------------------------------------------------


def test_a_flat_line_with_a_prompt_is_a_generation() -> None:
    """A prompt without an image asks for a new image, with the parameters as they are."""
    (job,) = read({"prompt": "a fox", "size": "512x512", "n": 3, "model": "gpt-image-2"})
    assert job.request == GenerateRequest("a fox", size="512x512", n=3, model="gpt-image-2")
    assert job.params == {"prompt": "a fox", "size": "512x512", "n": 3, "model": "gpt-image-2"}
    assert job.line == 1


def test_a_flat_line_with_image_and_prompt_is_an_edit(folder: Path) -> None:
    """Image and prompt ask for an edit, whose paths are relative to the file."""
    (job,) = read({"image": "a.png", "mask": "mask.png", "prompt": "b"}, folder=folder)
    assert job.request == EditRequest(folder / "a.png", "b", mask=folder / "mask.png")
    assert job.params["image"] == "a.png"


def test_a_flat_line_with_an_image_alone_is_a_variation(folder: Path) -> None:
    """An image without a prompt asks for variations."""
    (job,) = read({"image": "deep/c.png", "n": 2}, folder=folder)
    assert job.request == VariationRequest(folder / "deep/c.png", n=2)


@pytest.mark.parametrize("prefix", ["/v1", "", "https://api.openai.com/v1", "/openai/v1"])
def test_a_batch_line_names_its_endpoint_by_url(folder: Path, prefix: str) -> None:
    """The server's own Batch line is read, whatever stands before /images/ in its url."""
    jobs = read(
        batch_line({"prompt": "a"}, f"{prefix}/images/generations", custom_id="g"),
        batch_line({"prompt": "a", "image": "a.png"}, f"{prefix}/images/edits", custom_id="e"),
        batch_line({"image": "a.png"}, f"{prefix}/images/variations", custom_id="v"),
        folder=folder,
    )
    assert [type(job.request) for job in jobs] == [GenerateRequest, EditRequest, VariationRequest]
    assert [job.custom_id for job in jobs] == ["g", "e", "v"]
    assert jobs[0].params == {"prompt": "a"}


def test_a_batch_line_may_leave_out_method_and_id() -> None:
    """POST is the only method, so it need not be said; the id has a default."""
    (job,) = read({"url": "/v1/images/generations", "body": {"prompt": "a"}})
    assert job.custom_id == "line-1"


def test_the_shape_is_told_apart_line_by_line(folder: Path) -> None:
    """Both shapes may stand in one file."""
    jobs = read(
        {"prompt": "flat"},
        batch_line({"prompt": "batch"}),
        {"image": "a.png", "prompt": "flat again"},
        folder=folder,
    )
    assert [job.params["prompt"] for job in jobs] == ["flat", "batch", "flat again"]
    assert [job.custom_id for job in jobs] == ["line-1", "a", "line-3"]


def test_several_images_are_a_list_of_paths(folder: Path) -> None:
    """A list of paths stays a list, in its order."""
    (job,) = read({"image": ["b.png", "a.png"], "prompt": "c"}, folder=folder)
    assert job.request == EditRequest([folder / "b.png", folder / "a.png"], "c")


def test_a_markup_is_a_path_too(folder: Path) -> None:
    """Every file field of a request is looked for in the folder."""
    (job,) = read({"image": "a.png", "markup": "b.png", "prompt": "c"}, folder=folder)
    assert isinstance(job.request, EditRequest)
    assert job.request.markup == folder / "b.png"


def test_an_absolute_path_stays_as_it_is(folder: Path) -> None:
    """The folder matters to relative paths only."""
    (job,) = read({"image": str(folder / "a.png")}, folder=HERE)
    assert isinstance(job.request, VariationRequest)
    assert job.request.image == folder / "a.png"


def test_unknown_fields_go_into_the_body() -> None:
    """Fields that are no parameters of ours are sent as they are."""
    (job,) = read({"prompt": "a", "seed": 7, "steps": {"least": 2}, "extra_headers": {"a": "b"}})
    assert job.request.extra_body == {
        "seed": 7,
        "steps": {"least": 2},
        "extra_headers": {"a": "b"},
    }
    assert job.request.extra_headers is None


def test_without_unknown_fields_there_is_no_extra_body() -> None:
    """A line of known fields adds nothing to the body."""
    (job,) = read({"prompt": "a"})
    assert job.request.extra_body is None


def test_blank_lines_are_skipped_and_counted() -> None:
    """Blank lines are no jobs, but line numbers are those of the file."""
    jobs = read("", '{"prompt": "a"}\n', b"  \t\r\n", b'{"prompt": "b"}', "\n")
    assert [(job.line, job.custom_id) for job in jobs] == [(2, "line-2"), (4, "line-4")]


def test_no_lines_are_no_jobs() -> None:
    """An empty file has no jobs; that is no error of the reader."""
    assert read() == []


def test_jobs_are_read_one_by_one() -> None:
    """A job is there before the next line is read."""
    jobs = read_jobs(['{"prompt": "a"}', "no JSON"], HERE)
    assert next(jobs).custom_id == "line-1"
    with pytest.raises(BatchError, match="line 2"):
        next(jobs)


# Ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id", "custom_id"])
def test_a_flat_line_may_have_an_id(name: str) -> None:
    """Both names of the id are known, and it is not sent."""
    (job,) = read({name: "mine", "prompt": "a"})
    assert job.custom_id == "mine"
    assert job.request.extra_body is None
    assert name not in job.params


@pytest.mark.parametrize("name", ["id", "custom_id"])
def test_an_id_of_null_is_none(name: str) -> None:
    """Null means that the line names no id."""
    assert read({name: None, "prompt": "a"})[0].custom_id == "line-1"


@pytest.mark.parametrize("value", [0, 7, False, "", "  ", ["a"], {"a": 1}, 1.5])
@pytest.mark.parametrize("name", ["id", "custom_id"])
def test_an_id_must_be_a_text(name: str, value: object) -> None:
    """An id that is no text, or an empty one, is refused rather than replaced."""
    with pytest.raises(BatchError, match=r"line 1: custom_id is .*must be a text") as caught:
        read({name: value, "prompt": "a"})
    assert repr(value) in str(caught.value)


def test_the_id_of_a_batch_line_must_be_a_text() -> None:
    """The rule for ids holds for both shapes."""
    with pytest.raises(BatchError, match="line 1: custom_id is 5"):
        read(batch_line({"prompt": "a"}, custom_id=5))


# Keys ---------------------------------------------------------------------------------------------


def test_the_key_is_that_of_the_request() -> None:
    """Order of fields, id, line and shape make no difference to the key."""
    jobs = [
        *read({"prompt": "a", "n": 2}),
        *read("", {"n": 2, "id": "x", "prompt": "a"}),
        *read(batch_line({"prompt": "a", "n": 2})),
    ]
    assert len({job.key for job in jobs}) == 1


def test_the_key_is_stable() -> None:
    """The key of a request never changes: manifests of earlier releases must stay readable."""
    assert read({"prompt": "a"})[0].key == "5bdcb70423a31da9"


def test_another_picture_has_another_key(folder: Path) -> None:
    """The key is that of the images' bytes too: not of when they were written, nor of where they are."""
    line = {"image": ["a.png", "b.png"], "mask": "mask.png", "prompt": "a"}
    (before,) = read(line, folder=folder)
    (folder / "mask.png").write_bytes((folder / "mask.png").read_bytes())
    assert read(line, folder=folder)[0].key == before.key
    (folder / "mask.png").write_bytes(b"another")
    assert read(line, folder=folder)[0].key != before.key


def test_another_request_has_another_key(folder: Path) -> None:
    """Another value, field, type or endpoint makes another key."""
    lines: list[dict[str, Any]] = [
        {"prompt": "a"},
        {"prompt": "b"},
        {"prompt": "a", "n": 1},
        {"prompt": "a", "n": 2},
        {"prompt": "a", "seed": 1},
        {"prompt": "a", "seed": "1"},
        {"prompt": "a", "image": "a.png"},
        {"prompt": "a", "image": ["a.png"]},
        {"image": "a.png"},
    ]
    assert len({job.key for job in read(*lines, folder=folder)}) == len(lines)


# Errors -------------------------------------------------------------------------------------------

WRONG: list[tuple[object, str]] = [
    ("{", "is no JSON"),
    (b"\xff\xfe", "is no JSON"),
    ("\ud800", "is no JSON"),
    ("[" * 100_000, "is no JSON"),
    ("7", "is 7; it must be a JSON object"),
    ("null", "is None; it must be a JSON object"),
    ('["prompt"]', "must be a JSON object"),
    ({}, "has neither prompt nor image; it names nothing"),
    ({"size": "256x256", "promt": "a"}, "has neither prompt nor image; it names size, promt"),
    ({"prompt": "a", "n": "2"}, "n is '2'; it must be a whole number"),
    ({"prompt": "a", "n": 2.5}, "n is 2.5; it must be a whole number"),
    ({"prompt": "a", "n": True}, "n is True; it must be a whole number"),
    ({"prompt": "a", "n": 100_001}, "n is 100,001; a line asks for 100,000 images at most"),
    ({"prompt": "a", "model": 5}, "model is 5; it must be a text"),
    ({"prompt": "a", "model": ["gpt-image-2"]}, "model is ['gpt-image-2']; it must be a text"),
    ({"prompt": "a", "mask": "mask.png"}, "mask is no field of generations"),
    ({"image": "a.png", "mask": "mask.png"}, "mask is no field of variations"),
    ({"image": 5}, "image is 5; it must be the path"),
    ({"image": ""}, "image is ''; it must be the path"),
    ({"image": "gone.png"}, "image is 'gone.png'; there is no such file in"),
    ({"image": "deep"}, "image is 'deep'; there is no such file in"),
    ({"image": "x" * 400}, "there is no such file in"),
    ({"image": "a\0b"}, "there is no such file in"),
    ({"image": ["a.png", "gone.png"], "prompt": "a"}, "image[1] is 'gone.png'"),
    ({"image": ["a.png", 7], "prompt": "a"}, "image[1] is 7; it must be the path"),
    ({"image": "a.png", "mask": "gone.png", "prompt": "a"}, "mask is 'gone.png'"),
    ({"image": "a.png", "markup": False, "prompt": "a"}, "markup is False"),
    (batch_line({"prompt": "a"}, method="GET"), "method is 'GET'; it must be 'POST'"),
    (
        batch_line({"prompt": "a"}, url="/v1/chat"),
        "url is '/v1/chat'; it must be one of /v1/images",
    ),
    (batch_line({"prompt": "a"}, url="/v1/images/none"), "url is '/v1/images/none'"),
    (batch_line(["a"]), "body is ['a']; it must be a JSON object"),
    (batch_line({}), "prompt is missing; generations need it"),
    (batch_line({"prompt": "a"}, url="/v1/images/edits"), "image is missing; edits need it"),
    (batch_line({"image": "a.png"}, url="/v1/images/edits"), "prompt is missing; edits need it"),
    (batch_line({}, url="/v1/images/variations"), "image is missing; variations need it"),
    (batch_line({"prompt": "a"}, size="256x256"), "size is no field of a batch line"),
]


@pytest.mark.parametrize(("line", "what"), WRONG, ids=[what for _, what in WRONG])
def test_an_error_names_line_and_field(folder: Path, line: object, what: str) -> None:
    """What cannot be used is refused with the line's number, the field, the value and the rule."""
    with pytest.raises(BatchError) as caught:
        read("", {"prompt": "fine"}, line, folder=folder)
    assert str(caught.value).startswith("line 3: ")
    assert what in str(caught.value)
    assert caught.value.line == 3


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="no file that cannot be read")  # noqa: PTH110
def test_a_picture_that_cannot_be_read_names_line_and_field() -> None:
    """A file that is there and cannot be read is an error of its line."""
    with pytest.raises(BatchError, match=r"line 1: image is '/proc/self/mem'; it cannot be read: "):
        read({"image": "/proc/self/mem"})


def test_a_path_that_may_not_be_looked_at_is_missing(folder: Path) -> None:
    """A loop of symbolic links is no file, and is told like one that is missing."""
    try:
        (folder / "loop.png").symlink_to(folder / "loop.png")
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(BatchError, match=r"line 1: image is 'loop\.png'; there is no such file"):
        read({"image": "loop.png"}, folder=folder)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        *(a.name for a in attrs.fields(EditRequest)),
        *("custom_id", "id", "method", "url", "body", "style", "moderation"),
    ]
)
OBJECTS = st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=6)
BATCH_LINES = st.fixed_dictionaries(
    {"url": st.sampled_from([f"/images/{e}" for e in ("generations", "edits", "variations")])},
    optional={"body": OBJECTS, "custom_id": JSON, "method": st.just("POST")},
)


def jobs_or_error(*lines: str | bytes) -> list[Job] | BatchError:
    """Read lines; nothing but a BatchError may be raised."""
    try:
        return read(*lines)
    except BatchError as error:
        return error


@given(st.lists(st.one_of(OBJECTS, BATCH_LINES, JSON).map(json.dumps) | st.text(), max_size=4))
@example(['{"prompt": "a", "custom_id": "\\ud83d"}'])
def test_any_lines_are_jobs_or_a_batch_error(lines: list[str]) -> None:
    """Whatever stands in the file, reading it gives jobs with ids, or a BatchError."""
    result = jobs_or_error(*lines)
    if isinstance(result, BatchError):
        assert result.line is not None
        assert 1 <= result.line <= len(lines)
        assert str(result).startswith(f"line {result.line}: ")
    else:
        assert all(job.custom_id.strip() for job in result)
        assert all(job.request.n is None or type(job.request.n) is int for job in result)


@given(st.binary(max_size=60))
def test_any_bytes_are_jobs_or_a_batch_error(line: bytes) -> None:
    """Bytes that are no JSON, or no UTF-8, are a BatchError."""
    result = jobs_or_error(line)
    assert isinstance(result, BatchError) or not line.decode("utf-8-sig").strip()


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=6))
def test_the_same_line_has_the_same_key(more: dict[str, Any]) -> None:
    """Reading a request twice, with its fields in another order, gives the same key."""
    line = {f"x-{name}": value for name, value in more.items()} | {"prompt": "a", "n": 1}
    backwards = {name: line[name] for name in reversed(line)}
    assert read(line)[0].key == read(backwards)[0].key


def test_paths_are_looked_for_beside_the_file_and_not_in_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the working directory is no file of the batch."""
    monkeypatch.chdir(folder)
    assert os.path.isfile("a.png")  # noqa: PTH113 - the working directory is the point
    with pytest.raises(BatchError, match="there is no such file in"):
        read({"image": "a.png"}, folder=folder / "deep")


def test_null_means_left_out(tmp_path: Path) -> None:
    """A field that is null is as good as absent, files included."""
    (job,) = read_jobs(['{"prompt": "a fox", "image": null, "mask": null, "n": null}'], tmp_path)
    assert job.request == GenerateRequest("a fox")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """A file that begins with the mark some editors write is read all the same."""
    lines = ['{"prompt": "a fox"}'.encode("utf-8-sig"), b'{"prompt": "an owl"}']
    assert [job.custom_id for job in read_jobs(lines, tmp_path)] == ["line-1", "line-2"]


def edit_line(**body: object) -> str:
    """Return a line for an edit in the server's own words."""
    url = "/v1/images/edits"
    return json.dumps(
        {"custom_id": "a", "method": "POST", "url": url, "body": {"prompt": "a"} | body}
    )


def test_an_edit_may_be_in_the_servers_own_words() -> None:
    """Images that the server's own lines name are inputs like any other, and part of the key."""
    images = [{"image_url": "data:image/png;base64,YQ=="}, {"image_url": "https://x/a.png"}]
    mask = {"file_id": "file-1"}
    (job,) = read_jobs([edit_line(images=images, mask=mask)], Path("here"))
    request = job.request
    assert isinstance(request, EditRequest)
    assert request.image == [image["image_url"] for image in images]
    assert request.mask == "file_id:file-1"
    assert job.params == {"prompt": "a", "images": images, "mask": mask}
    (other,) = read_jobs([edit_line(images=images[:1], mask=mask)], Path("here"))
    assert other.key != job.key


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"images": []}, "images must be a list of objects"),
        ({"images": {"image_url": "data:,"}}, "images must be a list of objects"),
        ({"images": [{"image_url": "data:,"}], "image": "a.png"}, "without image beside it"),
        ({"images": ["a.png"]}, r"images\[0\] is 'a.png'; it must be an object with image_url"),
        ({"images": [{"image_url": "a.png"}]}, r"images\[0\] is .* \(a URL\)"),
        ({"images": [{"file_id": ""}]}, r"images\[0\] is "),
        ({"images": [{"image_url": "data:,"}], "mask": 7}, "mask is 7"),
    ],
)
def test_images_that_the_server_would_not_know_are_refused(
    body: dict[str, object], words: str
) -> None:
    """What is wrong in the server's own words is told, with the line."""
    with pytest.raises(BatchError, match=words) as caught:
        list(read_jobs([edit_line(**body)], Path("here")))
    assert caught.value.line == 1
