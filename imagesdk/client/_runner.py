"""Check, split, send and join the requests of one session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable, Mapping, Sequence
from datetime import datetime
from importlib import metadata
from typing import Any

import attrs

from imagesdk.client._assembly import (
    CallOptions,
    Validate,
    check_endpoint,
    check_extra,
    find_problems,
    images_asked,
    join,
    judge,
    read_inputs,
    resolve_inputs,
    split,
    wire_request,
)
from imagesdk.client._pipeline import Call, Pipeline
from imagesdk.client._stream_receiver import StreamReceiver
from imagesdk.client._turns import Turns
from imagesdk.client.config import Endpoint
from imagesdk.client.delivery import Delivery
from imagesdk.client.downloads import Downloader
from imagesdk.client.receiving import NewSink
from imagesdk.client.results import ImagesResponse
from imagesdk.client.streaming import CompletedImage, Deliver
from imagesdk.errors import ConfigurationError, ImageSDKError, InvalidImageError, NotFoundError
from imagesdk.limiters.base import CallTooLarge
from imagesdk.models.checks import check_prompt
from imagesdk.models.families import ModelFamily
from imagesdk.models.profiles import ServerProfile, family_of, limit_group
from imagesdk.models.requests import ImageRequest, StreamOptions, file_fields, shape_of
from imagesdk.models.servers import why_not_found
from imagesdk.protocol.decode import Answer
from imagesdk.protocol.encode import InputFile
from imagesdk.protocol.parts import MemorySink

__all__ = ("MAX_BYTES_AN_IMAGE", "Runner")

MAX_BYTES_AN_IMAGE = 64 * 1024 * 1024
_BODY_BYTES_AN_IMAGE = MAX_BYTES_AN_IMAGE * 4 // 3  # in base64
_MOST_RIGHT = 256
"""Shapes of requests that are remembered because they broke no rule."""
_BODY_OVERHEAD_BYTES = 2 * 1024 * 1024


@attrs.define(kw_only=True, eq=False)
class _Prepared:
    """A request that was checked: what its parts have in common, and the calls that they took so far."""

    request: ImageRequest
    parts: Sequence[ImageRequest]
    family: ModelFamily
    files: Sequence[InputFile]
    input_images: int
    scope: str
    options: CallOptions
    stream: StreamOptions | None = None
    new_sink: NewSink = MemorySink
    calls: list[Call] = attrs.field(factory=list)


@attrs.define(kw_only=True, eq=False)
class Runner:
    """Run requests on one server, for one session.

    Attributes:
        endpoint: Where the server is.
        profile: What it accepts.
        model: Model of the requests that name none.
        validate: What to do with a request that breaks a rule.
        pipeline: Sends the calls.
        downloader: Fetches images from URLs.
        own_headers: That every request has; empty before `enter_loop`.
    """

    endpoint: Endpoint
    profile: ServerProfile
    model: str | None
    validate: Validate
    pipeline: Pipeline
    downloader: Downloader
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    own_headers: Mapping[str, str] = attrs.field(factory=dict, init=False)
    _turns: Turns = attrs.field(factory=Turns, init=False)
    _calls: int = attrs.field(default=0, init=False)
    _right: dict[Hashable, ModelFamily] = attrs.field(factory=dict, init=False)

    async def enter_loop(self) -> None:
        """Bind the session to the running loop at its first use.

        Raises:
            ConfigurationError: It belongs to another loop, or it is closed.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ConfigurationError(
                "this session belongs to another event loop: make one session for each loop, for "
                "example inside the coroutine that asyncio.run() is given"
            )
        if self.pipeline.closed:
            raise ConfigurationError("the session is closed; make a new one")
        if not self.own_headers:
            version = await asyncio.to_thread(metadata.version, "imagesdk")
            self.own_headers = {"User-Agent": f"imagesdk/{version}"}

    def scope(self, model: str | None) -> str:
        """Return what the server limits by itself: a family of models, or everything."""
        if not self.profile.limits_each_family:
            return ""
        return limit_group(model, self.profile)

    async def run(self, request: ImageRequest, options: CallOptions) -> ImagesResponse[Any]:
        """Check, split, send and join one request.

        Raises:
            ImageSDKError: As `imagesdk.ImageSession.generate` does.
        """
        prepared = await self._prepare(request, options)
        answers: Sequence[Answer | BaseException]
        unsaved: Sequence[ImageSDKError] = ()
        if options.save_to is None:
            answers = await self._send_all(prepared, prepared.parts)
        else:
            async with Delivery(options.save_to, self.downloader.fetch) as delivery:
                prepared.new_sink = delivery.new_sink
                sent = await self._send_all(prepared, prepared.parts)
                answers, unsaved = await delivery.finish(sent)
        return join(
            images_asked(prepared.request),
            answers,
            tuple([attempt for call in prepared.calls for attempt in call.attempts]),
            fetch=self.fetch,
            keep_partial=options.partial == "return",
            unsaved=unsaved,
        )

    def _send_all(
        self,
        prepared: _Prepared,
        parts: Sequence[ImageRequest],
        place: Any = None,  # noqa: ANN401 - the limiter's own
    ) -> Awaitable[list[Answer | BaseException]]:
        """Send parts side by side; return their answers, or why there is none, in order."""
        if len(parts) == 1:  # no task of its own: it would take 26 us
            return self._send(prepared, parts[0], place)
        return self._send_several(prepared, parts, place)

    async def _send_several(
        self,
        prepared: _Prepared,
        parts: Sequence[ImageRequest],
        place: Any,  # noqa: ANN401
    ) -> list[Answer | BaseException]:
        several = await asyncio.gather(*(self._send(prepared, part, place) for part in parts))
        return [answer for answers in several for answer in answers]

    async def _send(
        self,
        prepared: _Prepared,
        part: ImageRequest,
        place: Any,  # noqa: ANN401
    ) -> list[Answer | BaseException]:
        """Send one part; in several, if the server takes fewer images by now."""
        call = self._call(part, prepared, place)
        try:
            return [await self.pipeline.run(call)]
        except CallTooLarge as now:  # the server's limit is lower than was thought
            return await self._send_all(prepared, split(part, now.limit), call.place)
        except NotFoundError as error:
            return [self._explained(error, part)]
        except Exception as error:  # noqa: BLE001 - `join` raises it, once the others are done
            return [error]

    def _explained(self, error: NotFoundError, part: ImageRequest) -> NotFoundError:
        """Add what is known of endpoints and models that are no longer there."""
        why = why_not_found(part.endpoint, part.model, self.profile, silent=error.error is None)
        if why:
            error.message = f"{error.message.rstrip('.')}. {why}"
            error.args = (error.message,)
        return error

    async def stream(
        self,
        request: ImageRequest,
        options: CallOptions,
        stream: StreamOptions,
        deliver: Deliver,
    ) -> CompletedImage[Any]:
        """Check and send one request, and hand its partial images out as they arrive.

        Raises:
            ImageSDKError: As `imagesdk.ImageSession.stream_generate` does.
        """
        prepared = await self._prepare(request, options, stream)
        async with Delivery(options.save_to, self.downloader.fetch) as delivery:
            prepared.new_sink = delivery.new_sink
            call = self._call(prepared.parts[0], prepared, None)
            call.receive = StreamReceiver(
                pipeline=self.pipeline,
                turns=self._turns,
                deliver=deliver,
                whole_answers=self.profile.stream_events == "answers",
            )
            try:
                answer = await self.pipeline.run(call)
            except NotFoundError as error:
                raise self._explained(error, prepared.parts[0]) from None
            answers, unsaved = await delivery.finish([answer])
        attempts = tuple(call.attempts)
        response = join(1, answers, attempts, fetch=self.fetch, keep_partial=False, unsaved=unsaved)
        return CompletedImage(image=response.data[0], usage=response.usage, response=response)

    async def _prepare(
        self, request: ImageRequest, options: CallOptions, stream: StreamOptions | None = None
    ) -> _Prepared:
        """Check and split a request.

        Raises:
            InvalidRequestError: It breaks a rule, or needs an image more often than it can be read.
            ConfigurationError: The server needs a model, and there is none.
        """
        ready = self.own_headers and not self.pipeline.closed
        if not ready or self._loop is not asyncio.get_running_loop():
            await self.enter_loop()
        request = self._named(request)
        shape = shape_of(request) if stream is None else None
        known = None if shape is None else self._right.get(shape)
        family = known or self._family_of(request)
        scope = self.scope(request.model)
        most = min(family.max_n, self.pipeline.limiter.max_cost(scope) or family.max_n)
        inputs = await resolve_inputs(request, self.profile) if file_fields(type(request)) else []
        parts = split(request, most)
        once = [entry for entry in inputs if not entry.file.source.replayable]
        if once and len(parts) > 1:
            raise InvalidImageError(
                f"{once[0].file.field}: a stream that can be read only once was given for n={request.n}, "
                f"which takes {len(parts)} requests; nothing was sent. Save it to a file and pass the "
                f"path, or ask for at most {most}",
                field=once[0].file.field,
                value=request.n,
                limit=most,
            )
        if known is None:
            problems = find_problems(
                request, parts, family, inputs, profile=self.profile, stream=stream
            )
        else:  # one like it broke no rule
            problems = check_prompt(request, family)
        judge(self.validate, inputs, problems)
        if shape is not None and known is None and not problems:
            if len(self._right) >= _MOST_RIGHT:
                self._right.clear()
            self._right[shape] = family
        return _Prepared(
            request=request,
            parts=parts,
            family=family,
            files=[entry.file for entry in inputs],
            input_images=sum([entry.file.field == "image" for entry in inputs]),
            scope=scope,
            options=options,
            stream=stream,
        )

    def check(self, request: ImageRequest, *, in_json: bool = False) -> None:
        """Look whether a request may be sent, without sending it; its images are texts or paths. Blocks.

        Args:
            request: The request.
            in_json: It is sent as JSON, whatever the server's profile says.

        Raises:
            InvalidRequestError: It breaks a rule, and ``validate`` is ``"error"``.
            ConfigurationError: The server needs a model, and there is none.
        """
        request, family = self.with_model(request)
        check_extra(request, self.profile)
        if self.validate == "error":
            inputs = []
            if file_fields(type(request)):
                inputs = read_inputs(request, self.profile, in_json=in_json)
            parts = split(request, family.max_n)
            problems = find_problems(request, parts, family, inputs, profile=self.profile)
            judge(self.validate, inputs, problems)

    def with_model(self, request: ImageRequest) -> tuple[ImageRequest, ModelFamily]:
        """Return a request with the model that it is for, and what that takes.

        Raises:
            InvalidRequestError: The server has no such endpoint.
            ConfigurationError: The server needs a model, and there is none.
        """
        request = self._named(request)
        return request, self._family_of(request)

    def _named(self, request: ImageRequest) -> ImageRequest:
        """Return a request with the session's model, if it names none."""
        if request.model is None and self.model is not None:
            return attrs.evolve(request, model=self.model)
        return request

    def _family_of(self, request: ImageRequest) -> ModelFamily:
        check_endpoint(request, self.endpoint)
        return family_of(request.model, self.profile)

    def _call(
        self,
        part: ImageRequest,
        prepared: _Prepared,
        place: Any,  # noqa: ANN401 - the limiter's own
    ) -> Call:
        """Encode one part, and number it."""
        wire = wire_request(
            part,
            prepared.family,
            prepared.files,
            self.endpoint,
            self.own_headers,
            profile=self.profile,
            stream=prepared.stream,
        )
        self._calls += 1
        cost, options = images_asked(part), prepared.options
        call = Call(
            number=self._calls,
            request=part,
            cost=cost,
            input_images=prepared.input_images,
            scope=prepared.scope,
            place=place,
            wire=wire,
            timeout=options.timeout,
            max_wait=options.max_wait,
            priority=options.priority,
            max_body_bytes=cost * _BODY_BYTES_AN_IMAGE + _BODY_OVERHEAD_BYTES,
            max_pause=self.pipeline.limiter.max_pause,
            new_sink=prepared.new_sink,
            before_send=options.before_send,
            after_attempt=options.after_attempt,
        )
        prepared.calls.append(call)
        return call

    async def fetch(self, url: str, expires_at: datetime | None) -> bytes:
        """Download an image, while the session is open."""
        await self.enter_loop()
        return (await self.downloader.fetch(url, expires_at, MemorySink)).content
