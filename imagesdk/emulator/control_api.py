"""The routes by which another process controls the emulator, in whatever language it is written.

======  =======================  =================================================================
POST    /_emulator/faults        plan a fault: a JSON object, several in an array, or a text
GET     /_emulator/faults        the faults to come
DELETE  /_emulator/faults        plan none any more
PUT     /_emulator/limit         another rate limit: ``limit``, ``period``, ``kind``, ``interval``,
                                 ``counts_refused``; ``{"limit": null}`` for none
GET     /_emulator/state         images charged, number of requests, faults to come
GET     /_emulator/requests      the requests that are kept, without keys and file contents
POST    /_emulator/reset         forget everything; ``{"seed": 7}`` begins anew with another seed
======  =======================  =================================================================
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import msgspec
from aiohttp import web

from imagesdk.emulator.exchange import CONTROL_PATH, RefusedError, json_response, read_body
from imagesdk.emulator.faults import Fault
from imagesdk.emulator.limits import LimitKind
from imagesdk.emulator.recording import RecordedRequest
from imagesdk.emulator.refusals import invalid_fault, malformed_body, unknown_parameter

__all__ = ("ControlApi", "Controlled")

_MAX_BODY_BYTES = 1024 * 1024


class Controlled(Protocol):
    """What can be controlled: a server."""

    @property
    def requests(self) -> Sequence[RecordedRequest]:
        """Requests that are kept."""
        ...

    @property
    def charged(self) -> int:
        """Images that were billed."""
        ...

    @property
    def faults(self) -> Sequence[Fault]:
        """Faults to come."""
        ...

    def inject(self, fault: Fault | str | Mapping[str, Any]) -> None:
        """Plan a fault."""
        ...

    def clear_faults(self) -> None:
        """Plan no fault any more."""
        ...

    def rate_limit(
        self,
        limit: float | None,
        *,
        period: float = 60.0,
        kind: LimitKind = "sliding",
        interval: float = 1.0,
        counts_refused: bool = False,
    ) -> None:
        """Limit images per key."""
        ...

    def reset(self, seed: int | None = None) -> None:
        """Forget everything."""
        ...


@attrs.frozen
class ControlApi:
    """The routes that control a server. They need no key."""

    server: Controlled

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        routes: tuple[tuple[str, str, Callable[[web.Request], Awaitable[web.Response]]], ...] = (
            ("POST", "faults", self._inject),
            ("GET", "faults", self._show_faults),
            ("DELETE", "faults", self._clear_faults),
            ("PUT", "limit", self._limit),
            ("GET", "state", self._show_state),
            ("GET", "requests", self._show_requests),
            ("POST", "reset", self._reset),
        )
        for method, name, handler in routes:
            router.add_route(method, CONTROL_PATH + name, handler)

    async def _inject(self, request: web.Request) -> web.Response:
        text = (await read_body(request, _MAX_BODY_BYTES)).decode("utf-8", "replace")
        try:
            given = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            given = text
        try:
            faults = [
                Fault.read(fault) for fault in (given if isinstance(given, list) else [given])
            ]
        except ValueError as error:
            raise RefusedError(invalid_fault(str(error))) from None
        for fault in faults:
            self.server.inject(fault)
        return await self._show_faults(request)

    async def _show_faults(self, _request: web.Request) -> web.Response:
        return json_response({"faults": self._faults()})

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self.server.clear_faults()
        return await self._show_faults(request)

    async def _limit(self, request: web.Request) -> web.Response:
        known = ("limit", "period", "kind", "interval", "counts_refused")
        settings = await _read_object(request, known)
        try:
            self.server.rate_limit(settings.pop("limit", None), **settings)
        except (TypeError, ValueError) as error:
            raise RefusedError(invalid_fault(str(error))) from None
        return await self._show_state(request)

    async def _show_state(self, _request: web.Request) -> web.Response:
        return json_response(
            {
                "charged": self.server.charged,
                "requests": len(self.server.requests),
                "faults": self._faults(),
            }
        )

    async def _show_requests(self, _request: web.Request) -> web.Response:
        return json_response({"requests": [kept.to_json() for kept in self.server.requests]})

    async def _reset(self, request: web.Request) -> web.Response:
        settings = await _read_object(request, ("seed",))
        try:
            self.server.reset(**settings)
        except TypeError as error:
            raise RefusedError(invalid_fault(str(error))) from None
        return await self._show_state(request)

    def _faults(self) -> list[dict[str, Any]]:
        return [fault.to_json() for fault in self.server.faults]


async def _read_object(request: web.Request, known: Sequence[str]) -> dict[str, Any]:
    """Return the JSON object in a body, empty if there is no body, or refuse it."""
    body = await read_body(request, _MAX_BODY_BYTES)
    try:
        settings = msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise RefusedError(malformed_body("JSON")) from None
    if unknown := [name for name in settings if name not in known]:
        raise RefusedError(unknown_parameter(unknown[0]))
    return settings
