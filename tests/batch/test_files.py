"""The image files of a run: names, places and descriptions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from imagesdk.batch.files import ARRIVING, arrived, describe, in_place, is_there, place, stems

KEY = "0123456789abcdef" * 2


def test_the_best_name_comes_first() -> None:
    """An id that is a plain name is the name; further names hold its hash."""
    digest = hashlib.sha256(b"fox").hexdigest()
    assert list(stems("fox")) == ["fox", f"fox-{digest[:8]}", f"fox-{digest}"]


@pytest.mark.parametrize(
    "custom_id", ["../../x", "/etc/passwd", "..", ".", "a\0b", "C:\\x", "-", "狐"]
)
def test_a_name_never_leaves_the_folder(custom_id: str) -> None:
    """What is no plain character is left out, and no name begins with a dot."""
    for stem in stems(custom_id):
        assert not {*stem} & {*"/\\:\0"}
        assert stem[0] not in ".-"


def test_a_folder_has_at_most_a_thousand_files() -> None:
    """Images fill one folder after the other, also those of a request for very many."""
    names = [place(f"job{first}", first, n) for first in range(0, 4000, 2) for n in (1, 2)]
    names += [place("many", 4000, number) for number in range(1, 2501)]
    counts = Counter(name.rpartition("/")[0] for name in names)
    assert max(counts.values()) <= 995
    assert len(counts) == 7
    assert len(set(names)) == len(names)
    assert names[0] == "job0-1"
    assert names[-1] == "00006/many-2500"


def test_an_image_is_described(tmp_path: Path, png: Callable[..., bytes]) -> None:
    """A description has name, type, size, bytes and hash of the file."""
    (tmp_path / "00001").mkdir()
    content = png((7, 5))
    path = tmp_path / "00001" / "a-1.png"
    path.write_bytes(content)
    assert describe(tmp_path, path) == {
        "file": "00001/a-1.png",
        "mime_type": "image/png",
        "width": 7,
        "height": 5,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert is_there(tmp_path, [{"file": "00001/a-1.png"}])
    assert not is_there(tmp_path, [{"file": "00001/a-1.png"}, {"file": "a-2.png"}])


def test_a_file_that_is_no_image_is_described_as_far_as_it_goes(tmp_path: Path) -> None:
    """Without a known header there is no type and no size in pixels."""
    path = tmp_path / "a-1.bin"
    path.write_bytes(b"what is this")
    described = describe(tmp_path, path)
    assert (described["mime_type"], described["width"], described["bytes"]) == (None, None, 12)


def test_what_arrived_is_found_and_what_is_torn_removed(tmp_path: Path) -> None:
    """Complete images are found by request and number; files of others are left alone."""
    assert arrived(tmp_path) == {}
    folder = tmp_path / ARRIVING
    folder.mkdir()
    for name in (f"{KEY}-1.png", f"{KEY}-12.jpg", ".imagesdk-1.part", "note.txt"):
        (folder / name).write_bytes(b"")
    assert arrived(tmp_path) == {KEY: {1: folder / f"{KEY}-1.png", 12: folder / f"{KEY}-12.jpg"}}
    assert not (folder / ".imagesdk-1.part").exists()
    assert (folder / "note.txt").exists()


def test_an_image_in_its_place_is_found_with_any_suffix(tmp_path: Path) -> None:
    """The server chooses the format, so the suffix is looked for."""
    assert in_place(tmp_path, "a-1") is None
    (tmp_path / "a-1.webp").write_bytes(b"")
    assert in_place(tmp_path, "a-1") == tmp_path / "a-1.webp"
