"""What happens around every handler: records, faults, keys, headers, and the envelope of errors."""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections.abc import Awaitable, Callable, Mapping

import attrs
import msgspec
from aiohttp import HttpVersion11, hdrs, web

from imagesdk.emulator.failures import fail_with
from imagesdk.emulator.faults import Fault, FaultPlan
from imagesdk.emulator.limits import LimitStatus, format_wait
from imagesdk.emulator.recording import RecordedRequest
from imagesdk.emulator.refusals import (
    ORGANIZATION,
    Refusal,
    invalid_fault,
    key_missing,
    key_wrong,
    server_error,
    too_large,
    unknown_route,
    unsupported_method,
)
from imagesdk.emulator.sabotage import StoppedError, deliver, end_connection, read_half
from imagesdk.emulator.spec import Endpoint

__all__ = (
    "API_KEY",
    "CONTROL_PATH",
    "FAULT",
    "FAULT_HEADER",
    "FILES_PATH",
    "RECORD",
    "Exchange",
    "Handler",
    "RefusedError",
    "authenticate",
    "error_response",
    "expect",
    "json_response",
    "read_body",
)

FILES_PATH = "/v1/images/files/"
CONTROL_PATH = "/_emulator/"
FAULT_HEADER = "x-emulator-fault"

_logger = logging.getLogger(__name__)
_KEY_PREFIX = "sk-test"
_IMAGE_PATHS = {endpoint.value for endpoint in Endpoint}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

RECORD = web.RequestKey("record", RecordedRequest)
FAULT = web.RequestKey("fault", Fault)
API_KEY = web.RequestKey("api_key", str)
_UNREADABLE = Refusal(message="The body of the request could not be read.")
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""As zlib.decompressobj takes them."""
_STARTED = web.RequestKey("started", float)


class RefusedError(Exception):
    """Carries a refusal from a handler to the middleware."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _FailedError(Exception):
    """Carries the answer of a fault from a handler to the middleware."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


@attrs.frozen(kw_only=True)
class Exchange:
    """The middleware of the emulator.

    Attributes:
        plan: The faults to come.
        rng: Makes request ids.
        controlled: Whether a request may ask for a fault in its header.
        closing: Set when the server closes: what hangs then ends.
        limit_status: Returns what is left of the rate limit of a key, None without a limit.
        on_request: Called with each request as it arrives.
        on_answer: Called with each request once its answer is ready.
    """

    plan: FaultPlan
    rng: random.Random
    controlled: bool
    closing: asyncio.Event
    limit_status: Callable[[str], LimitStatus | None]
    on_request: Callable[[RecordedRequest], None]
    on_answer: Callable[[RecordedRequest], None]

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record the request, let its fault happen, and turn what is raised into an envelope."""
        if request.path.startswith(CONTROL_PATH):
            return await _guarded(request, handler)
        loop = asyncio.get_running_loop()
        request[_STARTED] = loop.time()
        record = request[RECORD] = RecordedRequest(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=request.headers,
            request_id=self._new_request_id(),
        )
        self.on_request(record)
        response = await self._respond(request, handler)
        record.seconds = loop.time() - request[_STARTED]
        self.on_answer(record)
        return response

    async def stamp(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that every answer of the API carries, and those of a fault."""
        if request.path.startswith(CONTROL_PATH):
            return
        headers = response.headers
        record = request.get(RECORD)
        headers["x-request-id"] = record.request_id if record else self._new_request_id()
        if request.path.startswith(FILES_PATH):
            return
        now = asyncio.get_running_loop().time()
        elapsed = now - request.get(_STARTED, now)
        headers["openai-processing-ms"] = str(int(elapsed * 1000))
        headers["openai-version"] = "2020-10-01"
        headers["openai-organization"] = ORGANIZATION
        if request.path.startswith("/v1/images/") and API_KEY in request:
            headers.update(_limit_headers(self.limit_status(request[API_KEY])))
        fault = request.get(FAULT)
        if fault is not None:
            headers.update(fault.headers or {})
            if fault.retry_after is not None:
                headers[hdrs.RETRY_AFTER] = _as_text(fault.retry_after)

    async def begin(self, request: web.Request) -> None:
        """Let go wrong what does when the request has been read and before anything is charged."""
        fault = request[FAULT]
        if fault.stop == "upload":
            raise StoppedError(fault.how)
        await asyncio.sleep(fault.latency or 0)
        if not fault.charge:
            self._fail(request, fault)

    def finish(self, request: web.Request) -> None:
        """Let go wrong what does when the work is done, and before it is answered."""
        fault = request[FAULT]
        if fault.stop == "charge":
            raise StoppedError(fault.how)
        if fault.charge:
            self._fail(request, fault)

    async def _respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Return the answer; what is returned for one that was stopped is not sent any more."""
        record = request[RECORD]
        try:
            response = await _guarded(request, lambda request: self._handle(request, handler))
            response = await deliver(request, response, request.get(FAULT) or Fault())
        except StoppedError as stop:
            record.status = stop.status
            await end_connection(request, stop.how, self.closing)
            return web.Response(status=499)
        except ConnectionError:  # the client has gone: nobody is there to read the answer
            response = web.Response(status=499)
        record.status = response.status
        return response

    async def _handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Call the handler; those of images call `begin` and `finish` themselves."""
        fault = request[FAULT] = self._fault_of(request)
        request[RECORD].fault = fault.effects()
        if fault.stop == "half":
            await read_half(request)
        if fault.stop in {"head", "half"}:
            raise StoppedError(fault.how)
        if request.path in _IMAGE_PATHS:
            return await handler(request)
        if fault.stop == "upload":
            while await request.content.readany():
                pass
        await self.begin(request)
        response = await handler(request)
        self.finish(request)
        return response

    def _fault_of(self, request: web.Request) -> Fault:
        """Return what goes wrong with a request: what it asks for itself, or what is planned."""
        text = request.headers.get(FAULT_HEADER)
        if text is None or not self.controlled:
            return self.plan.take(request.path) or Fault()
        try:
            asked = Fault.read(text)
        except ValueError as error:
            raise RefusedError(invalid_fault(str(error))) from None
        if asked.to_json() != asked.effects():
            message = "times, skip, chance and on make no sense for one request"
            raise RefusedError(invalid_fault(message))
        return asked

    def _fail(self, request: web.Request, fault: Fault) -> None:
        """Raise the failure of a fault, if it has one."""
        if fault.fail is None:
            return
        failure = fail_with(
            fault.fail,
            request_id=request[RECORD].request_id,
            message=fault.message,
            code=fault.code,
            body=fault.body,
        )
        raise _FailedError(
            web.Response(status=failure.status, headers=failure.headers, body=failure.body)
        )

    def _new_request_id(self) -> str:
        return f"req_{self.rng.getrandbits(128):032x}"


async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Call the handler; return an error envelope for everything it raises that is no fault."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        return _method_not_allowed(request, error)
    except (ConnectionError, StoppedError):
        raise
    except _FailedError as error:
        return error.response
    except RefusedError as error:
        refusal = error.refusal
    except web.HTTPNotFound:
        refusal = unknown_route(request.method, request.path)
    except Exception:
        _logger.exception("%s %s failed", request.method, request.path)
        refusal = server_error()
    return error_response(refusal)


def _method_not_allowed(request: web.Request, error: web.HTTPMethodNotAllowed) -> web.Response:
    """Refuse a method, naming those that are allowed; OPTIONS asks for just that."""
    allow: dict[str, str] = {hdrs.ALLOW: ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))}
    if request.method == hdrs.METH_OPTIONS:
        return web.Response(status=204, headers=allow)
    refusal = unsupported_method(request.method, request.path)
    return error_response(attrs.evolve(refusal, headers=allow))


def authenticate(request: web.Request) -> str:
    """Return the API key of a request, or refuse it."""
    scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    key = credentials.strip() if scheme.lower() == "bearer" else ""
    key = key or request.headers.get("api-key", "").strip()
    if not key:
        raise RefusedError(key_missing())
    if not key.startswith(_KEY_PREFIX):
        raise RefusedError(key_wrong(key))
    request[API_KEY] = key
    return key


async def read_body(request: web.Request, max_body_bytes: int) -> bytes:
    """Read the whole body, up to the limit, or refuse it."""
    if (request.content_length or 0) > max_body_bytes:
        raise RefusedError(too_large(max_body_bytes))
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise RefusedError(too_large(max_body_bytes)) from None
    except web.RequestPayloadError:
        raise RefusedError(_UNREADABLE) from None
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding == "identity":
        return body
    return await asyncio.to_thread(_unpacked, body, encoding, max_body_bytes)


def _unpacked(body: bytes, encoding: str, max_body_bytes: int) -> bytes:
    """Unpack a whole body, up to the limit, or refuse it; aiohttp takes one that is cut off for whole."""
    if encoding not in _WINDOW_BITS:
        known = ", ".join(_WINDOW_BITS)
        what = f"Unsupported Content-Encoding: {encoding!r}. Supported values are: {known}."
        raise RefusedError(Refusal(message=what, status=415))
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        unpacked = unpacker.decompress(body, max_body_bytes + 1)
    except zlib.error:
        raise RefusedError(_UNREADABLE) from None
    if len(unpacked) > max_body_bytes:
        raise RefusedError(too_large(max_body_bytes))
    if not unpacker.eof or unpacker.unused_data:
        raise RefusedError(_UNREADABLE)
    return unpacked


async def expect(request: web.Request) -> web.StreamResponse | None:
    """Ask for the body of a request that waits for that; refuse whatever else it expects."""
    expected = request.headers.get(hdrs.EXPECT, "")
    if request.version < HttpVersion11:  # has no such header
        return None
    if expected.lower() != "100-continue":
        what = f"Unknown expectation: {expected!r}. Only '100-continue' is supported."
        return error_response(Refusal(message=what, status=417))
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer has not begun
    return None


def json_response(body: object, status: int = 200) -> web.Response:
    """Return an answer with a JSON body."""
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )


def error_response(refusal: Refusal) -> web.Response:
    """Return a refusal as an answer."""
    response = json_response(refusal.envelope(), refusal.status)
    response.headers.update(refusal.headers)
    return response


def _limit_headers(status: LimitStatus | None) -> Mapping[str, str]:
    """Return the rate limit headers (images-api.md section 3.8)."""
    if status is None:
        return {}
    return {
        "x-ratelimit-limit-images": f"{status.limit:g}",
        "x-ratelimit-remaining-images": str(status.remaining),
        "x-ratelimit-reset-images": format_wait(status.reset),
    }


def _as_text(retry_after: float | str) -> str:
    if isinstance(retry_after, float) and retry_after.is_integer():
        return f"{retry_after:.0f}"
    return str(retry_after)
