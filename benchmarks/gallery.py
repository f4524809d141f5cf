"""Look at the gallery in a real Chromium: make its screenshots, and measure it with many images.

The pictures are those that the emulator paints, by a batch that is run for them. For the measurement each of
*images* records has an image and a thumbnail of its own, so that the browser has to load and decode each
of them::

    python -m benchmarks.gallery                                    # measure 10,000 images
    python -m benchmarks.gallery --screenshots docs/screenshots     # and make the pictures of the docs
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import attrs
import msgspec

from benchmarks._browser import Browser, find_program
from imagesdk.batch.gallery import THUMBNAILS, build
from imagesdk.batch.jobs import read_jobs
from imagesdk.batch.records import MANIFEST, read_manifest
from imagesdk.batch.runner import run_jobs
from imagesdk.batch.worker import Worker
from imagesdk.client.session import ImageSession
from imagesdk.emulator import EmulatorServer

__all__ = ("Measured", "main", "many", "measure", "sample", "shoot")

_PROMPTS = (
    "a white siamese cat",
    "a cute baby sea otter",
    "a red fox asleep in fresh snow, soft morning light",
    "a small harbour at sunset, orange sky over a calm blue sea",
    "a wooden house below a snowy mountain at night, stars",
    "a friendly robot watering flowers in a green garden",
    "a city skyline in the rain, teal and violet",
    "a pine forest with a path, early autumn",
    "a corgi in a field of flowers",
    "an abstract poster of circles and lines in red, yellow and blue",
)
_COMPARED = 5
_KEYS = "siamese"


def _requests() -> Iterator[Mapping[str, Any]]:
    for prompt in _PROMPTS:
        yield {"prompt": prompt, "size": "512x512", "n": 2}
        for size in ("1536x1024", "1024x1536"):
            yield {
                "prompt": f"{prompt}, wide angle",
                "model": "gpt-image-1.5",
                "quality": "low",
                "size": size,
            }
    for prompt in _PROMPTS[:_COMPARED]:
        for model, quality in (
            ("gpt-image-1.5", "low"),
            ("gpt-image-1.5", "high"),
            ("gpt-image-1-mini", "low"),
        ):
            for size in ("1024x1024", "1536x1024"):
                yield {
                    "prompt": f"{prompt}, as an illustration",
                    "model": model,
                    "quality": quality,
                    "size": size,
                }
    for number in range(4):
        yield {"prompt": f"a [blocked] picture, number {number}", "size": "512x512"}
    yield {"prompt": "a fox", "model": "gpt-image-99"}


async def sample(out: Path) -> None:
    """Run a batch into *out*: prompts in several sizes, qualities and models, and some that fail."""
    lines = [
        msgspec.json.encode({"id": f"picture-{n:03}", **r}) for n, r in enumerate(_requests(), 1)
    ]
    async with (
        EmulatorServer(images_per_minute=None, record_requests=False) as server,
        ImageSession(
            base_url=server.base_url, api_key="sk-test", images_per_minute=None, validate="off"
        ) as session,
    ):
        await run_jobs(Worker(session, out), read_jobs(lines, Path()), out)


def many(source: Path, out: Path, images: int) -> None:
    """Make a run of *images* records in *out* from the images and thumbnails of the run in *source*."""
    records = [
        record for record in read_manifest(source / MANIFEST) if record.images or record.error
    ]
    with (out / MANIFEST).open("wb") as manifest:
        for number in range(images):
            record = records[number % len(records)]
            copies = [_copy(source, out, number, image) for image in record.images[:1]]
            new = attrs.evolve(
                record, custom_id=f"picture-{number:06}", line=number + 1, images=copies
            )
            manifest.write(msgspec.json.encode(new) + b"\n")


def _copy(source: Path, out: Path, number: int, image: Mapping[str, Any]) -> Mapping[str, Any]:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    name = f"{number // 990:05}/picture-{number:06}-1{Path(image['file']).suffix}"
    of = str(image["sha256"])
    for old, new in (
        (source / image["file"], out / name),
        (
            source / THUMBNAILS / of[:2] / f"{of}.webp",
            out / THUMBNAILS / digest[:2] / f"{digest}.webp",
        ),
    ):
        new.parent.mkdir(parents=True, exist_ok=True)
        os.link(old, new)
    return {**image, "file": name, "sha256": digest}


@attrs.frozen(kw_only=True)
class Measured:
    """What the browser took, in milliseconds unless said otherwise.

    Attributes:
        page_mb: Size of the page, in millions of bytes.
        first_paint: From the begin of the navigation to the first picture of the page.
        keystrokes: From each key in the search field to the frame that shows what was found.
        scrolls: From each jump to another place to the frame that shows it.
        compare: From the click to the frame that shows the comparison.
        nodes: Elements in the document after that.
        heap_mb: Memory of the script, in millions of bytes.
    """

    page_mb: float
    first_paint: float
    keystrokes: Sequence[float]
    scrolls: Sequence[float]
    compare: float
    nodes: int
    heap_mb: float


def measure(browser: Browser, page: Path) -> Measured:
    """Use a page as a person does, and measure what it takes."""
    browser.open(page)
    browser.settle()
    first_paint = browser.run("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    browser.run(
        """{
          window.taken = [];
          const note = (event) => {
            const begin = event.timeStamp;
            requestAnimationFrame(() => { const { port1, port2 } = new MessageChannel();
              port1.onmessage = () => taken.push(performance.now() - begin); port2.postMessage(0); });
          };
          addEventListener("input", note, true);
          document.querySelector("nav").addEventListener("click", note, true);
        }"""
    )
    browser.press("/")
    for key in _KEYS:
        browser.press(key)
        browser.settle()
    keystrokes = browser.run("taken.splice(0)")
    browser.press("Escape")
    browser.settle()
    scrolls = browser.run(
        """(async () => {
          const main = document.querySelector("main"), times = [];
          for (let turn = 1; turn <= 20; turn++) {
            const begin = performance.now();
            main.scrollTop = main.scrollHeight * ((turn * 7919) % 1000) / 1000;
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            times.push(performance.now() - begin);
          }
          return times;
        })()"""
    )
    browser.run("taken.length = 0")
    browser.click("[data-view=compare]")
    browser.settle()
    return Measured(
        page_mb=page.stat().st_size / 1e6,
        first_paint=first_paint,
        keystrokes=keystrokes,
        scrolls=scrolls,
        compare=browser.run("taken.pop()"),
        nodes=browser.run("document.querySelectorAll('*').length"),
        heap_mb=browser.run("performance.memory.usedJSHeapSize") / 1e6,
    )


def shoot(browser: Browser, run: Path, large: Path, folder: Path) -> None:
    """Make the pictures of the docs.

    Args:
        browser: Is left light, with 1280 x 800 pixels.
        run: Folder with a gallery, in which something is called an illustration, and something failed.
        large: Folder with a gallery of many images.
        folder: Where the pictures go.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def take(name: str, page: Path, fragment: str = "", script: str = "") -> None:
        browser.open(page, fragment)
        browser.settle()
        if script:
            browser.run(script)
        path = folder / f"{name}.webp"
        browser.screenshot(path, quality=80)
        print(f"{path}  {path.stat().st_size / 1e3:.0f} kB", *browser.complaints)

    page = run / "index.html"
    browser.resize(390, 844, 2.0)
    take("gallery-phone", page)
    browser.resize(1280, 800)
    browser.darken(on=True)
    take("gallery-dark", page, "#zoom=280")
    browser.darken(on=False)
    take("gallery", page)
    take("gallery-compare", page, "#view=compare&zoom=160&q=illustration")
    take("gallery-failures", page, "#view=failures")
    take("gallery-detail", page, "#q=illustration", "document.querySelector('.card').click()")
    take(
        "gallery-10000",
        large / "index.html",
        "#zoom=100",
        "document.querySelector('main').scrollTop = 20000",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a batch, measure its gallery, make the screenshots if asked to, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery", description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="(default: 10000)")
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="make them there")
    options = parser.parse_args(arguments)
    program = find_program()
    if program is None:
        print("there is no Chromium here", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        run, large = Path(folder) / "pictures", Path(folder) / "many"
        large.mkdir()
        asyncio.run(sample(run))
        begin = perf_counter()
        page = build(run)
        print(
            f"{page.images} images, {page.thumbnails} thumbnails in {perf_counter() - begin:.1f} s"
        )
        many(run, large, options.images)
        begin = perf_counter()
        build(large)
        print(f"the page of {options.images:,} records in {perf_counter() - begin:.1f} s")
        with Browser(program) as browser:
            measured = measure(browser, large / "index.html")
        keys, scrolls = measured.keystrokes, measured.scrolls
        print(
            f"{measured.page_mb:.1f} MB; first paint {measured.first_paint:.0f} ms; "
            f"keystroke {statistics.median(keys):.0f} ms, at most {max(keys):.0f}; "
            f"jump {statistics.median(scrolls):.0f} ms, at most {max(scrolls):.0f}; "
            f"compare {measured.compare:.0f} ms; {measured.nodes} elements, {measured.heap_mb:.0f} MB"
        )
        if options.screenshots is not None:
            with Browser(program) as browser:
                shoot(browser, run, large, options.screenshots)
    return 0


if __name__ == "__main__":
    sys.exit(main())
