"""Answer a request with server-sent events, as the API streams pictures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import hdrs, web

from imagesdk.emulator.faults import Fault
from imagesdk.emulator.refusals import server_error
from imagesdk.emulator.sabotage import FaultyResponse, StoppedError

__all__ = ("send_events",)

_logger = logging.getLogger(__name__)

# shared/reference/images-api.md section 3.5, read 2026-11-20
# https://html.spec.whatwg.org/multipage/server-sent-events.html (read 2026-11-21)
_HEADERS: Mapping[str, str] = {
    hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8",
    hdrs.CACHE_CONTROL: "no-cache",
}
_ERROR = {"type": "error", **server_error().envelope()}


async def send_events(
    request: web.Request, events: AsyncGenerator[dict[str, Any], None], fault: Fault
) -> web.StreamResponse:
    """Send each event as soon as it is there, named by its ``type``; return the answer.

    The head leaves at once. A fault in the middle ends the stream with an ``error`` event, since
    the status has been sent by then.

    Args:
        request: What is answered.
        events: The events, each an object with a ``type``; closed on every path.
        fault: How slowly the events arrive, and where they end. Those that are not sent are made
            all the same.

    Raises:
        StoppedError: The stream ended before its last event.
        ConnectionError: The client has gone.
    """
    async with aclosing(events):
        response = FaultyResponse(fault, status=200, headers=_HEADERS)
        await response.prepare(request)
        try:
            async for event in events:
                await response.write(await asyncio.to_thread(_frame, event))
        except ConnectionError:
            raise
        except StoppedError as stop:
            async for _ in events:
                pass
            if stop.how == "error":
                await response.write_over(_frame(_ERROR))
            elif stop.how != "end":
                raise
        except Exception:
            _logger.exception("%s %s failed in the middle", request.method, request.path)
            await response.write_over(_frame(_ERROR))
        await response.write_eof()
        return response


def _frame(event: Mapping[str, Any]) -> bytes:
    """Return an event as it is sent."""
    name = str(event["type"]).encode()
    return b"event: " + name + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"
