"""The page of a run in a real browser, from the disk: it shows, finds, compares, and needs no mouse."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import msgspec
import pytest
from PIL import Image

from imagesdk.batch.gallery import PAGE, build
from imagesdk.batch.records import MANIFEST, Record

# The benchmarks are in no wheel. Their folder goes last, so that an installed imagesdk is the one tested.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks._browser import Browser
from benchmarks.gallery import measure, shoot

EVIL = (
    "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'> a <b>fox</b>"
)
MANY = 10_000
SCREENSHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
TALL: dict[str, Any] = {
    "file": "tall.png",
    "width": 100,
    "height": 300,
    "bytes": 1,
    "sha256": "cd" * 32,
}
SHOWN = "document.querySelectorAll('.row .card').length"


@pytest.fixture
def page(browser: Browser, run: Path) -> Iterator[Browser]:
    """The browser with the page, which may not complain about anything."""
    browser.complaints.clear()
    browser.resize(1280, 1600)
    browser.open(run / PAGE)
    browser.settle()
    yield browser
    assert browser.complaints == []
    assert browser.run("window.owned") is None


def record(number: int, images: int = 1, **more: Any) -> Record:
    """Return a record of a request whose images are all the same file."""
    custom_id = f"job-{number}"
    image = {"file": "00001/fox 100%#1.png", "mime_type": "image/png", "width": 300, "height": 200}
    image |= {"bytes": 1234, "sha256": "ab" * 32}
    fields: dict[str, Any] = {
        "custom_id": custom_id,
        "line": number,
        "status": "done",
        "endpoint": "generations",
        "params": {"prompt": f"picture {number}", "size": "300x200"},
        "key": "0",
        "images": [image] * images,
        "usage": {"total_tokens": 1234, "input_tokens_details": {"text_tokens": 9}},
        "request_id": f"req-{number}",
        "attempts": 1,
        "elapsed": 12.0,
        "error": None,
        "finished_at": f"2026-11-20T00:00:{number % 60:02}.000+00:00",
        "cost": 0.25,
    }
    return Record(**fields | more)


def failure(number: int, code: str, message: str = "not allowed") -> Record:
    """Return the record of a request that failed."""
    error = {"type": "ModerationError", "code": code, "message": message, "status": 400}
    return record(number, 0, status="rejected", error=error, cost=None, usage=None)


def write(out: Path, *records: Record) -> Path:
    """Write a run with one picture, and its page."""
    (out / "00001").mkdir(parents=True)
    Image.new("RGB", (300, 200), "teal").save(out / "00001/fox 100%#1.png")
    Image.new("RGB", (100, 300), "navy").save(out / TALL["file"])
    (out / MANIFEST).write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in records))
    build(out)
    return out


def compared(number: int, prompt: str, images: int = 1, **params: Any) -> Record:
    """Return a record of a prompt that is made in several ways."""
    return record(number, images, params={"prompt": prompt, **params})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything that a page may have to show."""
    small: dict[str, Any] = {"model": "m1", "size": "512x512"}
    large: dict[str, Any] = {"model": "m2", "size": "1024x1024"}
    return write(
        tmp_path_factory.mktemp("page") / "a <b>run & more",
        record(1, params={"prompt": EVIL}),
        record(2, 3),
        record(3, status="partial", error={"type": "PartialResultError", "message": "1 of 2"}),
        compared(4, "a fox", quality="high", **small),
        compared(5, "a fox", quality="low", **small),
        compared(6, "a fox", 6, quality="low", **large),
        compared(7, "an otter", quality="low", **small),
        attrs.evolve(compared(8, "an otter", quality="low", **large), images=[TALL]),
        failure(9, "content_policy_violation", f"no: {EVIL}"),
        failure(10, "content_policy_violation"),
        failure(11, "too_dark"),
    )


def texts(page: Browser, selector: str) -> list[str]:
    """Return the texts of all elements."""
    found: list[str] = page.run(
        f"[...document.querySelectorAll({selector!r})].map((e) => e.innerText)"
    )
    return found


def test_everything_is_there_and_every_picture_is_loaded(page: Browser) -> None:
    """A card for each image and each failure, from a thumbnail, with its prompt as text."""
    assert page.run(SHOWN) == 1 + 3 + 1 + 8 + 2 + 3
    assert page.run("document.querySelector('h1').textContent") == "a <b>run & more"
    assert texts(page, ".summary")[0].startswith("15 images · 11 requests · 4 failed · 2.00 spent")
    assert texts(page, ".card .title")[0] == EVIL
    loaded = page.run("[...document.images].map((i) => [i.naturalWidth, i.getAttribute('src')])")
    wide, tall = (f".thumbnails/{name}/{name * 32}.webp" for name in ("ab", "cd"))
    assert sorted(loaded) == [[100, tall], *[[300, wide]] * 14]
    assert "partial" in texts(page, ".badge")


def test_search_finds_and_escape_clears(page: Browser) -> None:
    """A slash goes to the search, every word must be there, and the address keeps it."""
    page.press("/", *"OTTER m2")
    page.settle()
    assert page.run(SHOWN) == 1
    assert texts(page, "#count") == ["1 of 18 shown"]
    assert page.run("location.hash") == "#q=OTTER+m2"
    page.press("Escape")
    page.settle()
    assert page.run(SHOWN) == 18
    page.press("/", *"nothing has this")
    page.settle()
    assert texts(page, ".empty") == ["Nothing fits. Clear the search or the filters."]


def test_filters_and_orders(page: Browser, run: Path) -> None:
    """Each trait that differs can be chosen, with its count; the newest can come first."""
    choices = texts(page, "#filters select[aria-label=Status] option")
    assert choices == ["Status: all", "done (7)", "partial (1)", "rejected (3)"]
    page.run(
        "{ const s = document.querySelector('select[aria-label=Status]');"
        "s.value = 'rejected'; s.dispatchEvent(new Event('change')); }"
    )
    assert page.run(SHOWN) == 3
    page.open(run / PAGE, "#status=rejected&sort=newest")
    assert page.run("document.querySelector('.card').title") == "picture 11"
    page.open(
        run / PAGE, "#model=none&size=300\N{MULTIPLICATION SIGN}200&quality=unknown&view=unknown"
    )
    assert page.run(SHOWN) == 1 + 3 + 1 + 3


def test_prompts_are_compared(page: Browser) -> None:
    """A row for each prompt, those made in several ways first, and a column for each way."""
    page.click("[data-view=compare]")
    page.settle()
    heads = [text.split("\n") for text in texts(page, ".heads > div:not(.corner)")]
    assert heads[:3] == [
        ["m1", "512\N{MULTIPLICATION SIGN}512 · low"],
        ["m2", "1024\N{MULTIPLICATION SIGN}1024 · low"],
        ["m1", "512\N{MULTIPLICATION SIGN}512 · high"],
    ]
    prompts = texts(page, ".prompt p:first-child")
    assert prompts[:2] == ["a fox", "an otter"]
    cells = page.run(
        "[...document.querySelector('.row').querySelectorAll('.cell')].map((c) => c.querySelectorAll('img').length)"
    )
    assert sorted(cells, reverse=True)[:3] == [4, 1, 1]  # of six, four are shown
    assert texts(page, ".row .more") == ["+2"]
    fits = page.run(
        "[...document.querySelectorAll('.row .well img')].every((i) => i.height <= i.parentElement.clientHeight)"
    )
    assert fits
    lefts = "[...document.querySelectorAll('%s')].map((e) => e.getBoundingClientRect().left)"
    assert page.run(lefts % ".heads > div") == page.run(lefts % ".row:nth-child(2) > div")
    assert texts(page, ".by button") == ["model", "size", "quality"]
    page.click(".by button:nth-child(3)")
    page.settle()
    assert page.run("location.hash") == "#view=compare&pooled=quality"
    assert len(texts(page, ".heads > div:not(.corner)")) == len(heads) - 1


def test_failures_are_told_with_their_reason(page: Browser) -> None:
    """Grouped by reason; a click shows those alone, and another all that is known of one."""
    assert texts(page, "nav .number") == ["4"]
    page.click("[data-view=failures]")
    page.settle()
    assert texts(page, ".reasons button") == [
        "All 4",
        "ModerationError · content_policy_violation 2",
        "PartialResultError 1",
        "ModerationError · too_dark 1",
    ]
    page.click(".reasons button:nth-child(2)")
    page.settle()
    assert texts(page, ".failure .who span:last-child") == ["job-9", "job-10"]
    page.click(".failure")
    page.settle()
    assert page.run("document.querySelector('dialog').open")
    assert f"no: {EVIL}" in texts(page, ".facts .error")


def test_details_tell_what_is_known(page: Browser) -> None:
    """The original in full, the parameters, the bytes' hash, the usage and the cost."""
    page.click(".card[title='a fox']")
    page.settle()
    assert page.run("document.querySelector('.picture img').src").endswith(
        "/00001/fox%20100%25%231.png"
    )
    assert page.run("document.querySelector('.picture img').naturalWidth") == 300
    told = texts(page, ".facts")[0].split("\n")
    for name, value in (
        ("model", "m1"),
        ("quality", "high"),
        ("pixels", "300 \N{MULTIPLICATION SIGN} 200"),
        ("SHA-256", "ab" * 32),
        ("cost", "0.25"),
        ("total tokens", "1,234"),
        ("input text tokens", "9"),
        ("request id", "req-4"),
        ("took", "12.0 s"),
    ):
        assert told[told.index(name) + 1] == value
    assert page.run("document.querySelectorAll('.strip .card').length") == 1 + 1 + 6


def test_no_mouse_is_needed(page: Browser) -> None:
    """Arrows go from card to card, Enter opens, arrows turn over, Escape goes back to where it was."""
    focused = "document.activeElement.title"
    page.press("ArrowDown")
    assert page.run(focused) == EVIL
    page.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert page.run(focused) == "picture 2"
    page.press("ArrowDown")
    below = page.run(focused)
    assert below not in ("picture 2", EVIL)
    page.press("ArrowUp")
    assert page.run(focused) == "picture 2"
    page.press("Enter")
    assert page.run("document.querySelector('dialog').open")
    page.press("ArrowRight", "ArrowRight", "ArrowRight")
    assert texts(page, ".facts .words")[0] == "picture 3"
    page.press("Escape")
    page.settle()
    assert not page.run("document.querySelector('dialog').open")
    assert page.run(focused) == "picture 3"


def test_every_control_has_a_name(page: Browser) -> None:
    """Who cannot see the page hears what each button is for."""
    nameless = (
        "[...document.querySelectorAll('button, select, input')].filter((e) => "
        "!(e.getAttribute('aria-label') || e.innerText.trim())).length"
    )
    assert page.run(nameless) == 0
    page.click("[data-view=compare]")
    page.settle()
    assert page.run(nameless) == 0


def test_it_fits_on_a_phone_and_into_the_dark(page: Browser, run: Path) -> None:
    """Nothing is wider than the screen; the button turns the light off, and that is remembered."""
    page.resize(390, 844)
    for view in ("gallery", "compare", "failures"):
        page.open(run / PAGE, f"#view={view}")
        page.settle()
        assert page.run("document.documentElement.scrollWidth") == 390
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(246, 246, 248)"
    page.click("#theme")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 18, 22)"
    page.run("localStorage.clear()")


def test_nothing_is_fetched_and_nothing_else_runs(browser: Browser, run: Path) -> None:
    """The page's policy keeps even its own script from the network."""
    browser.open(run / PAGE)
    refused = browser.run(
        """new Promise((done) => {
          addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
          fetch("http://127.0.0.1:9/").catch(() => 0);
        })"""
    )
    assert refused == "connect-src"
    browser.complaints.clear()


def test_the_pictures_of_the_docs_can_be_made_again(browser: Browser, tmp_path: Path) -> None:
    """All that docs/screenshots has of the gallery, in the same sizes, and each shows something else."""
    illustrations = [
        compared(n, "an illustration", quality=q) for n, q in ((1, "low"), (2, "high"))
    ]
    run = write(tmp_path / "run", *illustrations, failure(3, "too_dark"))
    shoot(browser, run, run, tmp_path / "made")
    committed = {path.name: path for path in SCREENSHOTS.glob("gallery*.webp")}
    made = sorted((tmp_path / "made").iterdir())
    assert {path.name for path in made} == set(committed)
    for path in made:
        with Image.open(path) as now, Image.open(committed[path.name]) as before:
            assert now.size == before.size
    assert len({path.read_bytes() for path in made}) == len(made)
    assert browser.complaints == []


def test_a_file_that_is_gone_is_told(browser: Browser, tmp_path: Path) -> None:
    """Instead of a broken picture."""
    out = write(tmp_path / "out", record(1))
    build(out, thumbnails=False)
    (out / ".thumbnails/ab" / f"{'ab' * 32}.webp").unlink()
    (out / "00001/fox 100%#1.png").unlink()
    browser.open(out / PAGE)
    browser.settle()
    assert browser.run("document.querySelector('.well').classList.contains('gone')")
    browser.complaints.clear()


def test_a_run_that_has_just_begun(browser: Browser, tmp_path: Path) -> None:
    """A page without records says so."""
    browser.open(write(tmp_path / "out") / PAGE)
    assert texts(browser, ".empty") == ["No request has ended yet."]
    browser.click("[data-view=failures]")
    assert texts(browser, ".empty") == ["Nothing failed."]


def test_ten_thousand_images_stay_usable(browser: Browser, tmp_path: Path) -> None:
    """Only what can be seen is in the document, wherever one is, and a search answers at once."""
    first = record(1)
    many = (
        attrs.evolve(first, custom_id=f"job-{n}", line=n, params={"prompt": f"picture number {n}"})
        for n in range(1, MANY + 1)
    )
    page = write(tmp_path / "out", *many) / PAGE
    measured = measure(browser, page)
    assert measured.nodes < 1000
    # Some 30 ms, if the machine has nothing else to do.
    assert median(measured.keystrokes) < 500
    assert median(measured.scrolls) < 500
    browser.open(page)
    browser.settle()
    assert texts(browser, ".summary")[0].startswith("10,000 images")
    browser.run("document.querySelector('main').scrollTop = 1e9")
    browser.settle()
    assert f"picture number {MANY}" in texts(browser, ".card .title")
    assert browser.run("document.querySelectorAll('*').length") < 1000
