from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from imagesdk.client.config import read_endpoint
from imagesdk.client.downloads import Downloader, expiry
from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    APIError,
    ConfigurationError,
    ConnectError,
    ExpiredURLError,
    ImageSDKError,
    PayloadTooLargeError,
    ProtocolError,
    RequestTimeoutError,
    ResponseInterruptedError,
    ServerError,
)
from imagesdk.events import Downloaded, Event
from imagesdk.protocol.parts import MemorySink
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time
from imagesdk.transport._aiohttp import AiohttpTransport

T = TypeVar("T")
Step = ScriptedAnswer | ImageSDKError
BASE = "http://server:8000/v1"
KEY = "sk-test-download"
IMAGE = ScriptedAnswer(b"image", headers={"content-type": "image/png"})


def run(main: Callable[[], Awaitable[T]]) -> T:
    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def moved(location: str, status: int = 302) -> ScriptedAnswer:
    return ScriptedAnswer(b"", status=status, headers={"location": location})


class Fetched:
    """What came of reading an image whose URL the server named."""

    def __init__(self, url: str, *steps: Step, base_url: str = BASE, **options: Any) -> None:
        self.events: list[Event] = []
        self.error: Any = None
        self.content = b""
        self.transport = ScriptedTransport(
            [ScriptedAnswer({"created": 1_700_000_000, "data": [{"url": url}]}), *steps]
        )
        run(lambda: self._main({"base_url": base_url, **options}))

    async def _main(self, options: dict[str, Any]) -> None:
        async with ImageSession(
            api_key=KEY,
            transport=self.transport,
            on_event=self.events.append,
            **options,
        ) as images:
            self.image = (await images.generate("a fox")).data[0]
            try:
                self.content = await self.image.read()
            except ImageSDKError as error:
                self.error = error

    @property
    def gets(self) -> list[SentRequest]:
        return self.transport.requests[1:]

    @property
    def with_key(self) -> list[bool]:
        return ["Authorization" in request.credentials for request in self.gets]


@pytest.mark.parametrize(
    ("url", "asked", "with_key"),
    [
        (f"{BASE}/files/a.png", f"{BASE}/files/a.png", True),
        ("http://SERVER:8000/a.png?x=1", "http://SERVER:8000/a.png?x=1", True),
        ("/files/a.png", "http://server:8000/files/a.png", True),
        ("files/a.png", f"{BASE}/files/a.png", True),
        ("//server:8000/a.png", "http://server:8000/a.png", True),
        ("//cdn/a.png", "http://cdn/a.png", False),
        ("https://server:8000/a.png", "https://server:8000/a.png", False),
        ("http://server:8001/a.png", "http://server:8001/a.png", False),
        ("http://server/a.png", "http://server/a.png", False),
        ("http://server.evil/a.png", "http://server.evil/a.png", False),
        ("http://server:8000@evil/a.png", "http://server:8000@evil/a.png", False),
        ("https://cdn.example/a.png?sig=x", "https://cdn.example/a.png?sig=x", False),
    ],
)
def test_key_goes_to_the_origin_only(url: str, asked: str, with_key: bool) -> None:  # noqa: FBT001
    """The key goes to scheme, host and port of base_url, relative URLs included, and nowhere else."""
    fetched = Fetched(url, IMAGE)
    assert fetched.content == b"image"
    assert [(r.method, r.url) for r in fetched.gets] == [("GET", asked)]
    assert fetched.with_key == [with_key]
    assert [request.foreign for request in fetched.gets] == [not with_key]
    downloaded = fetched.events[-1]
    assert isinstance(downloaded, Downloaded)
    assert (downloaded.size_bytes, downloaded.endpoint) == (5, "downloads")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(status: int) -> None:
    """A redirect is followed, relative or not, and its own origin decides about the key."""
    fetched = Fetched(
        "/a", moved("b", status), moved("http://cdn/c", status), moved(f"{BASE}/d", status), IMAGE
    )
    assert fetched.content == b"image"
    assert [r.url for r in fetched.gets] == [
        "http://server:8000/a",
        "http://server:8000/b",
        "http://cdn/c",
        f"{BASE}/d",
    ]
    assert fetched.with_key == [True, True, False, True]
    assert [request.foreign for request in fetched.gets] == [False, False, True, False]


def test_https_stays_https() -> None:
    """Where base_url is https, nothing is fetched over http, redirects included."""
    secure = "https://server/v1"
    assert Fetched("https://cdn/a.png", IMAGE, base_url=secure).content == b"image"
    for fetched in (
        Fetched("http://cdn/a.png", base_url=secure),
        Fetched("http://server/a.png", base_url=secure),
        Fetched("/a.png", moved("http://cdn/a.png?sig=secret"), base_url=secure),
    ):
        assert isinstance(fetched.error, ProtocolError)
        assert "/a.png; it must be https, as base_url is" in str(fetched.error)
        assert len(fetched.gets) <= 1


def test_too_many_redirects() -> None:
    """After three redirects it ends, without asking again."""
    fetched = Fetched("/a", *[moved("/a?sig=secret")] * 4)
    assert isinstance(fetched.error, ProtocolError)
    assert len(fetched.gets) == 4
    assert "redirected more than 3 times, last to http://server:8000/a" in str(fetched.error)
    assert "secret" not in str(fetched.error)


def test_redirect_without_a_target() -> None:
    """A redirect that leads nowhere is the server's refusal."""
    fetched = Fetched("/a", ScriptedAnswer(b"", status=302))
    assert isinstance(fetched.error, APIError)
    assert fetched.error.status == 302


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://server:8000/a",
        "https://",
        "http://host:port/",
        "http://[::1/a.png",
        "javascript:alert(1)",
    ],
)
def test_urls_that_are_not_fetched(url: str) -> None:
    """Only http and https are fetched, whether the answer or a redirect names the URL."""
    first = Fetched(url)
    assert isinstance(first.error, ProtocolError)
    assert first.gets == []
    redirected = Fetched("/a", moved(url))
    assert isinstance(redirected.error, ProtocolError)
    assert len(redirected.gets) == 1


@pytest.mark.parametrize("status", [403, 404, 410])
def test_expired(status: int) -> None:
    """A URL that no longer works is an error that says the way out, without the signature."""
    gone = ScriptedAnswer(b"", status=status, headers={"x-request-id": "r"})
    error = Fetched("https://cdn/a.png?se=2023-11-14T23:13:20Z&sig=secret", gone).error
    assert isinstance(error, ExpiredURLError)
    assert (error.status, error.url, error.request_id) == (status, "https://cdn/a.png", "r")
    assert error.expired_at == datetime(2023, 11, 14, 23, 13, 20, tzinfo=UTC)
    assert "good until 2023-11-14 23:13:20 UTC" in str(error)
    assert "ask for response_format='b64_json'" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "step",
    [
        ScriptedAnswer(b"", status=500),
        ScriptedAnswer(b"", status=504),
        ScriptedAnswer(b"", status=429),
        ConnectError("refused"),
        ResponseInterruptedError("reset", phase="receive"),
        ScriptedAnswer(b"12345", break_after=3),
        ScriptedAnswer(b""),
        ScriptedAnswer(b"late", delay=200.0),
    ],
    ids=lambda step: str(step)[:60],
)
def test_only_the_download_is_repeated(step: Step) -> None:
    """A download that fails is repeated up to three times, the generation never."""
    fetched = Fetched("/a", step, step, IMAGE)
    assert fetched.content == b"image"
    assert [r.method for r in fetched.transport.requests] == ["POST", "GET", "GET", "GET"]
    failed = Fetched("/a", *[step] * 3)
    assert isinstance(failed.error, ImageSDKError)
    assert failed.transport.open == 0
    assert len(failed.gets) == 3


def test_download_that_takes_too_long() -> None:
    """A download has two minutes; the error names the URL without its signature."""
    error = Fetched("/a?sig=secret", *[ScriptedAnswer(b"late", delay=200.0)] * 3).error
    assert isinstance(error, RequestTimeoutError)
    assert "http://server:8000/a took longer than 120 s" in str(error)
    assert "secret" not in str(error)


def test_long_delays_are_not_slept_through() -> None:
    """A server that wants an hour's pause gets no hour of read(): its refusal is raised."""
    hour = ScriptedAnswer(b"", status=503, headers={"retry-after": "3600"})
    fetched = Fetched("/a", hour)
    assert isinstance(fetched.error, ServerError)
    assert fetched.error.retry_after == 3600
    assert len(Fetched("/a", *[hour.__class__(b"", status=503)] * 2, IMAGE).gets) == 3


def test_final_refusals() -> None:
    """A refusal that time does not change is raised at once, with the key blotted out."""
    fetched = Fetched("/a", ScriptedAnswer({"error": {"message": f"key {KEY}?"}}, status=401))
    assert isinstance(fetched.error, APIError)
    assert (fetched.error.status, len(fetched.gets)) == (401, 1)
    assert "key ***?" in str(fetched.error)


async def test_size_cap() -> None:
    """An image larger than the cap is not read on."""
    transport = ScriptedTransport(lambda _: ScriptedAnswer(b"x" * 1001, chunk_bytes=100))
    endpoint = read_endpoint(api_key=KEY, base_url=BASE, organization=None, project=None)
    sizes: list[int] = []
    downloader = Downloader(
        transport=transport, endpoint=endpoint, max_bytes=1000, on_downloaded=sizes.append
    )
    with pytest.raises(PayloadTooLargeError, match="larger than 1,000 bytes"):
        await downloader.fetch("/a", None, MemorySink)
    assert (len(transport.requests), sizes) == (1, [])
    transport = ScriptedTransport(lambda _: ScriptedAnswer(b"x" * 1000))
    downloader.transport = transport
    assert len((await downloader.fetch("/a", None, MemorySink)).content) == 1000
    assert sizes == [1000]


@pytest.mark.parametrize("host", ["127.1", "a" * 300, "127.0.0.1\\@server"])
async def test_hosts_that_are_none(host: str) -> None:
    """What the transport cannot ask is the server's mistake, not that of the caller's request."""
    endpoint = read_endpoint(api_key=KEY, base_url=BASE, organization=None, project=None)
    downloader = Downloader(
        transport=AiohttpTransport(), endpoint=endpoint, max_bytes=9, on_downloaded=lambda _: None
    )
    with pytest.raises(ProtocolError, match="its host is none"):
        await downloader.fetch(f"http://{host}/a", None, MemorySink)
    await downloader.transport.aclose()


def test_closed_session() -> None:
    """After the session is closed nothing is downloaded, but what was read stays."""

    async def main() -> int:
        answer = ScriptedAnswer({"data": [{"url": "/a"}, {"url": "/b"}]})
        transport = ScriptedTransport([answer, IMAGE])
        async with ImageSession(base_url=BASE, transport=transport) as images:
            first, second = (await images.generate("a fox", n=2)).data
            await first.read()
        assert await first.read() == b"image"
        with pytest.raises(ConfigurationError, match="the session is closed"):
            await second.read()
        return len(transport.requests)

    assert run(main) == 2


HOUR_LATER = datetime(2023, 11, 14, 23, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", HOUR_LATER),
        ("?st=2023-01-01", HOUR_LATER),
        ("?se=2023-12-01T10:00:00Z&sig=a%2Bb", datetime(2023, 12, 1, 10, tzinfo=UTC)),
        ("?SE=2023-12-01T10%3A00%3A00%2B00%3A00", datetime(2023, 12, 1, 10, tzinfo=UTC)),
        ("?se=2023-12-01T10:00:00", datetime(2023, 12, 1, 10, tzinfo=UTC)),
        ("?se=soon", None),
        (
            "?X-Amz-Date=20231201T100000Z&X-Amz-Expires=3600",
            datetime(2023, 12, 1, 11, tzinfo=UTC),
        ),
        (
            "?X-Goog-Date=20231201T100000Z&X-Goog-Expires=60",
            datetime(2023, 12, 1, 10, 1, tzinfo=UTC),
        ),
        ("?X-Amz-Date=yesterday&X-Amz-Expires=3600", HOUR_LATER),
        ("?X-Amz-Date=20231301T100000Z&X-Amz-Expires=1", None),
        ("?Expires=1701424800&Signature=x", datetime(2023, 12, 1, 10, tzinfo=UTC)),
        ("?Expires=99999999999999999999", None),
        ("?Expires=never", None),
    ],
)
def test_expiry(query: str, expected: datetime | None) -> None:
    """The expiry is what the signature says, or an hour after creation."""
    assert expiry(f"https://cdn/a.png{query}", 1_700_000_000) == expected


def test_expiry_of_anything() -> None:
    """A URL that is none, or an absurd time, has no expiry and raises nothing."""
    assert expiry("http://[::1/a.png", 1) is None
    assert expiry("https://cdn/a.png", None) is None
    assert expiry("https://cdn/a.png", 10**20) is None
