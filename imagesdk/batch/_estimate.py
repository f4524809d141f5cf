"""What calls will cost, and when the limit lets the last of them go, before anything is sent.

The cost comes from a price table, at least and at most; the time from the limiter's own forecast, with
what waits in its queue already. How long the server then takes is not in it, nor what will be
refused, fail or be sent again.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Iterable

import attrs

from imagesdk.batch.jobs import Job, images_asked
from imagesdk.batch.launch import rules_with_prices
from imagesdk.batch.prices import PriceTable, read_prices
from imagesdk.batch.source import open_source
from imagesdk.client.session import ImageSession
from imagesdk.errors import InvalidRequestError
from imagesdk.models.profiles import family_of, limit_group
from imagesdk.models.requests import (
    EditRequest,
    GenerateRequest,
    ImageRequest,
    VariationRequest,
    body_fields,
)

__all__ = ("Estimate", "add_up", "estimate")


@attrs.frozen(kw_only=True)
class Estimate:
    """What one or many requests will take.

    Attributes:
        requests: How many were given.
        images: That they ask for.
        calls: HTTP requests that they take, those with a large n in parts.
        cost: What the images cost, at least and at most, in the currency of the table; None without
            one. What is sent again after a failure that may be billed comes on top.
        wait: Seconds from now until the limit lets the last of them go; 0 if all may go at once.
    """

    requests: int
    images: int
    calls: int
    cost: tuple[float, float] | None
    wait: float


@attrs.define
class _Total:
    """What the requests of one line of models add up to."""

    model: str | None
    images: int = 0
    calls: int = 0


async def estimate(
    session: ImageSession,
    requests: str | ImageRequest | os.PathLike[str] | Iterable[str | ImageRequest | Job],
    *,
    prices: PriceTable | str | os.PathLike[str] | None = None,
) -> Estimate:
    """Say what requests will cost and how long they will wait; nothing is sent.

    Args:
        session: What they would be sent with: its model, its server's limits, its queue as it is now.
        requests: One prompt or request; or any number of them, which are iterated in a thread, once; or the
            path of a batch file as a ``pathlib.Path`` (a text would be a prompt), whose lines are checked.
        prices: What images cost: a table, or the path of one, see `imagesdk.batch.read_prices`; None leaves the
            cost out.

    Returns:
        The estimate.

    Raises:
        ConfigurationError: The table cannot be read, or has no price for a request; or the session belongs
            to another event loop, or is closed.
        InvalidRequestError: Something is neither a prompt nor a request.
        BatchError: The file cannot be read, or a line of it cannot be used or breaks a rule.

    Example:
        >>> import asyncio
        >>> from imagesdk import GenerateRequest, ImageSession
        >>> from imagesdk.batch import estimate
        >>> async def main():
        ...     session = ImageSession(api_key=key, base_url=url, model="gpt-image-2")
        ...     async with session as images:
        ...         found = await estimate(images, GenerateRequest("a fox", n=100))
        ...         return found.images, found.calls, round(found.wait / 60)
        >>> asyncio.run(main())
        (100, 10, 1)
    """
    return (await asyncio.to_thread(_read, session, requests, prices))()


def _read(
    session: ImageSession,
    requests: str | ImageRequest | os.PathLike[str] | Iterable[str | ImageRequest | Job],
    prices: PriceTable | str | os.PathLike[str] | None,
) -> Callable[[], Estimate]:
    """Open what is the path of a file, and add up."""
    if isinstance(prices, str | os.PathLike):
        prices = read_prices(prices)
    if isinstance(requests, os.PathLike):
        requests = open_source(requests, rules=rules_with_prices(session, prices))
    return add_up(session, [requests] if isinstance(requests, _ONE) else requests, prices)


_ONE = (str, GenerateRequest, EditRequest, VariationRequest)


def add_up(
    session: ImageSession,
    requests: Iterable[str | ImageRequest | Job],
    prices: PriceTable | None,
) -> Callable[[], Estimate]:
    """Do what may take long of `estimate`, in a thread; what it returns does the rest, in the loop.

    Args:
        session: As for `estimate`.
        requests: As for `estimate`, several.
        prices: As for `estimate`.

    Returns:
        What gives the estimate; call it in the session's event loop.

    Raises:
        ImageSDKError: As `estimate` does.
    """
    count, low, high = 0, 0.0, 0.0
    totals: dict[str, _Total] = {}
    for item in requests:
        request = _request(item)
        model = request.model or session.model
        params = {**body_fields(request), **(request.extra_body or {})}
        count += 1
        if prices is not None:
            least, most = prices.estimate(request.endpoint, params, session.model)
            low, high = low + least, high + most
        scope = limit_group(model, session.server) if session.server.limits_each_family else ""
        total = totals.setdefault(scope, _Total(model))
        images = images_asked(params)
        largest = family_of(model, session.server).max_n
        largest = min(largest, session.limiter.max_cost(scope) or largest)
        total.images += images
        total.calls += math.ceil(images / largest)

    def finish() -> Estimate:
        return Estimate(
            requests=count,
            images=sum(total.images for total in totals.values()),
            calls=sum(total.calls for total in totals.values()),
            cost=None if prices is None else (round(low, 6), round(high, 6)),
            wait=max((_wait(session, total) for total in totals.values()), default=0.0),
        )

    return finish


def _request(item: str | ImageRequest | Job) -> ImageRequest:
    if isinstance(item, Job):
        return item.request
    if isinstance(item, str):
        return GenerateRequest(item)
    if not isinstance(item, _ONE):
        raise InvalidRequestError(
            f"estimate() was given a {type(item).__name__}; it takes prompts, requests and jobs",
            field="requests",
            value=item,
        )
    return item


def _wait(session: ImageSession, total: _Total) -> float:
    now = session.snapshot(total.model)
    images, calls = now.queued_images + total.images, now.queued + total.calls
    return session.forecast(images, calls, model=total.model)
