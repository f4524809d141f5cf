"""Make a page of a run: one static ``index.html`` that shows its images, compares them, and tells what failed.

It works from the disk, without a server and without the network: script and style are in the page, and so are
the records, as JSON that cannot end the element it stands in. A content security policy lets nothing
else run and nothing be fetched but images beside the page.

Images are never touched, and the page shows the originals. For the overview it prefers small copies in
the folder `THUMBNAILS`, named after the SHA-256 of what they show: so they are made once, by Pillow, if
that is installed.

Everything here blocks and belongs into a thread.
"""

from __future__ import annotations

import hashlib
import html
import os
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

import attrs
import msgspec

from imagesdk.batch.files import whole_file
from imagesdk.batch.records import MANIFEST, Record, read_manifest
from imagesdk.errors import BatchError
from imagesdk.protocol.refusals import shown_url

__all__ = ("PAGE", "THUMBNAILS", "Page", "build")

PAGE = "index.html"
THUMBNAILS = ".thumbnails"

_PARTS = Path(__file__).with_name("_page")
_MOST_RECORDS = 100_000
"""What a browser reads within seconds: some 60 MB."""
_AT_ONCE = 8
"""Thumbnails for each processor between two questions whether to go on: a few tenths of a second."""
_SIDE_PX = 448
_QUALITY = 80
_MOST_PIXELS = 80_000_000
"""Pillow takes larger images for an attack; they are shown as they are."""


@attrs.frozen(kw_only=True)
class Page:
    """A page that was made.

    Attributes:
        path: Of the page.
        requests: That it tells of.
        images: That it shows.
        thumbnails: That were made now.
        without: Images that are shown from the original, because they have no thumbnail.
    """

    path: Path
    requests: int
    images: int
    thumbnails: int
    without: int


def build(
    out: Path,
    *,
    thumbnails: bool = True,
    go_on: Callable[[int, int], bool] = lambda _made, _missing: True,
) -> Page:
    """Make the page of the run in *out* from its manifest, and return what is in it.

    It may be made again at any time, and while a run is going on: it tells of what has ended.

    Args:
        out: The run's folder.
        thumbnails: Whether to make those that are missing; needs Pillow, and does nothing without it.
        go_on: Called a few times a second with the thumbnails that were made and those that were
            missing; False leaves the rest, for the next time.

    Raises:
        BatchError: There is no manifest.
        LedgerError: The manifest cannot be read.
        OSError: The page cannot be written.
    """
    manifest = out / MANIFEST
    if not manifest.is_file():
        raise BatchError(
            f"{manifest} is not there: name the folder of a batch run (its --out), after its first "
            "request has ended"
        )
    shown, total = _first_records(manifest)
    made = _Thumbnails(out)
    images = [image for record in shown for image in record.images]
    if thumbnails:
        made.make(images, go_on)
    data = {
        "title": out.resolve().name,
        "made": f"made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "total": total,
        "records": [_data(record, made) for record in shown],
    }
    path = out / PAGE
    with whole_file(path) as file:
        file.write(_page(data).encode())
    return Page(
        path=path,
        requests=len(shown),
        images=len(images),
        thumbnails=made.made,
        without=sum(1 for image in images if not made.has(image)),
    )


def _first_records(manifest: Path) -> tuple[list[Record], int]:
    """Return the last record of each request, the first ones in the input's order, and how many there are.

    However long the manifest is, no more than twice as many are held as are shown.
    """
    last: dict[str, Record] = {}
    seen: set[int] = set()
    for record in read_manifest(manifest):
        last[record.custom_id] = record
        seen.add(hash(record.custom_id))
        if len(last) >= 2 * _MOST_RECORDS:
            last = {kept.custom_id: kept for kept in _first(last)}
    return _first(last), len(seen)


def _first(records: Mapping[str, Record]) -> list[Record]:
    return sorted(records.values(), key=lambda record: record.line)[:_MOST_RECORDS]


def _data(record: Record, thumbnails: _Thumbnails) -> Mapping[str, Any]:
    """Return what the page needs to know of a record; nothing that is empty."""
    fields = {
        name: value
        for name, value in attrs.asdict(record, recurse=False).items()
        if value or name in ("params", "images", "elapsed")
    }
    # The page is made to be sent around: what a picture was fetched with is not for everybody.
    fields["params"] = {name: _shown(value) for name, value in record.params.items()}
    fields["images"] = [
        {name: value for name, value in image.items() if value is not None}
        | ({"thumbnail": True} if thumbnails.has(image) else {})
        for image in record.images
    ]
    return fields


def _shown(value: Any) -> Any:  # noqa: ANN401
    """Return a value of JSON with its URLs as they may be shown."""
    match value:
        case str() if value.startswith(("http://", "https://")):
            return shown_url(value)
        case list():
            return [_shown(each) for each in value]
        case dict():
            return {name: _shown(each) for name, each in value.items()}
        case _:
            return value


def _page(data: Mapping[str, Any]) -> str:
    """Return the page; texts of the run appear in it as JSON and as an escaped title only."""
    script = (_PARTS / "gallery.js").read_text(encoding="utf-8")
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # "<" stands within strings only: without it neither "</script>" nor "<!--" can be there.
    # https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements
    encoded = msgspec.json.encode(data).decode().replace("<", "\\u003c")
    return Template((_PARTS / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(f"{data['title']} · imagesdk"),
        hash=f"sha256-{digest}",
        style=(_PARTS / "style.css").read_text(encoding="utf-8"),
        script=script,
        data=encoded,
    )


class _Thumbnails:
    """The small copies of a run's images."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._there = {path.stem for path in (out / THUMBNAILS).glob("*/*.webp")}
        self.made = 0

    def has(self, image: Mapping[str, Any]) -> bool:
        """Return whether there is one."""
        return image.get("sha256") in self._there

    def make(self, images: Sequence[Mapping[str, Any]], go_on: Callable[[int, int], bool]) -> None:
        """Make those that are missing, with all processors."""
        try:
            from PIL import Image  # noqa: F401
        except ImportError:
            return
        missing = {
            digest: self._out / image["file"]
            for image in images
            if (digest := image.get("sha256")) is not None
            and digest not in self._there
            and (image.get("width") or 0) * (image.get("height") or 0) <= _MOST_PIXELS
        }
        rest = iter(missing.items())
        workers = os.cpu_count() or 1
        with ThreadPoolExecutor(workers, thread_name_prefix="imagesdk-thumbnail") as pool:
            while some := list(islice(rest, _AT_ONCE * workers)):
                if not go_on(self.made, len(missing)):
                    return
                made = pool.map(self._make, *zip(*some, strict=True))
                new = [digest for (digest, _), is_made in zip(some, made, strict=True) if is_made]
                self._there.update(new)
                self.made += len(new)

    def _make(self, digest: str, source: Path) -> bool:
        """Make one; False if the image cannot be read."""
        from PIL import Image

        target = self._out / THUMBNAILS / digest[:2] / f"{digest}.webp"
        part = target.with_suffix(".part")
        with suppress(OSError, ValueError, SyntaxError), Image.open(source) as image:
            image.draft("RGB", (_SIDE_PX, _SIDE_PX))
            image.thumbnail((_SIDE_PX, _SIDE_PX), reducing_gap=2.0)
            small = image.convert("RGBA" if image.has_transparency_data else "RGB")
            target.parent.mkdir(parents=True, exist_ok=True)
            small.save(part, "WEBP", quality=_QUALITY, method=2)
            part.replace(target)
            return True
        return False
