"""The Images API over HTTP: routes, keys, headers, and the error envelope of every answer."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

import attrs
import msgspec
from aiohttp import hdrs, web

from imagesdk.emulator.batch_api import Answer, BatchApi, Query
from imagesdk.emulator.blobs import Denial
from imagesdk.emulator.filestore import StoredFile
from imagesdk.emulator.forms import UploadedFile
from imagesdk.emulator.jobs import Job, read_job
from imagesdk.emulator.limits import format_wait
from imagesdk.emulator.refusals import (
    ORGANIZATION,
    Refusal,
    key_missing,
    key_wrong,
    model_not_found,
    server_error,
    too_large,
    unknown_route,
    unsupported_method,
)
from imagesdk.emulator.service import ImageService
from imagesdk.emulator.spec import MODELS, Endpoint
from imagesdk.emulator.sse import send_events

__all__ = ("FILES_PATH", "ImagesApp", "RecordedRequest")

_logger = logging.getLogger(__name__)

FILES_PATH = "/v1/images/files/"
_KEY_PREFIX = "sk-test"
_MODELS_CREATED = 1_700_000_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@attrs.define(kw_only=True)
class RecordedRequest:
    """A request as the emulator saw it.

    Attributes:
        method: HTTP method.
        path: Path without the query.
        query: Decoded query.
        headers: Headers; names compare in any case.
        params: Parameters of an image request as values; form fields that could not be read
            against the contract stay texts.
        files: Uploaded files, those in data URLs included.
        status: Status of the answer, or 0 while there is none.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    params: Mapping[str, Any] = attrs.field(factory=dict)
    files: tuple[UploadedFile, ...] = ()
    status: int = 0


class _RefusedError(Exception):
    """Carries a refusal from a handler to the middleware."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


_RECORD = web.RequestKey("record", RecordedRequest)
_REQUEST_ID = web.RequestKey("request_id", str)
_API_KEY = web.RequestKey("api_key", str)
_STARTED = web.RequestKey("started", float)


@attrs.frozen(kw_only=True)
class ImagesApp:
    """The routes of the emulator.

    Attributes:
        service: Answers image requests.
        batches: Answers what is asked about files and batches.
        origin: Returns the server's own address, such as ``http://127.0.0.1:8000``.
        max_body_bytes: A longer body gets 413.
        on_request: Called with each request as it arrives.
        on_answer: Called with each request once its answer is ready.
    """

    service: ImageService
    batches: BatchApi
    origin: Callable[[], str]
    max_body_bytes: int
    on_request: Callable[[RecordedRequest], None]
    on_answer: Callable[[RecordedRequest], None]

    def build(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[self._answer], client_max_size=self.max_body_bytes)
        app.on_response_prepare.append(self._stamp)
        for endpoint in (Endpoint.GENERATION, Endpoint.EDIT, Endpoint.VARIATION):
            app.router.add_post(endpoint.value, self._images(endpoint))
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/v1/models/{model}", self._show_model)
        app.router.add_get(FILES_PATH + "{name}", self._download)
        for method, path, handler in self.batches.routes():
            app.router.add_route(method, path, self._batch_route(handler))
        app.on_cleanup.append(self._close)
        return app

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record the request and turn everything that goes wrong into an error envelope."""
        record = RecordedRequest(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=request.headers,
        )
        request[_RECORD] = record
        request[_REQUEST_ID] = f"req_{secrets.token_hex(16)}"
        request[_STARTED] = asyncio.get_running_loop().time()
        self.on_request(record)
        response = await _guarded(request, handler)
        record.status = response.status
        self.on_answer(record)
        return response

    async def _stamp(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that every answer of the API carries."""
        headers = response.headers
        headers["x-request-id"] = request.get(_REQUEST_ID) or f"req_{secrets.token_hex(16)}"
        if request.path.startswith(FILES_PATH):
            return
        now = asyncio.get_running_loop().time()
        elapsed = now - request.get(_STARTED, now)
        headers["openai-processing-ms"] = str(int(elapsed * 1000))
        headers["openai-version"] = "2020-10-01"
        headers["openai-organization"] = ORGANIZATION
        if request.path.startswith("/v1/images/") and _API_KEY in request:
            headers.update(self._limit_headers(request[_API_KEY]))

    def _limit_headers(self, api_key: str) -> dict[str, str]:
        """Return the rate limit headers for a key (images-api.md section 3.8)."""
        if self.service.limit is None:
            return {}
        status = self.service.limit.status(api_key, self.service.clock())
        return {
            "x-ratelimit-limit-images": f"{status.limit:g}",
            "x-ratelimit-remaining-images": str(status.remaining),
            "x-ratelimit-reset-images": format_wait(status.reset),
        }

    def _images(self, endpoint: Endpoint) -> Handler:
        """Return the handler of one of the three image routes."""

        async def handle(request: web.Request) -> web.StreamResponse:
            api_key = _authenticate(request)
            body = await self._read_body(request)
            content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
            job = await asyncio.to_thread(read_job, endpoint, content_type, body)
            record = request[_RECORD]
            record.params, record.files = job.params, job.files
            if job.refusal is not None:
                raise _RefusedError(job.refusal)
            if job.streams:
                return await self._stream(request, job, api_key)
            answer = await self.service.answer(
                job,
                api_key=api_key,
                request_id=request[_REQUEST_ID],
                url_prefix=self.origin() + FILES_PATH,
            )
            if isinstance(answer, Refusal):
                raise _RefusedError(answer)
            return _json_response(await asyncio.to_thread(msgspec.json.encode, answer))

        return handle

    async def _stream(self, request: web.Request, job: Job, api_key: str) -> web.StreamResponse:
        """Answer with events; what is refused is refused before the first one."""
        events = await self.service.stream(
            job,
            api_key=api_key,
            request_id=request[_REQUEST_ID],
            is_wanted=lambda: request.transport is not None,
        )
        if isinstance(events, Refusal):
            raise _RefusedError(events)
        return await send_events(request, events)

    async def _read_body(self, request: web.Request) -> bytes:
        """Read the whole body, up to the limit."""
        if (request.content_length or 0) > self.max_body_bytes:
            raise _RefusedError(too_large(self.max_body_bytes))
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise _RefusedError(too_large(self.max_body_bytes)) from None
        except web.RequestPayloadError:
            refusal = Refusal(message="The body of the request could not be read.")
            raise _RefusedError(refusal) from None

    def _batch_route(self, answer: Callable[[Query], Awaitable[Answer]]) -> Handler:
        """Return the handler of one of the routes of files and batches."""

        async def handle(request: web.Request) -> web.StreamResponse:
            query = Query(
                api_key=_authenticate(request),
                id=request.match_info.get("id", ""),
                query=request.query,
                content_type=request.headers.get(hdrs.CONTENT_TYPE, ""),
                body=await self._read_body(request),
            )
            found = await answer(query)
            record = request[_RECORD]
            record.params, record.files = query.params, query.files
            if isinstance(found, Refusal):
                raise _RefusedError(found)
            if isinstance(found, StoredFile):
                headers = {hdrs.CONTENT_TYPE: "application/octet-stream"}
                return web.FileResponse(found.path, headers=headers)
            return _json_response(msgspec.json.encode(found))

        return handle

    async def _close(self, _app: web.Application) -> None:
        await self.batches.aclose()

    async def _list_models(self, request: web.Request) -> web.Response:
        """List the models."""
        _authenticate(request)
        data = [_describe_model(model) for model in MODELS]
        return _json_response(msgspec.json.encode({"object": "list", "data": data}))

    async def _show_model(self, request: web.Request) -> web.Response:
        """Describe one model."""
        _authenticate(request)
        model = request.match_info["model"]
        if model not in MODELS:
            raise _RefusedError(model_not_found(model))
        return _json_response(msgspec.json.encode(_describe_model(model)))

    async def _download(self, request: web.Request) -> web.Response:
        """Hand out a picture at a signed address; no key needed, as with a blob store."""
        found = self.service.blobs.get(
            request.match_info["name"], request.query, self.service.clock()
        )
        if isinstance(found, Denial):
            return web.Response(
                status=found.status,
                body=_denial_xml(found),
                headers={hdrs.CONTENT_TYPE: "application/xml", "x-ms-error-code": found.code},
            )
        return web.Response(
            body=found.data,
            headers={hdrs.CONTENT_TYPE: found.content_type, hdrs.CONTENT_DISPOSITION: "inline"},
        )


async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Call the handler; return an error envelope for everything it raises."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        return _method_not_allowed(request, error)
    except ConnectionError:  # the client has gone: nobody is there to read the answer
        return web.Response(status=499)
    except _RefusedError as error:
        refusal = error.refusal
    except web.HTTPNotFound:
        refusal = unknown_route(request.method, request.path)
    except Exception:
        _logger.exception("%s %s failed", request.method, request.path)
        refusal = server_error()
    return _error_response(refusal)


def _method_not_allowed(request: web.Request, error: web.HTTPMethodNotAllowed) -> web.Response:
    """Refuse a method, naming those that are allowed; OPTIONS asks for just that."""
    allow: dict[str, str] = {hdrs.ALLOW: ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))}
    if request.method == hdrs.METH_OPTIONS:
        return web.Response(status=204, headers=allow)
    refusal = unsupported_method(request.method, request.path)
    return _error_response(attrs.evolve(refusal, headers=allow))


def _authenticate(request: web.Request) -> str:
    """Return the API key of a request, or refuse it."""
    scheme, _, credentials = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    key = credentials.strip() if scheme.lower() == "bearer" else ""
    key = key or request.headers.get("api-key", "").strip()
    if not key:
        raise _RefusedError(key_missing())
    if not key.startswith(_KEY_PREFIX):
        raise _RefusedError(key_wrong(key))
    request[_API_KEY] = key
    return key


def _json_response(body: bytes, status: int = 200) -> web.Response:
    """Return an answer with a JSON body."""
    return web.Response(status=status, body=body, content_type="application/json")


def _error_response(refusal: Refusal) -> web.Response:
    """Return a refusal as an answer."""
    response = _json_response(msgspec.json.encode(refusal.envelope()), refusal.status)
    response.headers.update(refusal.headers)
    return response


def _describe_model(model: str) -> dict[str, object]:
    """Return the model object of the API."""
    return {"id": model, "object": "model", "created": _MODELS_CREATED, "owned_by": "system"}


def _denial_xml(denial: Denial) -> bytes:
    """Return the error body of an Azure blob store."""
    # https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2 (2026-11-21)
    detail = (
        f"<AuthenticationErrorDetail>{escape(denial.detail)}</AuthenticationErrorDetail>"
        if denial.detail
        else ""
    )
    text = (
        '<?xml version="1.0" encoding="utf-8"?><Error>'
        f"<Code>{denial.code}</Code><Message>{escape(denial.message)}</Message>{detail}</Error>"
    )
    return text.encode()
