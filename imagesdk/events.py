"""What a session tells its ``on_event`` callback, one frozen record for each step of a call.

The steps, in the order in which a call goes through them: `Started`, `Queued`, `Admitted`, then for each
attempt a `Partial` for each partial image of a stream, `Attempted` and, where it failed and the call goes on, `Throttled` or `Retrying`; at the end
exactly one of `Done`, `Failed` and `Split`. `Downloaded` comes later, when an image is fetched from its URL.

All events of a call come from its own task, in its context: a context variable that a listener sets at
the beginning is there until the end, and around everything that the call does meanwhile.

A line in a log can be written from one event alone; none holds a prompt, an image or a key.
"""

from __future__ import annotations

import attrs

__all__ = (
    "Admitted",
    "Attempted",
    "Done",
    "Downloaded",
    "Event",
    "Failed",
    "Partial",
    "Queued",
    "Retrying",
    "Split",
    "Started",
    "Throttled",
)


@attrs.frozen(kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        call: Number of the HTTP call within its session, from 1. A request that is split because of
            its n is several calls.
        endpoint: ``"generations"``, ``"edits"`` or ``"variations"``.
        model: As it is sent, None for the classic API's default.
    """

    call: int
    endpoint: str
    model: str | None


@attrs.frozen(kw_only=True)
class Started(Event):
    """The call begins: nothing was waited for yet, and nothing was sent.

    Attributes:
        images: Number of images that it asks for.
        input_images: Number of images that it carries, without masks.
        size: As it is sent, None for the server's default.
        quality: As it is sent, None for the server's default.
        server_address: Host of the server.
        server_port: Its port.
    """

    images: int
    input_images: int
    size: str | None
    quality: str | None
    server_address: str
    server_port: int


@attrs.frozen(kw_only=True)
class Queued(Event):
    """The call has taken its place in the limiter's queue, and waits.

    Attributes:
        cost: Images that it will be charged by the limiter.
        position: Place in the queue, 1 for the head.
        wait: Seconds until it is admitted, as the limiter foresees them; 0 or more.
        reason: What it waits for: ``"queue"``, the calls before it; ``"window"``, room in a window of
            the limit; ``"pause"``, the end of a pause that a 429 began; ``"probe"``, the first request
            after such a pause; ``"pace"``, the token bucket; ``"concurrency"``, a free slot of its
            session; ``"store"``, the store that several processes share. More may be added.
    """

    cost: int
    position: int
    wait: float
    reason: str


@attrs.frozen(kw_only=True)
class Admitted(Event):
    """The limiter let an attempt of the call through.

    Attributes:
        attempt: Number of that attempt, 1 for the first of the call.
        waited: Seconds in the queue since the call, or its throttled attempt, entered it.
    """

    attempt: int
    waited: float


@attrs.frozen(kw_only=True)
class Attempted(Event):
    """One HTTP exchange ended.

    Attributes:
        number: 1 for the first of the call.
        outcome: As in `imagesdk.Attempt`.
        elapsed: Seconds.
        status: HTTP status, None without an answer.
        request_id: The server's ``x-request-id``.
        may_be_billed: True if the exchange failed and may still be charged.
        error: One line, None for success.
    """

    number: int
    outcome: str
    elapsed: float
    status: int | None
    request_id: str | None
    may_be_billed: bool
    error: str | None


@attrs.frozen(kw_only=True)
class Partial(Event):
    """A partial image of a stream arrived.

    Attributes:
        index: As the server counts, from 0.
        size_bytes: Size of the image.
    """

    index: int
    size_bytes: int


@attrs.frozen(kw_only=True)
class Retrying(Event):
    """The call will be sent again after a pause.

    Attributes:
        attempt: Number of the attempt that failed, from 1.
        delay: Seconds until the call is sent again, or joins the limiter's queue again.
        reason: The class of the failure: see `imagesdk.Attempt`.
        message: How it failed, one line.
        status: HTTP status, None without an answer.
        request_id: The server's ``x-request-id``, None if it sent none.
        may_be_billed: True if the server may charge for the attempt that failed: then the call may be
            paid twice.
    """

    attempt: int
    delay: float
    reason: str
    message: str
    status: int | None
    request_id: str | None
    may_be_billed: bool


@attrs.frozen(kw_only=True)
class Throttled(Event):
    """The server answered 429: everybody on the limiter pauses and the call keeps its place.

    Attributes:
        attempt: Number of the attempt that was refused, from 1.
        pause: Seconds that the limiter pauses, from now.
        retry_after: Seconds that the server asked for, None if it named no time.
        limit: Images a minute that the limiter uses from now on, None for any number.
        message: The server's words.
        status: HTTP status: 429 as a rule.
        request_id: The server's ``x-request-id``, None if it sent none.
    """

    attempt: int
    pause: float
    retry_after: float | None
    limit: float | None
    message: str
    status: int | None
    request_id: str | None


@attrs.frozen(kw_only=True)
class Downloaded(Event):
    """An image was fetched from its URL: not part of a call, ``call`` is 0 and ``endpoint`` "downloads".

    Attributes:
        size_bytes: Size of the image.
    """

    size_bytes: int


@attrs.frozen(kw_only=True)
class Done(Event):
    """The call succeeded.

    Attributes:
        images: Number of images in the answer.
        elapsed: Seconds since the first admission.
        waited: Seconds in the limiter's queue, all attempts together.
        attempts: Number of HTTP exchanges.
        input_tokens: As the server counts them, None if it does not say.
        input_image_tokens: Those of them that are of images; None if it does not say.
        output_tokens: As the server counts them, None if it does not say.
    """

    images: int
    elapsed: float
    waited: float
    attempts: int
    input_tokens: int | None
    input_image_tokens: int | None
    output_tokens: int | None


@attrs.frozen(kw_only=True)
class Failed(Event):
    """The call ended with an error, or was cancelled.

    Attributes:
        error: Name of the error's class.
        message: Its message.
        may_be_billed: True if the server may charge for it.
        elapsed: Seconds since the first admission, 0 if it was not admitted.
        waited: Seconds in the limiter's queue until admissions, all attempts together.
        attempts: Number of HTTP exchanges.
    """

    error: str
    message: str
    may_be_billed: bool
    elapsed: float
    waited: float
    attempts: int


@attrs.frozen(kw_only=True)
class Split(Event):
    """The call asks for more images than the limit now lets one request have: several calls take over.

    Attributes:
        limit: Most images in one request from now on.
    """

    limit: int
