from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from imagesdk.emulator import painter
from imagesdk.emulator.forms import UploadedFile
from imagesdk.emulator.jobs import Job
from imagesdk.emulator.pictures import read_picture
from imagesdk.emulator.spec import Endpoint
from imagesdk.emulator.studio import Studio, as_base64, output_size, spoil


def job(**params: Any) -> Job:
    params = {"prompt": "a cat", "size": "256x256", **params}
    return Job(endpoint=Endpoint.GENERATION, params=params)


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The index of each picture that is painted."""
    paint, seen = painter.paint, list[int]()

    def counted(*args: Any, index: int = 0, **options: Any) -> Any:
        seen.append(index)
        return paint(*args, index=index, **options)

    monkeypatch.setattr("imagesdk.emulator.painter.paint", counted)
    return seen


def test_what_comes_again_is_not_painted_again(painted: list[int]) -> None:
    """A second request gets the same bytes, and one for more only paints the rest."""
    studio = Studio(1024 * 1024)
    assert studio.remembered(job()) is None
    first = studio.files(job(), ())
    assert studio.remembered(job()) == first == studio.files(job(), ())
    assert studio.remembered(job(n=2)) is None
    assert studio.files(job(n=2), ())[0] == first[0]
    assert painted == [0, 1]


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "a dog"},
        {"size": "512x512"},
        {"output_format": "jpeg"},
        {"background": "transparent"},
    ],
)
def test_another_request_is_another_picture(other: dict[str, str]) -> None:
    """Everything that shows in a file tells it from others."""
    studio = Studio(1024 * 1024)
    assert studio.files(job(), ()) != studio.files(job(**other), ())


def test_what_does_not_show_makes_no_difference(painted: list[int]) -> None:
    """The user and the format of the answer are not in the picture."""
    studio = Studio(1024 * 1024)
    studio.files(job(), ())
    studio.files(job(user="u", response_format="b64_json"), ())
    assert painted == [0]


def test_the_longest_unused_is_forgotten(painted: list[int]) -> None:
    """No more bytes are remembered than are allowed."""
    sizes = [len(Studio(0).files(job(prompt=f"a {name}"), ())[0]) for name in ("cat", "dog", "cow")]
    painted.clear()
    studio = Studio(sum(sizes) - 1)
    for prompt in ("a cat", "a dog", "a cat", "a cow"):
        studio.files(job(prompt=prompt), ())
        studio.remembered(job(prompt="a cat"))
    assert len(painted) == 3
    assert studio.remembered(job(prompt="a cat")) is not None
    assert studio.remembered(job(prompt="a dog")) is None


def test_without_memory_everything_is_painted(painted: list[int]) -> None:
    """0 bytes remember nothing."""
    studio = Studio(0)
    assert studio.files(job(), ()) == studio.files(job(), ())
    assert painted == [0, 0]


def test_uploads_tell_edits_apart(picture: Any) -> None:
    """An edit is remembered by what was uploaded."""
    studio = Studio(1024 * 1024)

    def edited(color: int) -> bytes:
        data = picture(color=(color, 0, 0, 0))
        file = UploadedFile(field="image", filename="a", content_type="image/png", data=data)
        params = {"prompt": "a hat", "size": "256x256"}
        edit = Job(endpoint=Endpoint.EDIT, params=params, files=(file,))
        assert studio.remembered(edit) is None
        return studio.files(edit, [read_picture("image", "image/png", data)])[0]

    assert edited(0) == edited(0)
    assert len(studio._files) == 1
    edited(255)
    assert len(studio._files) == 2


def test_the_size_of_a_picture() -> None:
    """What was asked for, or what suits the upload."""
    wide = read_picture("image", "image/png", Studio(0).files(job(size="512x512"), ())[0])
    assert output_size(job(), ()) == (256, 256)
    assert output_size(job(size="auto"), ()) == (1024, 1024)
    assert output_size(job(size="auto"), [wide]) == (1024, 1024)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("background", ["opaque", "transparent"])
def test_plain_pictures(kind: str, background: str) -> None:
    """Two flat colours come from the prompt and the number, in every format."""
    studio = Studio(0, plain=True)
    asked = job(n=2, size="320x256", output_format=kind, background=background)
    first, second = studio.files(asked, ())
    assert studio.files(asked, ()) == [first, second]
    assert first != second
    assert first not in studio.files(job(**{**asked.params, "prompt": "a dog"}), ())
    with Image.open(BytesIO(first)) as image:
        assert (image.format, image.size) == (kind.upper(), (320, 256))
        rgba = image.convert("RGBA")
    corner, centre = (rgba.getpixel(at) for at in ((0, 0), (160, 128)))
    assert corner != centre
    assert isinstance(corner, tuple)
    assert corner[3] == (0 if background == "transparent" and kind != "jpeg" else 255)


def test_plain_previews() -> None:
    """A plain picture has partial images, too."""
    studio = Studio(0, plain=True)
    image = studio.paint(job(), (), 0)
    assert studio.shown(job(), image, 0, 1) != studio.shown(job(), image, 1, 1)
    assert studio.shown(job(), image, 1, 1) == studio.files(job(), ())[0]


def test_plain_edits_are_paintings(picture: Any) -> None:
    """Only generations are plain."""
    data = picture()
    file = UploadedFile(field="image", filename="a", content_type="image/png", data=data)
    params = {"prompt": "a hat", "size": "256x256"}
    edit = Job(endpoint=Endpoint.EDIT, params=params, files=(file,))
    uploads = [read_picture("image", "image/png", data)]
    assert Studio(0, plain=True).files(edit, uploads) == Studio(0).files(edit, uploads)


def test_spoilt_files() -> None:
    """None leaves them as they are; see test_controls.py for the others."""
    assert spoil([b"12345678"], None) == [b"12345678"]
    assert spoil([b"12345678"], "half") == [b"1234"]


def test_broken_base64() -> None:
    """One text gets a character that is none of base64; a number too high breaks none."""
    assert as_base64([b"abc", b"def"], 1) == ["YWJj", "ZG*m"]
    assert as_base64([b"abc"], 1) == ["YWJj"]
