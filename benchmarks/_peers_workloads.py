"""The workloads of ``python -m benchmarks``: what is asked for, how often, and of whom."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

__all__ = ("BASELINE", "OURS", "WORKLOADS", "Form", "Kind", "Workload")

Kind: TypeAlias = Literal["small", "save", "upload", "stream", "map"]
Form: TypeAlias = Literal["path", "bytes", "BytesIO"]

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
    form: Form = "path"
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

    @property
    def memory_bytes(self) -> int:
        """About the most that one of the clients takes: some hold an answer four times over, an upload once."""
        in_flight = self.concurrency * self.n * self.size_bytes
        return in_flight * 6 // 5 if self.kind == "upload" else in_flight * 5

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


def _upload(size: int, n: int, concurrency: int, form: Form) -> Workload:
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


_CONCURRENCIES = (1, 8, 32)
_ANSWERS = {  # images of so many MB, so many in one answer: how many answers with 1, 8 and 32 in flight
    (1, 1): (16, 32, 64),
    (4, 1): (8, 32, 32),
    (20, 1): (2, 8, 32),
    (1, 4): (8, 16, 32),
    (4, 4): (4, 8, 32),
    (20, 4): (2, 8, 32),
}
_FORMS: tuple[Form, ...] = ("path", "bytes", "BytesIO")
_ALL = (
    *map(_small, _CONCURRENCIES, (1000, 3000, 8000)),
    *(
        _save(size, n, concurrency, requests)
        for (size, n), answers in _ANSWERS.items()
        for concurrency, requests in zip(_CONCURRENCIES, answers, strict=True)
    ),
    *(
        _upload(size, n, concurrency, form)
        for size, n in ((4, 1), (20, 16))
        for form in _FORMS
        for concurrency in _CONCURRENCIES
    ),
    *map(_stream, _CONCURRENCIES),
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
