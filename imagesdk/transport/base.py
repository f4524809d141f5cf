"""What the pipeline asks of a transport."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs

from imagesdk.errors import PayloadTooLargeError, Phase, ProtocolError, TransportError
from imagesdk.protocol.encode import WireRequest

__all__ = (
    "Credentials",
    "Progress",
    "Reply",
    "Transport",
    "WrappedReply",
    "read_all",
    "too_large",
)


@attrs.define
class Progress:
    """How far one exchange has come; the transport moves it on.

    Attributes:
        phase: ``"connect"`` until the first byte is written, ``"send"`` until the last one is or an
            answer begins, then ``"receive"``: from there on the server may make, and bill, images.
        sent_at: Loop time at which ``"receive"`` began, None until then.
    """

    phase: Phase = "connect"
    sent_at: float | None = None


class Credentials(Protocol):
    """Headers that hold secrets; a dict is one."""

    def keys(self) -> Iterable[str]:
        """Return their names."""
        ...

    def __getitem__(self, name: str, /) -> str: ...


class Reply(Protocol):
    """An answer whose head has arrived."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers with their names in lower case."""
        ...

    async def read(self) -> bytes:
        """Return the next piece of the body, decompressed, as it arrives; ``b""`` at its end.

        Raises:
            ResponseInterruptedError: It broke off.
            ProtocolError: It cannot be unpacked.
        """
        ...


@attrs.define
class WrappedReply:
    """A reply that reads another one; a subclass says in which way."""

    _reply: Reply

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._reply.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers with their names in lower case."""
        return self._reply.headers

    async def read(self) -> bytes:
        """Return the next piece of the body; see `Reply`."""
        return await self._reply.read()


class Transport(Protocol):
    """Carries requests to one server."""

    def send(
        self,
        request: WireRequest,
        *,
        credentials: Credentials,
        progress: Progress,
        connect_timeout: float | None = None,
        foreign: bool = False,
    ) -> AbstractAsyncContextManager[Reply]:
        """Send one request and receive the head of its answer; leaving the block releases the connection.

        Args:
            request: Its path is absolute here: a URL with scheme and host.
            credentials: Headers that hold secrets: they are sent, and never shown or kept.
            progress: Moved on as the exchange goes.
            connect_timeout: Seconds to open the connection, None for the transport's own default.
            foreign: A server named the URL, and it leads elsewhere: it may be asked for at a public
                address only, unless the API itself is at a private one.

        Raises:
            TransportError: No answer arrived; its phase says how far the exchange came.
            ProtocolError: The URL leads where a foreign one must not.
        """
        ...

    async def aclose(self) -> None:
        """Release what the transport owns."""
        ...


async def read_all(reply: Reply, limit_bytes: int, *, cut: bool = False) -> bytearray:
    """Return the body of *reply*.

    Args:
        reply: The answer.
        limit_bytes: Most bytes that are read.
        cut: Return what there is of a body that is longer or breaks off, instead of raising.

    Raises:
        PayloadTooLargeError: The body is longer.
        TransportError: It broke off.
        ProtocolError: It cannot be unpacked.
    """
    body = bytearray()
    while True:
        try:
            piece = await reply.read()
        except (ProtocolError, TransportError):
            if cut:
                return body
            raise
        if not piece:
            return body
        body += piece
        if len(body) > limit_bytes:
            if cut:
                del body[limit_bytes:]
                return body
            raise too_large(reply, limit_bytes)


def too_large(reply: Reply, limit_bytes: int) -> PayloadTooLargeError:
    """Return the error for an answer that is longer than *limit_bytes*."""
    return PayloadTooLargeError(
        f"the answer is larger than {limit_bytes:,} bytes; reading was stopped",
        status=reply.status,
        request_id=reply.headers.get("x-request-id"),
        may_be_billed=True,
        limit_bytes=limit_bytes,
    )
