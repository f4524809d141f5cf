from __future__ import annotations

import asyncio
import base64
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagesdk.client.results import Image, ImagesResponse
from imagesdk.errors import Attempt, ExpiredURLError, ImageSDKError, InvalidRequestError
from imagesdk.sinks import FileSink, Folder

Png = Callable[..., bytes]
LATER = datetime(2030, 1, 1, tzinfo=UTC)


class Web:
    """Images at URLs, and how often each was fetched."""

    def __init__(self, **images: bytes) -> None:
        self.images = images
        self.fetched: list[tuple[str, datetime | None]] = []

    async def fetch(self, url: str, expires_at: datetime | None) -> bytes:
        self.fetched.append((url, expires_at))
        if url not in self.images:
            raise ExpiredURLError(f"{url} is gone")
        return self.images[url]

    def image(self, url: str) -> Image:
        return Image(url=url, expires_at=LATER, fetch=self.fetch)


async def test_content(png: Png) -> None:
    """An image that arrived itself tells type and size from its bytes, and its base64."""
    for kind, mime_type in (("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")):
        data = png((31, 17), "RGB", kind)
        image = Image(content=data)
        assert await image.read() == data
        assert (image.mime_type, image.width, image.height) == (mime_type, 31, 17)
        assert base64.b64decode(str(image.b64_json)) == data
    other = Image(content=b"no image")
    assert (other.mime_type, other.width, other.height) == (None, None, None)


async def test_download_once(png: Png) -> None:
    """An image at a URL is fetched at the first read and kept."""
    web = Web(cat=png((20, 10)))
    image = web.image("cat")
    assert (image.mime_type, image.width, image.height, image.b64_json) == (None, None, None, None)
    assert await image.read() == await image.read() == png((20, 10))
    assert (image.mime_type, image.width, image.height) == ("image/png", 20, 10)
    assert image.b64_json is None
    assert web.fetched == [("cat", LATER)]


async def test_without_session() -> None:
    """An image without session cannot be downloaded, and says so."""
    for image in (Image(url="http://a/b"), Image()):
        with pytest.raises(ImageSDKError, match="no session to download it with"):
            await image.read()


async def test_save(tmp_path: Path, png: Png) -> None:
    """save() writes the bytes, with their suffix, and notes the path."""
    image = Image(content=png(mode="RGB", kind="JPEG"))
    path = await image.save(tmp_path / "sub" / "cat.png")
    assert path == image.path == tmp_path / "sub" / "cat.jpg"
    assert path.read_bytes() == await image.read()


async def test_save_all(tmp_path: Path, png: Png) -> None:
    """A response is saved in order under new names; nothing that is there is replaced."""
    (tmp_path / "cat-2.png").write_bytes(b"mine")
    web = Web(a=png((1, 1)), b=png((2, 2), "RGB", "JPEG"))
    images = (web.image("a"), Image(content=png((3, 3))), web.image("b"))
    response = ImagesResponse(created=1, data=images)
    paths = await response.save(tmp_path, name="cat")
    assert [path.name for path in paths] == ["cat-1.png", "cat-3.png", "cat-1.jpg"]
    assert [image.path for image in images] == paths
    assert [path.read_bytes() for path in paths] == [await image.read() for image in images]
    assert (tmp_path / "cat-2.png").read_bytes() == b"mine"
    assert [p.name for p in await response.save(tmp_path / "new")][:2] == [
        "image-1.png",
        "image-2.png",
    ]


async def test_save_what_there_is(tmp_path: Path, png: Png) -> None:
    """When one URL no longer works, the other images are saved all the same."""
    web = Web(a=png(), c=png())
    response = ImagesResponse(created=1, data=tuple(map(web.image, "abc")))
    with pytest.raises(ExpiredURLError, match="b is gone") as caught:
        await response.save(tmp_path)
    assert (tmp_path / "image-2.png").read_bytes() == png()
    assert not (tmp_path / "image-3.png").exists()
    assert caught.value.__notes__ == [
        f"2 of 3 images were saved: {tmp_path}/image-1.png, {tmp_path}/image-2.png"
    ]


@pytest.mark.parametrize("name", ["", "a/b", "../a", "/a", "a/"])
async def test_bad_names(name: str, tmp_path: Path) -> None:
    """A name that leads to another folder is refused."""
    with pytest.raises(InvalidRequestError, match="for the first part of file names: it must have"):
        await ImagesResponse(created=None, data=()).save(tmp_path, name=name)


async def test_save_all_into_one_file(tmp_path: Path, png: Png) -> None:
    """A file name instead of a folder is refused with the call that takes one, unless it is a folder."""
    response = ImagesResponse(created=1, data=(Image(content=png()),))
    cat = tmp_path / "cat.png"
    with pytest.raises(
        InvalidRequestError, match=r"or save one image with result\.data\[0\]\.save"
    ):
        await response.save(cat)
    assert not cat.exists()
    cat.mkdir()
    assert await response.save(cat) == [cat / "image-1.png"]


async def test_save_fails(tmp_path: Path, png: Png) -> None:
    """When the file cannot be written the image stays readable."""
    (tmp_path / "file").write_bytes(b"")
    image = Image(content=png())
    with pytest.raises(OSError, match="file"):
        await image.save(tmp_path / "file" / "cat.png")
    assert image.path is None
    assert await image.read() == png()


async def test_pickle(png: Png, tmp_path: Path) -> None:
    """A response pickles with its images, and leaves the session behind."""
    web = Web(a=png())
    read, unread = web.image("a"), web.image("a")
    await read.save(tmp_path / "a")
    response = ImagesResponse(
        created=7,
        data=(read, unread),
        usage={"total_tokens": 3},
        attempts=(Attempt(number=1, outcome="ok", elapsed=0.5),),
        extra={"x": 1},
    )
    copy = pickle.loads(pickle.dumps(response))  # noqa: S301 - our own
    assert (copy.created, copy.usage, copy.attempts, copy.extra) == (
        7,
        response.usage,
        response.attempts,
        {"x": 1},
    )
    assert await copy.data[0].read() == png()
    assert (copy.data[0].path, copy.data[1].expires_at) == (tmp_path / "a.png", LATER)
    with pytest.raises(ImageSDKError, match="no session"):
        await copy.data[1].read()


def test_repr_hides_signatures() -> None:
    """The repr of an image shows neither its bytes nor the signature of its URL."""
    image = Image(url="http://me:secret@a/b.png?sig=secret", content=b"hidden bytes")
    assert "http://***@a/b.png" in repr(image)
    assert "secret" not in repr(image)
    assert "hidden" not in repr(image)
    assert repr(Image(content=b"x")) == "Image()"


async def test_repr_says_what_is_known(tmp_path: Path, png: Png) -> None:
    """An image tells its type, its size and where it is; what is None is left out."""
    image = Image(content=png((3, 2)))
    assert repr(image) == "Image(image/png 3x2)"
    path = await image.save(tmp_path / "fox")
    assert repr(ImagesResponse(created=1, data=(image,), size="3x2")) == (
        f"ImagesResponse(created=1, data=(Image(image/png 3x2, path={path!r}),), size='3x2')"
    )


async def test_one_download_for_many_readers() -> None:
    """Whoever reads or saves at the same time shares one download."""
    fetched = 0

    async def fetch(_url: str, _expires_at: datetime | None) -> bytes:
        nonlocal fetched
        fetched += 1
        await asyncio.sleep(0)
        return b"image"

    image = Image(url="http://server/a.png", fetch=fetch)
    assert set(await asyncio.gather(image.read(), image.read(), image.read())) == {b"image"}
    assert fetched == 1


def stored(folder: Path, content: bytes) -> Image:
    """Return an image that was saved while it arrived."""
    sink = FileSink(Folder(folder))
    sink.write(content)
    sink.finish()
    sink.publish()
    return Image(stored=sink.stored)


async def test_on_disk(tmp_path: Path, png: Png) -> None:
    """An image on disk tells type and size, is read from its file, and has no base64."""
    content = png((31, 17), "RGB", "JPEG")
    image = await asyncio.to_thread(stored, tmp_path, content)
    assert image.path == tmp_path / "image-1.jpg"
    assert (image.mime_type, image.width, image.height) == ("image/jpeg", 31, 17)
    assert await image.read() == content
    assert image.b64_json is None
    copy = pickle.loads(pickle.dumps(image))  # noqa: S301 - our own
    assert (copy.path, copy.width, await copy.read()) == (image.path, 31, content)
    odd = await asyncio.to_thread(stored, tmp_path, b"no image")
    assert (odd.mime_type, odd.width, odd.height) == (None, None, None)


async def test_on_disk_saved_elsewhere(tmp_path: Path, png: Png) -> None:
    """An image on disk is copied when it is saved, and read from where it was saved last."""
    image = await asyncio.to_thread(stored, tmp_path, png())
    first = image.path
    assert first is not None
    assert await image.save(tmp_path / "sub" / "cat") == tmp_path / "sub" / "cat.png"
    first.unlink()
    assert await image.read() == png()
    response = ImagesResponse(created=1, data=(image, Image(content=b"x")))
    assert response.paths == (tmp_path / "sub" / "cat.png",)
    paths = await response.save(tmp_path, name="all")
    assert response.paths == tuple(paths)
    assert [path.name for path in paths] == ["all-1.png", "all-1.bin"]
    assert paths[0].read_bytes() == png()
    paths[0].unlink()
    with pytest.raises(FileNotFoundError):
        await image.read()
