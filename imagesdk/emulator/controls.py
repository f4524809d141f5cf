"""The faults of a server as methods: each plans one `Fault`, and says what it is for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Unpack

from msgspec import UNSET

from imagesdk.emulator.failures import FailureName
from imagesdk.emulator.faults import Ending, Fault, File, Stage

__all__ = ("FaultControls", "Which")


class Which(TypedDict, total=False):
    """Which requests a fault meets; the same for every method of `FaultControls`.

    Attributes:
        times: With how many requests it happens, 1 or more; None for every one until the next
            reset. 1 if it is not given.
        skip: How many requests that it would meet are let through first.
        chance: With which share of the requests, above 0 and up to 1; drawn from the seed.
        on: ``images`` for the three image routes (if not given), ``generations``, ``edits``,
            ``variations``, ``downloads``, ``all``, or the beginning of a path.
    """

    times: int | None
    skip: int
    chance: float
    on: str


class FaultControls(ABC):
    """What can be made to go wrong. Any thread may call it, while the server runs or before.

    Faults that hit a number of requests come one after the other, in the order of the calls. Every
    method raises `ValueError` for a value that makes no sense.
    """

    @abstractmethod
    def inject(self, fault: Fault | str | Mapping[str, Any]) -> None:
        """Plan any fault: a `Fault`, its JSON object, or a text such as ``stop=charge times=2``.

        Raises:
            ValueError: It is no fault; the message says why.
        """

    def fail_next(
        self,
        failure: int | FailureName = 500,
        *,
        retry_after: float | str | None = None,
        message: str | None = None,
        code: str | None = None,
        body: Any = UNSET,  # noqa: ANN401  # any JSON value
        headers: Mapping[str, str] | None = None,
        charge: bool = False,
        **which: Unpack[Which],
    ) -> None:
        """Answer the next requests with a failure.

        Args:
            failure: A status from 200 to 599, or a failure by name: ``rate_limit``, ``slow_down``,
                ``no_access``, ``quota``, ``credit``, ``billing``, ``moderation``, ``unverified``,
                ``overloaded``, ``cloudflare`` or ``gateway``.
            retry_after: ``Retry-After``: seconds, or any text as it is.
            message: Message instead of the usual one.
            code: Code instead of the usual one.
            body: Body instead of the usual one: a text as it is, anything else as JSON.
            headers: Further headers.
            charge: Whether the images are made and billed all the same.
            which: See `Which`.
        """
        self._inject(
            which,
            fail=failure,
            retry_after=retry_after,
            message=message,
            code=code,
            headers=headers,
            charge=charge or None,
            body=body,
        )

    def latency(self, seconds: float, **which: Unpack[Which]) -> None:
        """Let every image request take so much longer; 0 ends it.

        Args:
            seconds: 0 or more.
            which: See `Which`; ``times`` is None if it is not given.
        """
        self._inject({"times": None, **which}, latency=seconds)

    def drop_connection(
        self,
        *,
        after: Stage = "upload",
        how: Literal["close", "reset"] = "reset",
        **which: Unpack[Which],
    ) -> None:
        """End the connection of the next request without an answer.

        Args:
            after: ``head`` of the request, ``half`` of the upload, the whole ``upload``, or the
                ``charge``: the images are made and billed, and nobody gets them.
            how: ``reset`` the connection, or ``close`` it. Closed with an upload half read it is
                reset as well: that is what TCP does.
            which: See `Which`.
        """
        self._inject(which, stop=after, how=how)

    def hang(self, *, after: Stage = "charge", **which: Unpack[Which]) -> None:
        """Never answer the next request: it waits until the client leaves, or the server.

        Args:
            after: As for `drop_connection`.
            which: See `Which`.
        """
        self._inject(which, stop=after, how="hang")

    def cut_answer(self, at: int, *, how: Ending = "close", **which: Unpack[Which]) -> None:
        """Let the body of the next answer end early; its images are billed.

        Args:
            at: Bytes of the body that arrive, 0 or more.
            how: ``close`` or ``reset`` the connection, ``hang``, ``end`` the answer as if it were
                whole; or end a stream with an ``error`` event.
            which: See `Which`.
        """
        self._inject(which, cut=at, how=how)

    def cut_stream(self, events: int, *, how: Ending = "close", **which: Unpack[Which]) -> None:
        """Let the next stream end early; its image is billed.

        Args:
            events: Events that arrive, 0 or more.
            how: As for `cut_answer`.
            which: See `Which`.
        """
        self._inject(which, events=events, how=how)

    def drip(self, bytes_per_second: float, **which: Unpack[Which]) -> None:
        """Let the body of the next answer arrive slowly.

        Args:
            bytes_per_second: Above 0.
            which: See `Which`.
        """
        self._inject(which, bytes_per_second=bytes_per_second)

    def fewer_images(self, images: int, **which: Unpack[Which]) -> None:
        """Put so many images into the next answer, however many were asked for and billed.

        Args:
            images: 0 or more.
            which: See `Which`.
        """
        self._inject(which, images=images)

    def wrong_files(self, file: File = "html", **which: Unpack[Which]) -> None:
        """Make the files of the next answer something else than it says.

        Args:
            file: A format, ``html``, ``half`` of the right file, or ``empty``.
            which: See `Which`.
        """
        self._inject(which, file=file)

    def bad_base64(self, image: int = 0, **which: Unpack[Which]) -> None:
        """Break the base64 of one image in the next answer.

        Args:
            image: Its number, from 0.
            which: See `Which`.
        """
        self._inject(which, bad_base64=image)

    def expire_urls(self, **which: Unpack[Which]) -> None:
        """Let the URLs of the next answer have expired before it arrives.

        Args:
            which: See `Which`.
        """
        self._inject(which, expired=True)

    def _inject(self, which: Which, **effects: object) -> None:
        given = {
            name: value
            for name, value in effects.items()
            if value is not (UNSET if name == "body" else None)
        }
        self.inject({**which, **given})
