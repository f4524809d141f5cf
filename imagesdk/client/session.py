"""`ImageSession`: one object that holds the limiter, the retry policy and the connections of one key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from functools import partial as partial_of
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeVar

import attrs

from imagesdk.client._assembly import CallOptions, Validate, as_request
from imagesdk.client._image_methods import ImageMethods
from imagesdk.client._pipeline import Pipeline
from imagesdk.client._runner import MAX_BYTES_AN_IMAGE, Runner
from imagesdk.client._stream_methods import StreamMethods
from imagesdk.client.config import (
    choose_limiter,
    choose_policy,
    choose_transport,
    hide_key,
    read_endpoint,
    seconds,
)
from imagesdk.client.downloads import Downloader
from imagesdk.client.fanout import ImageMap
from imagesdk.client.results import ImagesResponse, SaveTo
from imagesdk.client.streaming import ImageStream
from imagesdk.errors import Attempt, ConfigurationError
from imagesdk.events import Downloaded, Event
from imagesdk.limiters.base import Limiter, LimiterSnapshot, Priority, Slots
from imagesdk.models.choices import Model
from imagesdk.models.profiles import ServerProfile
from imagesdk.models.requests import (
    EditRequest,
    GenerateRequest,
    ImageRequest,
    VariationRequest,
)
from imagesdk.retry import RetryPolicy
from imagesdk.transport.base import Transport

if TYPE_CHECKING:
    import aiohttp

__all__ = ("ImageSession", "rules_of")

Q = TypeVar("Q", bound=str | GenerateRequest | EditRequest | VariationRequest)


class ImageSession(ImageMethods, StreamMethods):
    """Generate, edit and vary images, within the rate limit, without paying twice.

    Use it as ``async with ImageSession() as images:``, or call `aclose` yourself. One session serves
    any number of tasks of one event loop; it may be made before the loop runs.

    Args:
        api_key: None for ``OPENAI_API_KEY``, or before it the variable that the server's profile names.
            Surrounding white space is removed. Servers of your own may need none.
        base_url: None for ``OPENAI_BASE_URL``, or else where the profile of *server* says, or OpenAI's
            own. With its path, as in ``"http://127.0.0.1:8000/v1"``.
        organization: None for ``OPENAI_ORG_ID``.
        project: None for ``OPENAI_PROJECT_ID``.
        model: Model of every call that names none. None sends no model: the classic API. OpenAI's own
            server requires one.
        server: A `ServerProfile`, or the name of a known one, such as ``"azure"``, ``"xai"``, ``"localai"``:
            docs/servers.md lists them. None picks it by the host of base_url.
        images_per_minute: Limit of the key in images, above 0. ``"auto"`` begins with the profile's and
            follows what the server names, up and down. None for no limit of ours. Left out, the
            server's profile decides: 50 a minute, and no limit for servers of your own.
        limiter: An `ImageLimiter` or `RedisLimiter` that several sessions share, instead of
            images_per_minute.
        retry: What to do when an exchange fails.
        timeout: Seconds from a call's first admission to its end: attempts, pauses, waits after a 429.
            Time in the queue before that does not count. None for any time. Left out, the server's profile
            decides: 600, and 3,600 for servers of your own.
        max_wait: Seconds that a call may wait in the limiter's queue; a longer wait is refused at once.
            None for any time.
        max_concurrency: Most exchanges in flight, None for any number.
        validate: What to do with a request that breaks a rule of its model: ``"error"`` raises before
            anything is sent, ``"warn"`` warns and sends, ``"off"`` sends.
        client_session: An `aiohttp.ClientSession` to use; it is not closed.
        transport: Another transport, for tests: see `imagesdk.testing`.
        on_event: Called with a record of `imagesdk.events` at every step; it must return quickly.

    Raises:
        ConfigurationError: A value cannot be used, or there is no key for OpenAI's own server.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        model: Model | None = None,
        server: ServerProfile | str | None = None,
        images_per_minute: float | Literal["profile", "auto"] | None = "profile",
        limiter: Limiter | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | Literal["profile"] | None = "profile",
        max_wait: float | None = None,
        max_concurrency: int | None = None,
        validate: Validate = "error",
        client_session: aiohttp.ClientSession | None = None,
        transport: Transport | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        api_key = None if api_key is None else hide_key(api_key)
        endpoint = read_endpoint(
            api_key=api_key,
            base_url=base_url,
            organization=organization,
            project=project,
            server=server,
        )
        profile = endpoint.profile
        self._defaults = CallOptions(
            timeout=profile.timeout if timeout == "profile" else seconds("timeout", timeout),
            max_wait=seconds("max_wait", max_wait, zero=True),
        )
        if validate not in ("error", "warn", "off"):
            raise ConfigurationError(
                f"validate is {validate!r}; it must be 'error', 'warn' or 'off'"
            )
        self._pipeline = Pipeline(
            transport=choose_transport(transport, client_session),
            limiter=choose_limiter(limiter, images_per_minute, profile),
            policy=choose_policy(retry),
            credentials=endpoint.credentials,
            secret=endpoint.secret,
            slots=None if max_concurrency is None else Slots(max_concurrency),
            on_event=on_event,
            list_key=profile.list_key,
        )
        self._runner = Runner(
            endpoint=endpoint,
            profile=profile,
            model=model,
            validate=validate,
            pipeline=self._pipeline,
            downloader=Downloader(
                transport=self._pipeline.transport,
                endpoint=endpoint,
                max_bytes=MAX_BYTES_AN_IMAGE,
                on_downloaded=self._on_downloaded,
            ),
        )
        self._maps: set[ImageMap[Any, Any]] = set()
        self._streams: set[ImageStream[Any]] = set()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session holds a key and connections: make one in each process")

    def __repr__(self) -> str:
        if not hasattr(self, "_runner"):  # a traceback that shows locals, of __init__
            return "<ImageSession that could not be made>"
        state = " closed" if self._pipeline.closed else ""
        runner = self._runner
        return f"<ImageSession {runner.endpoint.base_url} model={runner.model!r}{state}>"

    @property
    def limiter(self) -> Limiter:
        """The limiter of the session, to share it with another one or to look at it."""
        return self._pipeline.limiter

    @property
    def base_url(self) -> str:
        """Where the server is, without a slash at its end."""
        return self._runner.endpoint.base_url

    @property
    def server(self) -> ServerProfile:
        """How the server wants to be spoken to: what was given, or what the host selects."""
        return self._runner.profile

    @property
    def model(self) -> str | None:
        """Model of every call that names none; None sends no model."""
        return self._runner.model

    def snapshot(self, model: str | None = None) -> LimiterSnapshot:
        """Return the state of the limiter: what is used, what waits and why, how long it pauses.

        Args:
            model: Where the server limits each family of models by itself, the model whose limit is
                meant; None for the session's.

        Example:
            >>> import asyncio
            >>> from imagesdk import ImageSession
            >>> async def main():
            ...     async with ImageSession(api_key=key, base_url=url) as images:
            ...         await images.generate("a fox", n=2, size="256x256")
            ...         now = images.snapshot()
            ...         return now.used, now.limit, now.queued
            >>> asyncio.run(main())
            (2, 50.0, 0)
        """
        return self._pipeline.limiter.snapshot(self._runner.scope(model or self._runner.model))

    def forecast(self, images: int, requests: int, *, model: str | None = None) -> float:
        """Return the seconds until the last of so many could be sent, if only the limit held them back.

        How long the last one then takes is not in it, nor what other programs will send.

        Args:
            images: That are still to be sent, those of calls that wait already among them.
            requests: That ask for them.
            model: See `snapshot`.

        Example:
            >>> import asyncio
            >>> from imagesdk import ImageSession
            >>> async def main():
            ...     async with ImageSession(api_key=key, base_url=url) as images:
            ...         return round(images.forecast(images=170, requests=17) / 60)
            >>> asyncio.run(main())  # minutes: 50 images at once, then 50 in each
            3
        """
        scope = self._runner.scope(model or self._runner.model)
        return self._pipeline.limiter.forecast(images, requests, scope)

    def map(
        self,
        requests: Iterable[Q] | AsyncIterable[Q],
        *,
        concurrency: int = 32,
        ordered: bool = False,
        timeout: float | None = None,
        max_wait: float | None = None,
        priority: Priority = "batch",
        partial: Literal["raise", "return"] = "raise",
        save_to: SaveTo = None,  # type: ignore[assignment]
        before_send: Callable[[Q], Awaitable[object]] | None = None,
        after_attempt: Callable[[Q, Attempt], object] | None = None,
    ) -> ImageMap[Q, SaveTo]:
        """Run many requests, a bounded number at a time; errors are values.

        Memory is that of *concurrency* requests, however many there are: the next request is taken
        when an outcome is. A sync iterable is advanced on the event loop and should not block.

        Args:
            requests: Prompts or request records, from a sync or async iterable, finite or not.
            concurrency: Most requests in flight, 1 or more. The limiter bounds them further.
            ordered: Hand the outcomes out in the order of the requests, instead of as they complete.
            timeout: As in `generate`.
            max_wait: As in `generate`.
            priority: As in `generate`, but ``"batch"`` unless said otherwise.
            partial: As in `generate`.
            save_to: As in `generate`.
            before_send: Awaited with the request right before it is sent, when its wait in the queue is
                over; again before each further attempt, and for each part of one that is split. The
                place to note what may be billed from now on. What it raises ends the request.
            after_attempt: Called with the request and an `imagesdk.Attempt` when that has ended, however it did:
                until *before_send* is called again nothing of it is in flight. It must return quickly.

        Returns:
            An object for ``async with … as outcomes: async for outcome in outcomes``; each outcome has
            index, request, and response or error.

        Raises:
            ConfigurationError: *concurrency* is below 1, or *requests* cannot be iterated.

        Example:
            >>> import asyncio
            >>> from imagesdk import ImageSession
            >>> async def main():
            ...     async with ImageSession(api_key=key, base_url=url) as images:
            ...         prompts = ["a fox", "an otter", "a corgi"]
            ...         async with images.map(prompts, ordered=True) as outcomes:
            ...             return [(o.request, len(o.unwrap().data)) async for o in outcomes]
            >>> asyncio.run(main())
            [('a fox', 1), ('an otter', 1), ('a corgi', 1)]
        """
        options = self._defaults.but(timeout, max_wait, priority, partial, save_to)

        async def run(item: Q) -> ImagesResponse[Any]:
            own = options
            if before_send is not None:
                own = attrs.evolve(own, before_send=partial_of(before_send, item))
            if after_attempt is not None:
                own = attrs.evolve(own, after_attempt=partial_of(after_attempt, item))
            return await self._runner.run(as_request(item), own)

        fanout: ImageMap[Q, SaveTo] = ImageMap(
            run, requests, concurrency=concurrency, ordered=ordered, forget=self._maps.discard
        )
        self._maps.add(fanout)
        return fanout

    async def aclose(self) -> None:
        """Close the session: nothing is sent any more, and connections that it owns are closed.

        Calls that wait or run, maps and streams too, end with ConfigurationError, whose
        ``may_be_billed`` says what was in flight.
        """
        self._pipeline.close()
        self._runner.downloader.close()
        try:
            maps, streams = list(self._maps), list(self._streams)
            await asyncio.gather(*(m.end() for m in maps), *(s.end() for s in streams))
        finally:
            await self._pipeline.transport.aclose()

    async def __aenter__(self) -> Self:
        await self._runner.enter_loop()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _on_downloaded(self, size_bytes: int) -> None:
        self._pipeline.emit(
            Downloaded(call=0, endpoint="downloads", model=None, size_bytes=size_bytes)
        )


def rules_of(session: ImageSession) -> Callable[[ImageRequest], None]:
    """Return what raises for a request, whose images are paths, all that *session* would before sending it.

    It sends nothing, reads files where it is called, and may be called in any thread.
    """
    return session._runner.check  # noqa: SLF001 - a part of the session that its users do not see
