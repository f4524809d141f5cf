"""The Images API over HTTP: the routes, and what each of them answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from xml.sax.saxutils import escape

import attrs
import msgspec
from aiohttp import hdrs, web

from imagesdk.emulator.batch_api import Answer, BatchApi, Query
from imagesdk.emulator.blobs import Denial
from imagesdk.emulator.control_api import ControlApi
from imagesdk.emulator.exchange import (
    FAULT,
    FILES_PATH,
    RECORD,
    Exchange,
    Handler,
    RefusedError,
    authenticate,
    expect,
    json_response,
    read_body,
)
from imagesdk.emulator.filestore import StoredFile
from imagesdk.emulator.idempotency import IdempotencyKeys, fingerprint
from imagesdk.emulator.jobs import Job, read_job
from imagesdk.emulator.openapi import document
from imagesdk.emulator.refusals import Refusal, model_not_found
from imagesdk.emulator.service import ImageService, Order
from imagesdk.emulator.spec import MODELS, Endpoint
from imagesdk.emulator.sse import send_events

__all__ = ("ImagesApp",)

_MODELS_CREATED = 1_700_000_000


@attrs.frozen(kw_only=True)
class ImagesApp:
    """The routes of the emulator.

    Attributes:
        service: Answers image requests.
        batches: Answers what is asked about files and batches.
        exchange: What happens around every handler.
        idempotency_keys: The idempotency keys that were used.
        control: The routes by which other processes control the server, or None for no such routes.
        origin: Returns the server's own address, such as ``http://127.0.0.1:8000``.
        max_body_bytes: A longer body gets 413.
    """

    service: ImageService
    batches: BatchApi
    exchange: Exchange
    idempotency_keys: IdempotencyKeys
    control: ControlApi | None
    origin: Callable[[], str]
    max_body_bytes: int

    def build(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(
            middlewares=[self.exchange.middleware], client_max_size=self.max_body_bytes
        )
        app.on_response_prepare.append(self.exchange.stamp)
        app.on_shutdown.append(self._shut_down)
        for endpoint in (Endpoint.GENERATION, Endpoint.EDIT, Endpoint.VARIATION):
            app.router.add_post(endpoint.value, self._images(endpoint), expect_handler=expect)
        app.router.add_get("/v1/models", self._list_models, expect_handler=expect)
        app.router.add_get("/v1/models/{model}", self._show_model, expect_handler=expect)
        app.router.add_get(FILES_PATH + "{name}", self._download, expect_handler=expect)
        for method, path, handler in self.batches.routes():
            answer = self._batch_route(handler)
            app.router.add_route(method, path, answer, expect_handler=expect)
        app.router.add_get("/openapi.json", self._describe)
        if self.control is not None:
            self.control.add_to(app.router)
        app.on_cleanup.append(self._close)
        return app

    def _images(self, endpoint: Endpoint) -> Handler:
        """Return the handler of one of the three image routes."""

        async def handle(request: web.Request) -> web.StreamResponse:
            api_key = authenticate(request)
            body = await read_body(request, self.max_body_bytes)
            content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
            find = self.batches.find_image
            job = await asyncio.to_thread(read_job, endpoint, content_type, body, find)
            record = request[RECORD]
            record.params, record.files = job.params, job.files
            await self.exchange.begin(request)
            if job.refusal is not None:
                raise RefusedError(job.refusal)
            key = request.headers.get("Idempotency-Key")
            content = b""
            if self.idempotency_keys.watches(key):
                content = await asyncio.to_thread(fingerprint, job)
            with self.idempotency_keys.claim(api_key, key, content) as claim:
                if claim.refusal is not None:
                    raise RefusedError(claim.refusal)
                order = Order(
                    api_key=api_key,
                    request_id=record.request_id,
                    url_prefix=self.origin() + FILES_PATH,
                    fault=request[FAULT],
                    claim=claim,
                )
                try:
                    return await (self._stream if job.streams else self._answer)(
                        request, job, order
                    )
                finally:
                    record.charged = order.charged

        return handle

    async def _answer(self, request: web.Request, job: Job, order: Order) -> web.StreamResponse:
        """Answer with all pictures at once."""
        answer = await self.service.answer(job, order)
        if isinstance(answer, Refusal):
            raise RefusedError(answer)
        self.exchange.finish(request)
        body = await asyncio.to_thread(msgspec.json.encode, answer)
        response = web.Response(body=body, content_type="application/json")
        if order.claim.created is not None:
            response.headers["Idempotent-Replayed"] = "true"
        return response

    async def _stream(self, request: web.Request, job: Job, order: Order) -> web.StreamResponse:
        """Answer with events; what is refused is refused before the first one."""
        events = await self.service.stream(
            job, order, is_wanted=lambda: request.transport is not None
        )
        if isinstance(events, Refusal):
            raise RefusedError(events)
        fault = order.fault
        if fault.stop == "charge" or fault.charge:
            async for _ in events:
                pass
            self.exchange.finish(request)
        return await send_events(request, events, fault)

    def _batch_route(self, answer: Callable[[Query], Awaitable[Answer]]) -> Handler:
        """Return the handler of one of the routes of files and batches."""

        async def handle(request: web.Request) -> web.StreamResponse:
            query = Query(
                api_key=authenticate(request),
                id=request.match_info.get("id", ""),
                query=request.query,
                content_type=request.headers.get(hdrs.CONTENT_TYPE, ""),
                body=await read_body(request, self.max_body_bytes),
            )
            found = await answer(query)
            record = request[RECORD]
            record.params, record.files = query.params, query.files
            if isinstance(found, Refusal):
                raise RefusedError(found)
            if isinstance(found, StoredFile):
                headers = {hdrs.CONTENT_TYPE: "application/octet-stream"}
                if request[FAULT].spoils_body:
                    content = await asyncio.to_thread(found.path.read_bytes)
                    return web.Response(body=content, headers=headers)
                return web.FileResponse(found.path, headers=headers)
            return json_response(found)

        return handle

    async def _shut_down(self, _app: web.Application) -> None:
        self.exchange.closing.set()

    async def _close(self, _app: web.Application) -> None:
        await self.batches.aclose()

    async def _describe(self, _request: web.Request) -> web.Response:
        """Hand out the OpenAPI document; no key needed."""
        return json_response(document(self.origin()))

    async def _list_models(self, request: web.Request) -> web.Response:
        """List the models."""
        authenticate(request)
        data = [_describe_model(model) for model in MODELS]
        return json_response({"object": "list", "data": data})

    async def _show_model(self, request: web.Request) -> web.Response:
        """Describe one model."""
        authenticate(request)
        model = request.match_info["model"]
        if model not in MODELS:
            raise RefusedError(model_not_found(model))
        return json_response(_describe_model(model))

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
