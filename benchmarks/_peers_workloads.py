"""The workloads of ``python -m benchmarks``: what is asked for, how often, and of whom."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ("BASELINE", "OURS", "WORKLOADS", "Kind", "Workload")

Kind: TypeAlias = Literal["small", "save", "upload", "stream", "map"]

MB = 1_000_000
OURS = "imagesdk"
BASELINE = "AsyncOpenAI"
_HAND = "hand-written loop"
_RAW = "raw socket"
_PLAIN = "aiohttp script"
_SDKS = (OURS, BASELINE, "LiteLLM")
_SLOWER = {BASELINE: 5, "LiteLLM": 10}
"""Small answers: a fraction of the requests, which takes them as long as the others."""


@attrs.frozen(kw_only=True)
class Workload:
    """One thing to measure.

    Attributes:
        name: For ``--only``.
        title: For people.
        kind: What a request does.
        requests: How many.
        concurrency: How many at a time.
        size_bytes: Of an image.
        n: Images of a request; partial images of a stream.
        form: What an upload is given as.
        decides: A figure to be reached depends on it; these have more rounds.
    """

    name: str
    title: str
    kind: Kind
    requests: int
    concurrency: int
    size_bytes: int = 512
    n: int = 1
    form: Literal["path", "bytes", "BytesIO"] = "path"
    decides: bool = False

    @property
    def clients(self) -> tuple[str, ...]:
        """The clients that can do it, ours first."""
        return {
            "small": (*_SDKS, _PLAIN, _RAW),
            "save": (*_SDKS, _PLAIN, _HAND, _RAW),
            "upload": (*_SDKS, _PLAIN),
            "stream": (OURS, BASELINE, _PLAIN, _RAW),  # LiteLLM has no partial images
            "map": (OURS,),
        }[self.kind]

    def requests_of(self, client: str) -> int:
        """Return how many requests a client makes."""
        fraction = _SLOWER.get(client, 1) if self.kind == "small" else 1
        return max(self.concurrency, self.requests // fraction)


def _small(concurrency: int, requests: int) -> Workload:
    return Workload(
        name=f"small-{concurrency}",
        title=f"Small JSON answers (url), {_in_flight(concurrency)}",
        kind="small",
        requests=requests,
        concurrency=concurrency,
        decides=concurrency == 32,
    )


def _save(size: int, n: int, concurrency: int, requests: int) -> Workload:
    images = "1 image" if n == 1 else f"{n} images"
    return Workload(
        name=f"save-{n}x{size}mb-{concurrency}",
        title=f"{requests} answers of {images} of {size} MB to disk, {_in_flight(concurrency)}",
        kind="save",
        requests=requests,
        concurrency=concurrency,
        size_bytes=size * MB,
        n=n,
        decides=(size, n, concurrency) in ((20, 1, 32), (20, 4, 8)),
    )


def _upload(
    size: int, n: int, concurrency: int, form: Literal["path", "bytes", "BytesIO"]
) -> Workload:
    requests = "1 upload" if concurrency == 1 else f"{concurrency} uploads"
    return Workload(
        name=f"upload-{n}x{size}mb-{concurrency}-{form.lower()}",
        title=f"{requests} of {n} x {size} MB from {form}, {_in_flight(concurrency)}",
        kind="upload",
        requests=concurrency,
        concurrency=concurrency,
        size_bytes=size * MB,
        n=n,
        form=form,
        decides=form == "path" and (size, n, concurrency) in ((4, 1, 32), (20, 16, 1)),
    )


def _stream(concurrency: int) -> Workload:
    streams = "1 stream" if concurrency == 1 else f"{concurrency} streams"
    return Workload(
        name=f"stream-{concurrency}",
        title=f"{streams} of three 2 MB partial images and the last, {_in_flight(concurrency)}",
        kind="stream",
        requests=concurrency,
        concurrency=concurrency,
        size_bytes=2 * MB,
        n=3,
        decides=concurrency == 32,
    )


def _in_flight(concurrency: int) -> str:
    return f"{concurrency} in flight" if concurrency > 1 else "one at a time"


_ALL = (
    _small(1, 1000),
    _small(8, 3000),
    _small(32, 8000),
    _save(1, 1, 1, 16),
    _save(1, 1, 8, 32),
    _save(1, 1, 32, 64),
    _save(4, 1, 1, 8),
    _save(4, 1, 8, 32),
    _save(4, 1, 32, 32),
    _save(20, 1, 1, 2),
    _save(20, 1, 8, 8),
    _save(20, 1, 32, 32),
    _save(1, 4, 8, 16),
    _save(4, 4, 8, 8),
    _save(20, 4, 8, 8),
    _upload(4, 1, 1, "path"),
    _upload(4, 1, 8, "path"),
    _upload(4, 1, 32, "path"),
    _upload(4, 1, 32, "bytes"),
    _upload(4, 1, 32, "BytesIO"),
    _upload(20, 16, 1, "path"),
    _upload(20, 16, 1, "bytes"),
    _upload(20, 16, 1, "BytesIO"),
    _upload(20, 16, 8, "path"),
    _stream(1),
    _stream(8),
    _stream(32),
    Workload(
        name="map",
        title="100,000 requests through map, 32 in flight",
        kind="map",
        requests=100_000,
        concurrency=32,
    ),
)
WORKLOADS = {workload.name: workload for workload in _ALL}
"""In the order in which they are run."""
