"""Fetch images from the URLs that a server names.

The key goes to base_url's own origin and nowhere else, redirects included. A URL may be anything that
a server says: each one, after a redirect too, must be http or https, and https if base_url is; what is
not of base_url's origin is fetched from a public address only, see `imagesdk.transport.addresses`.
Only the download is ever repeated, never the generation that was paid for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import parse_qs, urljoin, urlsplit

import attrs

from imagesdk.client.api import FreeCall
from imagesdk.client.config import Endpoint, Hidden, origin_of
from imagesdk.client.receiving import receive_image
from imagesdk.errors import (
    ConfigurationError,
    ExpiredURLError,
    ImageSDKError,
    InvalidRequestError,
    ProtocolError,
    RequestTimeoutError,
    ResponseInterruptedError,
)
from imagesdk.protocol.encode import WireRequest
from imagesdk.protocol.parts import PartSink
from imagesdk.protocol.refusals import MAX_ERROR_BYTES, refusal, shown_url
from imagesdk.retry import RetryPolicy, retrying
from imagesdk.transport.base import Progress, Reply, Transport, read_all

__all__ = ("Downloader", "expiry")

S = TypeVar("S", bound=PartSink)

_MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({403, 404, 410})
_LIFETIME = timedelta(hours=1)
"""URLs expire after an hour: https://platform.openai.com/docs/guides/images (2023)"""
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity"}
"""Images are compressed as they are."""
_ATTEMPT_TIMEOUT = 120.0
# A GET costs nothing, so every failure may be repeated.
_POLICY = RetryPolicy(3, ambiguous="always")
_COMPACT_DATE = re.compile(r"\d{8}T\d{6}Z")


def expiry(url: str, created: int | None) -> datetime | None:
    """Return when *url* stops working: what its signature says, or an hour after *created*.

    Args:
        url: Signed URLs of Azure (``se``), S3 and Google (``…-Date`` with ``…-Expires``) and CloudFront
            (``Expires``) are understood.
        created: Seconds since 1970, None if the server did not say.
    """
    try:
        query = {name.lower(): values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
        if "se" in query:
            moment = datetime.fromisoformat(query["se"])
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        for vendor in ("x-amz", "x-goog"):
            date = query.get(f"{vendor}-date", "")
            if _COMPACT_DATE.fullmatch(date) and f"{vendor}-expires" in query:
                signed = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                return signed + timedelta(seconds=int(query[f"{vendor}-expires"]))
        if "expires" in query:
            return datetime.fromtimestamp(int(query["expires"]), UTC)
        return None if created is None else datetime.fromtimestamp(created, UTC) + _LIFETIME
    except (ValueError, OverflowError, OSError):
        return None


@attrs.define(kw_only=True, eq=False)
class Downloader:
    """Fetch images for one session.

    Attributes:
        transport: Shared with the session.
        endpoint: Base of relative URLs, and the only origin that gets the credentials.
        max_bytes: Largest image that is accepted.
        on_downloaded: Called with the size in bytes of each image.
    """

    transport: Transport
    endpoint: Endpoint
    max_bytes: int
    on_downloaded: Callable[[int], None]
    _closed: bool = attrs.field(default=False, init=False)
    _deadlines: set[asyncio.Timeout] = attrs.field(factory=set, init=False)

    def close(self) -> None:
        """Fetch nothing any more, and end what is under way."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(now)

    async def fetch(self, url: str, expires_at: datetime | None, new_sink: Callable[[], S]) -> S:
        """Fetch the image at *url* into a sink, and return that.

        Args:
            url: Absolute, or relative to base_url.
            expires_at: For the error, if it is gone.
            new_sink: Makes the sink of one attempt; those of attempts that fail are discarded.

        Raises:
            ExpiredURLError: The server says that it is not, or no longer, there.
            ProtocolError: It is no URL that may be fetched.
            TransportError: It did not arrive, in three attempts.
            ConfigurationError: The session is closed.
        """
        if self._closed:
            raise ConfigurationError("the session is closed; a closed session fetches nothing")
        target = _joined(f"{self.endpoint.base_url}/", url)
        download = FreeCall()
        again = retrying(_POLICY, download, lambda _error, _delay: None)
        deadline = asyncio.timeout(None)
        self._deadlines.add(deadline)
        try:
            async with deadline:
                fetched: tuple[S, int] = await again(
                    self._attempt, target, expires_at, new_sink, download
                )
        except TimeoutError as error:
            if isinstance(error, ImageSDKError):
                raise
            raise ConfigurationError("the session was closed before the image arrived") from None
        finally:
            self._deadlines.discard(deadline)
        sink, size_bytes = fetched
        self.on_downloaded(size_bytes)
        return sink

    async def _attempt(
        self, url: str, expires_at: datetime | None, new_sink: Callable[[], S], state: FreeCall
    ) -> tuple[S, int]:
        state.attempts += 1
        try:
            async with asyncio.timeout(_ATTEMPT_TIMEOUT):
                return await self._follow(url, expires_at, new_sink)
        except ImageSDKError as error:
            failure = error
        except TimeoutError:
            message = f"the download of {shown_url(url)} took longer than {_ATTEMPT_TIMEOUT:g} s"
            failure = RequestTimeoutError(message, phase="receive")
        # The frames below hold the raw answer, in which a server may echo the key.
        failure.__context__ = None
        raise failure.with_traceback(None)

    async def _follow(
        self, url: str, expires_at: datetime | None, new_sink: Callable[[], S]
    ) -> tuple[S, int]:
        """Get *url*, following a few redirects; each is checked like the first."""
        for _ in range(_MAX_REDIRECTS + 1):
            foreign = self._is_foreign(url)
            request = WireRequest(method="GET", path=url, headers=_HEADERS, body=None)
            sending = self.transport.send(
                request,
                credentials=Hidden() if foreign else self.endpoint.credentials,
                progress=Progress(),
                foreign=foreign,
            )
            try:
                async with sending as reply:
                    location = reply.headers.get("location")
                    if reply.status not in _REDIRECTS or not location:
                        return await self._content(url, reply, expires_at, new_sink)
                    url = _joined(url, location)
            except InvalidRequestError:  # all but the URL is ours; and the image was made
                raise _not_fetched(url, "its host is none") from None
        raise ProtocolError(
            f"the image's URL was redirected more than {_MAX_REDIRECTS} times, last to {shown_url(url)}"
        )

    def _is_foreign(self, url: str) -> bool:
        """Tell whether *url* is of another origin than base_url.

        Raises:
            ProtocolError: It may not be fetched at all.
        """
        own = self.endpoint.origin
        try:
            scheme, host, _ = origin = origin_of(url)
        except ValueError:
            scheme, host, origin = "", "", None
        if scheme not in ("http", "https") or not host:
            raise _not_fetched(url, "it must be http or https")
        if scheme == "http" and own[0] == "https":
            raise _not_fetched(url, "it must be https, as base_url is")
        return origin != own

    async def _content(
        self, url: str, reply: Reply, expires_at: datetime | None, new_sink: Callable[[], S]
    ) -> tuple[S, int]:
        if reply.status in _GONE:
            when = f"; it was good until {expires_at:%Y-%m-%d %H:%M:%S} UTC" if expires_at else ""
            raise ExpiredURLError(
                f"the image is no longer at its URL, {shown_url(url)} (HTTP {reply.status}){when}. "
                "Save images as soon as they arrive, or ask for response_format='b64_json', "
                "which brings the image itself",
                status=reply.status,
                request_id=reply.headers.get("x-request-id"),
                url=shown_url(url),
                expired_at=expires_at,
            )
        if not 200 <= reply.status < 300:
            body = await read_all(reply, MAX_ERROR_BYTES, cut=True)
            raise refusal(reply.status, reply.headers, bytes(body), secret=self.endpoint.secret)
        sink, size_bytes = await receive_image(reply, limit_bytes=self.max_bytes, new_sink=new_sink)
        if not size_bytes:
            sink.discard()
            raise ResponseInterruptedError(
                f"the image at {shown_url(url)} has no bytes", status=reply.status, phase="receive"
            )
        return sink, size_bytes


def _not_fetched(url: str, why: str) -> ProtocolError:
    return ProtocolError(f"the server named a URL that is not fetched: {shown_url(url)}; {why}")


def _joined(base: str, url: str) -> str:
    """Resolve *url* against *base*.

    Raises:
        ProtocolError: It is no URL.
    """
    try:
        return urljoin(base, url)
    except ValueError as error:
        raise ProtocolError(f"the server named a URL that is none: {error}") from None
