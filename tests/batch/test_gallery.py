"""The page of a run: what is in it, what cannot get out of it, and thumbnails that are made once."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from imagesdk.batch import gallery
from imagesdk.batch.gallery import PAGE, THUMBNAILS, build
from imagesdk.batch.records import MANIFEST, Record
from imagesdk.errors import BatchError

EVIL = (
    "</script><script>window.owned = 1</script><!-- <script> --> <img src=x onerror=owned=1> "
    "&lt;&amp; \u2028 $data ${data} \"quoted\" 'too' \\"
)


class Elements(HTMLParser):
    """The scripts and the title of a page, as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.title = ""
        self.policy = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where text belongs."""
        self._inside = tag
        values = dict(attrs)
        if tag == "script":
            self.scripts.append((values, ""))
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        """Note that it ends."""
        del tag
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Take it."""
        if self._inside == "script":
            attributes, text = self.scripts.pop()
            self.scripts.append((attributes, text + data))
        elif self._inside == "title":
            self.title += data

    @property
    def data(self) -> Any:
        """What the page tells."""
        return json.loads(self.scripts[0][1])


def picture(out: Path, name: str, size: tuple[int, int] = (900, 600), mode: str = "RGB") -> Any:
    """Paint an image file, and return what a record says of it."""
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, len(name)).save(path)
    return {
        "file": name,
        "mime_type": "image/png",
        "width": size[0],
        "height": size[1],
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "revised_prompt": None,
    }


def record(custom_id: str, *images: Any, **more: Any) -> Record:
    """Return a record."""
    fields: dict[str, Any] = {
        "custom_id": custom_id,
        "status": "done",
        "endpoint": "generations",
        "params": {"prompt": f"a {custom_id}"},
        "key": "0",
        "images": images,
        "usage": None,
        "request_id": None,
        "attempts": 1,
        "error": None,
        "finished_at": "2026-11-20T00:00:00.000+00:00",
    }
    return Record(**fields | more)


def write(out: Path, *records: Record) -> Path:
    """Write a manifest."""
    out.mkdir(exist_ok=True)
    (out / MANIFEST).write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in records))
    return out


def read(out: Path) -> Elements:
    """Read the page."""
    return Elements((out / PAGE).read_text(encoding="utf-8"))


def test_the_page_has_the_last_record_of_each_request_in_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    """What was tried again is told once; a line that a crash cut off is passed over."""
    image = picture(tmp_path, "00001/fox-1.png")
    write(
        tmp_path,
        record("otter", line=2, status="failed", error={"type": "ServerError", "message": "no"}),
        record("fox", image, line=1, usage={"total_tokens": 3}, cost=0.25),
        record("otter", line=2, status="rejected", error={"type": "X", "message": "never"}),
    )
    with (tmp_path / MANIFEST).open("ab") as manifest:
        manifest.write(b'{"custom_id": "cut')
    page = build(tmp_path)
    assert (page.path, page.requests, page.images) == (tmp_path / PAGE, 2, 1)
    fox, otter = read(tmp_path).data["records"]
    assert (fox["custom_id"], fox["cost"], fox["usage"]) == ("fox", 0.25, {"total_tokens": 3})
    assert fox["images"][0]["file"] == "00001/fox-1.png"
    assert otter["error"] == {"type": "X", "message": "never"}
    assert "request_id" not in fox  # what is empty is left out
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_no_text_of_a_run_gets_out_of_its_place(tmp_path: Path) -> None:
    """Whatever a prompt, an id or an error says, the page has two scripts and the prompt is read as it is."""
    out = tmp_path / "<b>&amp; $hash"
    error = {"type": "ServerError", "message": EVIL}
    write(out, record(EVIL, status="failed", params={"prompt": EVIL}, error=error))
    build(out)
    page = read(out)
    assert len(page.scripts) == 2
    (told,) = page.data["records"]
    assert told["params"]["prompt"] == told["custom_id"] == told["error"]["message"] == EVIL
    assert page.title == "<b>&amp; $hash · imagesdk"


def test_a_page_that_is_sent_around_holds_no_signatures(tmp_path: Path) -> None:
    """URLs of input pictures are shown without passwords and queries; what else is in a request stays."""
    signed = "https://me:pass@cdn/a.png?sig=secret"
    params = {"prompt": "why?", "image": [signed], "images": [{"image_url": signed}]}
    build(write(tmp_path, record("a", params=params)))
    (told,) = read(tmp_path).data["records"]
    shown = "https://***@cdn/a.png"
    assert told["params"] == {"prompt": "why?", "image": [shown], "images": [{"image_url": shown}]}


def test_nothing_else_may_run_or_be_fetched(tmp_path: Path) -> None:
    """The policy of the page allows its own script by its hash, and images beside it."""
    build(write(tmp_path))
    page = read(tmp_path)
    digest = b64encode(hashlib.sha256(page.scripts[1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.policy
    assert "default-src 'none'" in page.policy
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", (tmp_path / PAGE).read_text())


def test_thumbnails_are_made_once(tmp_path: Path) -> None:
    """They are small, named after what they show, and used again; an original is never touched."""
    images = [picture(tmp_path, "a.png"), picture(tmp_path, "b.png", (60, 1000), "RGBA")]
    write(tmp_path, record("a", *images), record("b", images[0]))
    before = {path: path.read_bytes() for path in tmp_path.glob("*.png")}
    page = build(tmp_path)
    assert (page.thumbnails, page.without) == (2, 0)
    files = sorted((tmp_path / THUMBNAILS).rglob("*.*"))
    assert {file.stem for file in files} == {image["sha256"] for image in images}
    for file in files:
        with Image.open(file) as small:
            assert (small.format, max(small.size)) == ("WEBP", 448)
            assert small.mode == ("RGB" if small.width > small.height else "RGBA")
    assert {path: path.read_bytes() for path in tmp_path.glob("*.png")} == before
    assert all(i["thumbnail"] for r in read(tmp_path).data["records"] for i in r["images"])
    assert build(tmp_path).thumbnails == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_images_of_every_mode_have_thumbnails(tmp_path: Path, mode: str) -> None:
    """Whatever a server makes can be seen."""
    name = "a.jpg" if mode == "CMYK" else "a.png"
    write(tmp_path, record("a", picture(tmp_path, name, mode=mode)))
    assert build(tmp_path).thumbnails == 1


def test_what_cannot_be_made_small_is_shown_as_it_is(tmp_path: Path) -> None:
    """A torn file, a file that is gone, one that is too large for Pillow and one without a hash."""
    torn, gone = picture(tmp_path, "torn.png"), picture(tmp_path, "gone.png")
    large = picture(tmp_path, "large.png") | {"width": 20_000, "height": 20_000}
    unknown = picture(tmp_path, "unknown.png")
    del unknown["sha256"]
    (tmp_path / "torn.png").write_bytes((tmp_path / "torn.png").read_bytes()[:60])
    (tmp_path / "gone.png").unlink()
    write(tmp_path, record("a", torn, gone, large, unknown))
    page = build(tmp_path)
    assert (page.images, page.thumbnails, page.without) == (4, 0, 4)
    (told,) = read(tmp_path).data["records"]
    assert [image.get("thumbnail") for image in told["images"]] == [None] * 4
    assert not [*tmp_path.rglob("*.part")]


def test_thumbnails_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On request, when the time is up, and without Pillow."""
    write(tmp_path, record("a", *(picture(tmp_path, f"{n * 'x'}.png") for n in range(1, 4))))
    assert build(tmp_path, thumbnails=False).without == 3
    asked = []

    def go_on(made: int, missing: int) -> bool:
        asked.append((made, missing))
        return made < 1

    monkeypatch.setattr(gallery, "_AT_ONCE", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert build(tmp_path, go_on=go_on).thumbnails == 1
    assert asked == [(0, 3), (1, 3)]
    monkeypatch.setitem(sys.modules, "PIL", None)
    page = build(tmp_path)
    assert (page.thumbnails, page.without) == (0, 2)


def test_a_page_has_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many records the first ones are shown, and how many there are is told."""
    monkeypatch.setattr(gallery, "_MOST_RECORDS", 2)
    lines = {"e": 5, "c": 3, "d": 4, "b": 2, "a": 1, "f": 6}
    records = [record(name, line=line, status="failed") for name, line in lines.items()]
    write(tmp_path, *records, record("b", line=2), record("f", line=6))
    assert build(tmp_path).requests == 2
    data = read(tmp_path).data
    told = [(each["custom_id"], each["status"]) for each in data["records"]]
    assert told == [("a", "failed"), ("b", "done")]
    assert data["total"] == 6


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """The error says what to name instead."""
    with pytest.raises(BatchError, match=r"manifest\.jsonl is not there: name the folder"):
        build(tmp_path)
    assert not [*tmp_path.iterdir()]
