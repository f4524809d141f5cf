"""HTTP itself, with the refusals of what is no HTTP in the API's own words."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from aiohttp import web

from imagesdk.emulator.exchange import error_response
from imagesdk.emulator.refusals import Refusal, server_error

__all__ = ("Runner",)


class _Protocol(web.RequestHandler):
    """One connection: what cannot be parsed never gets to the application, and its middleware."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that could not be parsed, or that broke aiohttp itself."""
        if status >= 500 or request.writer.output_size > 0:
            super().handle_error(request, status, exc, message)  # logs, or raises
            refusal = server_error()
        else:
            reason = (message or "").strip().partition("\n")[0]
            refusal = Refusal(message=f"The request is no HTTP: {reason}", status=status)
        response = error_response(refusal)
        response.headers["x-request-id"] = f"req_{secrets.token_hex(16)}"
        response.force_close()
        return response


class Runner(web.AppRunner):
    """Runs an application over `_Protocol`.

    aiohttp makes its protocols itself, and asks for no class: each gets another one when it is made.
    """

    @property
    def server(self) -> Callable[[], web.RequestHandler] | None:  # type: ignore[override]
        """What makes the protocol of a connection."""
        make = super().server
        if make is None:
            return None

        def made() -> web.RequestHandler:
            protocol = make()
            protocol.__class__ = _Protocol
            return protocol

        return made
