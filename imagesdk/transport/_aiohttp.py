"""The transport over aiohttp: the only client module that imports it.

It follows no redirects, keeps no cookies, reads no proxy settings from the environment, retries
nothing (aiohttp itself repeats a GET once on a connection that was dying), and turns every exception
of aiohttp into one of ours. aiohttp's exceptions can hold the request's headers, with the key in them,
and bytes of the answer, in which a server may echo it. Those that are no OSError are not chained;
the others are, without tracebacks.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import warnings
from collections.abc import Callable, Mapping, Set as AbstractSet
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Self, TypeAlias

import aiohttp
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import ContentEncodingError
from aiohttp.payload import Payload
from yarl import URL

from imagesdk.errors import (
    ConfigurationError,
    ConnectError,
    ImageSDKError,
    InvalidRequestError,
    Phase,
    ProtocolError,
    RequestTimeoutError,
    ResponseInterruptedError,
)
from imagesdk.protocol.encode import BytesBody, WireRequest
from imagesdk.protocol.jsonbody import JSONBody
from imagesdk.protocol.multipart import MultipartBody, Source
from imagesdk.protocol.refusals import redact, shown_url
from imagesdk.transport.addresses import may_be_fetched
from imagesdk.transport.base import Credentials, Progress

__all__ = ("AiohttpTransport",)

_READ_BYTES = 64 * 1024
"""Low-water mark of what waits to be read; aiohttp stops the connection at twice as much."""
_FIRST_RECV_BYTES = 64 * 1024
"""What is asked of the socket until the head of an answer is there, with which a small answer comes whole.
malloc has so much at hand."""
_RECV_BYTES = 256 * 1024
"""What asyncio asks for: better for large answers, but malloc takes it from the system and gives it back for
each of the small ones, which costs them 10 to 30 µs."""
_KEEPALIVE = 4.0
"""Seconds that an idle connection is kept: shorter than servers keep theirs (uvicorn: 5), because a
POST on a connection that has just died cannot be told from one that the server has taken."""
_NewSocket: TypeAlias = Callable[[AddrInfoType], socket.socket]
_FIRST_FINAL_STATUS = 200  # https://www.rfc-editor.org/rfc/rfc9110#section-15.2 (read 2026-11-26)
_SAID_CHARS = 300
_UNCLOSED = (
    "an ImageSession was not closed: use it in 'async with', or end with 'await images.aclose()'"
)
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30.0)


class AiohttpTransport:
    """Send requests with an `aiohttp.ClientSession`.

    Args:
        client_session: A session to borrow: it is not closed, and its own settings for proxies, TLS
            and connections hold. None makes one at the first request and closes it in `aclose`.

    Raises:
        ConfigurationError: It is something else.
    """

    def __init__(self, client_session: aiohttp.ClientSession | None = None) -> None:
        if not isinstance(client_session, aiohttp.ClientSession | None):
            raise ConfigurationError(
                f"client_session is a {type(client_session).__name__}; it must be an aiohttp.ClientSession"
            )
        api_addresses: set[str] = set()
        self._own = _Connections(_noting(api_addresses), client_session)
        # Whoever lends a session decides where it connects to.
        self._foreign = _Connections(_checking(api_addresses), client_session)

    def send(
        self,
        request: WireRequest,
        *,
        credentials: Credentials,
        progress: Progress,
        connect_timeout: float | None = None,
        foreign: bool = False,
    ) -> _Exchange:
        """Send one request; see `imagesdk.transport.base.Transport.send`."""
        session = self._foreign if foreign else self._own
        return _Exchange(session, request, credentials, progress, connect_timeout)

    async def aclose(self) -> None:
        """Send nothing any more, and close what is not borrowed."""
        await self._own.aclose()
        await self._foreign.aclose()


class _Connections:
    """A session of aiohttp, borrowed or made at its first use."""

    def __init__(self, new_socket: _NewSocket, borrowed: aiohttp.ClientSession | None) -> None:
        self._new_socket = new_socket
        self._session = borrowed
        self._owned = borrowed is None
        self._closed = False
        self.replies: set[_Exchange] = set()

    def open(self) -> aiohttp.ClientSession:
        """Return the session.

        Raises:
            ConfigurationError: The transport is closed.
        """
        if self._closed:
            raise ConfigurationError("the session is closed; a closed session sends nothing")
        if self._session is None:
            self._session = _make_session(self._new_socket)
            self._loop = asyncio.get_running_loop()
        return self._session

    def __del__(self) -> None:
        """Say what to do before aiohttp complains of a session of its own, as it does: twice."""
        if self._owned and self._session is not None:
            warnings.warn(_UNCLOSED, ResourceWarning, source=self, stacklevel=2)
            self._loop.call_exception_handler({"message": _UNCLOSED})

    async def aclose(self) -> None:
        self._closed = True
        for reply in self.replies:
            reply.end()
        if self._owned and self._session is not None:
            session, self._session = self._session, None
            await session.close()


def _make_session(new_socket: _NewSocket) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        # The limiter bounds what is in flight, not the pool.
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEPALIVE, socket_factory=new_socket
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=True,
        read_bufsize=_READ_BYTES,
        timeout=aiohttp.ClientTimeout(total=None),
    )


def _noting(addresses: set[str]) -> _NewSocket:
    """Return what makes sockets, and notes where they lead."""

    def new_socket(info: AddrInfoType) -> socket.socket:
        addresses.add(str(info[4][0]))
        return socket.socket(*info[:3])

    return new_socket


def _checking(api_addresses: AbstractSet[str]) -> _NewSocket:
    """Return what makes sockets to where an image may be fetched from.

    It sees the address that will be connected to, however it was found: between a check and the
    connection no name can be resolved anew.
    """

    def new_socket(info: AddrInfoType) -> socket.socket:
        if not may_be_fetched(str(info[4][0]), api_addresses):
            raise _PrivateAddressError
        return socket.socket(*info[:3])

    return new_socket


class _PrivateAddressError(OSError):
    """An image is where it may not be fetched from."""

    def __str__(self) -> str:
        # The same for all addresses of a name: others are joined into one OSError.
        return "a private address"


def _exact_url(url: str) -> str | URL:
    """Keep an escaped URL as it is: to quote it anew would break the signature of a signed one."""
    return URL(url, encoded=True) if url.isascii() and url.isprintable() and " " not in url else url


class _BodyPayload(Payload):
    """A body that is written from its segments, and knows how much of it is gone."""

    _autoclose = True  # it owns no file handle

    def __init__(self, body: BytesBody | JSONBody | MultipartBody, progress: Progress) -> None:
        super().__init__(body, content_type=body.content_type)
        self.failure: ImageSDKError | None = None
        self.written = False
        self._refused = False
        self._transport: asyncio.BaseTransport | None = None
        self._body = body
        self._progress = progress

    @property
    def size(self) -> int:
        """Exact length of the body."""
        return self._body.size_bytes

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return a description, for aiohttp's debugging."""
        del encoding, errors
        return f"<body of {self.size} bytes>"

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body, as aiohttp's abstract class asks."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the whole body, made afresh from its sources; its length is always exact."""
        del content_length
        self._transport = getattr(writer, "transport", None)
        _receive_by(_FIRST_RECV_BYTES, self._transport)
        self._progress.phase = "send"
        unread: Callable[[], bool] | None = None
        for segment in self._body.segments:
            if isinstance(segment, bytes):
                await writer.write(segment)
            else:
                unread = unread or _watch(self._transport)
                await self._write_source(writer, segment, unread)
            if self._refused:
                return
        self.written = True
        self._progress.phase = "receive"
        self._progress.sent_at = asyncio.get_running_loop().time()

    def answered(self, status: int) -> None:
        """Note that an answer has begun; a refusal ends the upload, if it still goes on."""
        self._refused = status >= 300
        _receive_by(_RECV_BYTES, self._transport)
        self._progress.phase = "receive"
        if self._progress.sent_at is None:
            self._progress.sent_at = asyncio.get_running_loop().time()

    async def _write_source(
        self, writer: AbstractStreamWriter, source: Source, unread: Callable[[], bool]
    ) -> None:
        try:
            async with aclosing(source.chunks()) as chunks:
                async for chunk in chunks:
                    if unread():  # a server that refuses and closes: to write would lose its answer
                        await asyncio.sleep(0)  # the loop polls,
                        await asyncio.sleep(0)  # and reads after what was ready before
                    if self._refused:
                        return
                    await writer.write(chunk)
                    del chunk  # while the next one is read
                    await asyncio.sleep(0)  # a socket may take every piece at once
        except ImageSDKError as error:  # aiohttp would hide it behind one of its own
            self.failure = error
            raise


def _receive_by(size_bytes: int, transport: asyncio.BaseTransport | None) -> None:
    """Let a transport ask its socket for so many bytes at once, if it is one that can be told.

    ``max_size`` is what the transports of asyncio's own event loops pass to recv(); it is not documented.
    Those of TLS and of uvloop have a buffer, and do not look at it.
    """
    with suppress(AttributeError):
        transport.max_size = size_bytes  # type: ignore[union-attr]


def _watch(transport: asyncio.BaseTransport | None) -> Callable[[], bool]:
    """Return what tells whether something has arrived that the event loop has not read yet."""
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is None or not hasattr(select, "poll"):  # Windows has none
        return lambda: False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return lambda: bool(poll.poll(0))


class _Exchange:
    """One request on its way, and then its answer: the `imagesdk.transport.base.Reply`."""

    status: int
    headers: Mapping[str, str]
    _response: aiohttp.ClientResponse

    def __init__(
        self,
        connections: _Connections,
        request: WireRequest,
        credentials: Credentials,
        progress: Progress,
        connect_timeout: float | None,
    ) -> None:
        self._connections = connections
        self._request = request
        self._credentials = credentials
        self._progress = progress
        self._timeout = (
            _TIMEOUT
            if connect_timeout is None
            else aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        )
        self._body = None if request.body is None else _BodyPayload(request.body, progress)

    async def __aenter__(self) -> Self:
        session = self._connections.open()
        request, body = self._request, self._body
        try:
            response = await session.request(
                request.method,
                _exact_url(request.path),
                headers={**request.headers, **self._credentials},
                data=body,
                allow_redirects=False,
                raise_for_status=False,
                timeout=self._timeout,
            )
        except Exception as error:  # noqa: BLE001 - turned into one of ours below
            outcome = error
        except BaseException as error:
            error.__traceback__ = None  # of a cancellation: frames of aiohttp hold the headers
            raise
        else:
            if response.status < _FIRST_FINAL_STATUS:
                response.close()
                where, said = shown_url(request.path), f"its status is {response.status}"
                raise _no_sense(f"the answer from {where} is no valid HTTP", said, response.status)
            self._response = response
            self.status = response.status
            self.headers = headers = {
                name.lower(): value for name, value in response.headers.items()
            }
            if "x-request-id" in headers:  # results, errors, events and logs quote it
                headers["x-request-id"] = self._blot_out(headers["x-request-id"])
            self._connections.replies.add(self)
            if body is not None:
                body.answered(self.status)
            return self
        # Raised outside of the handler: nothing of aiohttp's is in its context.
        source_failed = body.failure if body is not None else None
        raise source_failed or self._translate(outcome, self._progress.phase)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connections.replies.discard(self)
        # An answer that arrived whole has given its connection back. One with bytes that were not
        # read, or not sent because the server did not wait for them, cannot be used again;
        # close() drops it, and stops the upload.
        # https://www.rfc-editor.org/rfc/rfc9112#section-9.5 (read 2026-11-21)
        if not self._response.closed or not (self._body is None or self._body.written):
            self._response.close()

    def end(self) -> None:
        """Wake who reads the body: when its connection is closed, aiohttp lets them wait for ever."""
        closed = aiohttp.ClientConnectionError("the session was closed")
        self._response.content.set_exception(closed)

    async def read(self) -> bytes:
        """Return the next piece of the body."""
        try:
            return await self._response.content.readany()
        except Exception as error:  # noqa: BLE001 - turned into one of ours below
            outcome = error
        except BaseException as error:
            error.__traceback__ = None
            raise
        failure = self._translate(outcome, "receive", self.status)
        failure.request_id = self.headers.get("x-request-id")
        raise failure

    def _translate(
        self, error: Exception, phase: Phase, status: int | None = None
    ) -> ImageSDKError:
        """Return our exception for one that came out of aiohttp."""
        text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
        said = " ".join(text.split()) or type(error).__name__
        where = shown_url(self._request.path)
        ours = _ours(error, phase, where, status, self._blot_out(said))
        if isinstance(error, OSError):
            _without_frames(error)
            ours.__cause__ = error
        return ours

    def _blot_out(self, said: str) -> str:
        """Return what a server said without the credentials that it was sent."""
        for name in self._credentials.keys():  # noqa: SIM118 - it need not be a dict
            for secret in self._credentials[name].split():
                said = redact(said, secret)
        return said


def _without_frames(error: Exception) -> None:
    """Drop the tracebacks of an error and of those behind it: frames of asyncio hold the request."""
    behind: BaseException | None = error
    while behind is not None:
        behind.__traceback__ = behind.__context__ = None
        behind = behind.__cause__


def _ours(  # noqa: C901, PLR0911 - a table
    error: Exception, phase: Phase, where: str, status: int | None, said: str
) -> ImageSDKError:
    match error:
        case aiohttp.ServerTimeoutError() | asyncio.TimeoutError() if phase == "connect":
            return ConnectError(f"no connection to {where} in time: {said}")
        case aiohttp.ServerTimeoutError() | asyncio.TimeoutError():
            return RequestTimeoutError(f"no answer from {where} in time", phase=phase)
        case aiohttp.ClientConnectorCertificateError():
            return ConnectError(
                f"the TLS connection to {where} cannot be trusted: {said}. For an authority of your own "
                "pass client_session= with a TLS context that knows it"
            )
        case aiohttp.ClientSSLError():
            return ConnectError(
                f"the TLS connection to {where} cannot be made: {said}. If the server speaks plain HTTP, "
                "base_url begins with http://"
            )
        case aiohttp.ClientConnectorError(os_error=_PrivateAddressError()):
            return ProtocolError(
                f"the server named a URL that is not fetched: {where} is at a private address. Those "
                "are fetched only if the API is at one, too, and never where clouds keep credentials"
            )
        case aiohttp.ClientConnectorError(os_error=os_error):
            number = os_error.errno or 0  # negative: of getaddrinfo
            why = os.strerror(number) if number > 0 else os_error.strerror
            return ConnectError(
                f"no connection to {where}: {why or said}. Is the server running, and the address "
                "(base_url) right?"
            )
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return InvalidRequestError(f"{where!r} is no URL that can be asked")
        case ValueError() if phase == "connect":
            return InvalidRequestError(
                f"the request's headers cannot be sent: {type(error).__name__}"
            )
        case aiohttp.ClientResponseError() if phase == "receive":
            return _no_sense(f"the answer from {where} is no valid HTTP", said, status)
        case aiohttp.ClientPayloadError(__cause__=ContentEncodingError()):
            return _no_sense(f"the answer from {where} cannot be unpacked", said, status)
        case aiohttp.ClientError() | OSError() if phase == "connect":
            return ConnectError(f"the connection to {where} was lost before anything was sent")
        case _:
            doing = "the request was sent" if phase == "send" else "the answer was awaited or read"
            return ResponseInterruptedError(
                f"the connection to {where} broke while {doing}: {said}",
                phase=phase,
                status=status,
            )


def _no_sense(what: str, said: str, status: int | None) -> ProtocolError:
    return ProtocolError(
        f"{what}: {said[:_SAID_CHARS]}. The call may have been billed",
        status=status,
        may_be_billed=True,
    )
