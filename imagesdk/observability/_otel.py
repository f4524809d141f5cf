"""Spans and metrics of OpenTelemetry, from the events of a session.

The names follow the conventions for generative AI where those have one, as plain strings: OpenTelemetry
has no operation for images yet, so that ``generate_content`` with ``gen_ai.output.type`` "image" stands
for it, as in .NET. What is our own begins with ``imagesdk.``.
https://opentelemetry.io/docs/specs/semconv/gen-ai/ (read 2026-11-26)

All events of a call come in its own context. What is known of a call is therefore kept in that
context, beside its span: calls of several sessions do not mix, spans nest below the caller's current
one, and what is done for the call meanwhile, such as HTTP requests, nests below its span.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import Token
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

from imagesdk.errors import ConfigurationError
from imagesdk.events import (
    Attempted,
    Done,
    Event,
    Failed,
    Queued,
    Retrying,
    Split,
    Started,
    Throttled,
)

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

__all__ = ("Prices", "otel_events")

_OPERATION = "generate_content"
_Value: TypeAlias = str | bool | int | float
_Attributes: TypeAlias = dict[str, _Value]
_SIZE = re.compile(r"(\d+)x(\d+)", re.ASCII)
_AZURE = ("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com")
# https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/ (read 2026-11-26): what speaks
# OpenAI's API, and is not known to be something else, is "openai".
_PROVIDERS = {"api.x.ai": "x_ai", **dict.fromkeys(_AZURE, "azure.ai.openai")}
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**exponent for exponent in range(14))


class Prices(Protocol):
    """What tells the cost of a call: `imagesdk.batch.PriceTable` does."""

    def cost(
        self,
        endpoint: str,
        params: Mapping[str, Any],
        model: str | None,
        *,
        images: int,
        usage: Mapping[str, Any] | None,
    ) -> float:
        """Return what so many images cost, by the tokens of an answer if there are any."""
        ...


def otel_events(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    prices: Prices | None = None,
) -> Callable[[Event], None]:
    """Return a listener that makes a span of each call, and counts in metrics.

    A span, ``generate_content {model}``, begins when the call does and ends with it: it covers the wait
    in the limiter's queue and all attempts. Its parent is the span that is current where the call is
    made; it is itself current while the call runs. Prompts and images are in no span, whatever
    ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` says: no event has them.

    Args:
        tracer_provider: None for the global one.
        meter_provider: None for the global one.
        prices: What images cost, as `imagesdk.batch.read_prices` reads it, for the metric ``imagesdk.cost``;
            None for no such metric. A call that has no price there is an error in the log, and goes on.

    Returns:
        A callback for ``on_event=``; it may serve any number of sessions.

    Raises:
        ConfigurationError: ``opentelemetry-api`` is not installed.

    Example:
        >>> import asyncio
        >>> from imagesdk import ImageSession
        >>> from imagesdk.observability import otel_events
        >>> from opentelemetry.sdk.trace import TracerProvider
        >>> from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        >>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        >>> spans, provider = InMemorySpanExporter(), TracerProvider()
        >>> provider.add_span_processor(SimpleSpanProcessor(spans))
        >>> listener = otel_events(tracer_provider=provider)
        >>> async def main():
        ...     session = ImageSession(
        ...         api_key=key, base_url=url, model="gpt-image-2", on_event=listener
        ...     )
        ...     async with session as images:
        ...         await images.generate("a fox", n=2)
        >>> asyncio.run(main())
        >>> [(span.name, span.attributes["imagesdk.images"]) for span in spans.get_finished_spans()]
        [('generate_content gpt-image-2', 2)]
    """
    try:
        import opentelemetry.trace  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            "otel_events needs opentelemetry-api: python -m pip install 'imagesdk[otel]'"
        ) from error
    return _Telemetry(tracer_provider, meter_provider, prices)


@attrs.define(kw_only=True, eq=False)
class _Running:
    """A call that runs.

    Attributes:
        span: Its span.
        begun: What was asked for.
        attributes: What its metrics have in common.
        token: Gives back the context that was current before.
    """

    span: Span
    begun: Started
    attributes: _Attributes
    token: Token[Context] = attrs.field(init=False)


class _Telemetry:
    """The listener; see `otel_events`."""

    def __init__(
        self,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
        prices: Prices | None,
    ) -> None:
        from opentelemetry import context, metrics, trace

        self._context, self._trace = context, trace
        self._key = context.create_key("imagesdk-call")
        self._tracer = trace.get_tracer("imagesdk", tracer_provider=tracer_provider)
        meter = metrics.get_meter("imagesdk", meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="Time of a call from its first admission to its end",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of a call",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._wait = meter.create_histogram(
            "imagesdk.limiter.wait",
            unit="s",
            description="Time of a call in the limiter's queue",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._images = meter.create_counter(
            "imagesdk.images", unit="{image}", description="Images that arrived"
        )
        self._retries = meter.create_counter(
            "imagesdk.retries", unit="{attempt}", description="Attempts that were made again"
        )
        self._throttles = meter.create_counter(
            "imagesdk.throttles", unit="{attempt}", description="Attempts that got a 429"
        )
        self._in_doubt = meter.create_counter(
            "imagesdk.in_doubt",
            unit="{attempt}",
            description="Attempts that failed and may be billed",
        )
        self._prices = prices
        self._cost = meter.create_counter(
            "imagesdk.cost",
            unit="{cost}",
            description="Cost of what arrived and of what may be billed, in the price table's currency",
        )

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._start(event)
            return
        call = self._context.get_value(self._key)
        if isinstance(call, _Running):  # a download belongs to no call
            self._go_on(event, call)

    def _start(self, event: Started) -> None:
        common: _Attributes = {
            "gen_ai.operation.name": _OPERATION,
            "gen_ai.output.type": "image",
            "gen_ai.provider.name": _provider(event.server_address),
            "server.address": event.server_address,
            "server.port": event.server_port,
        }
        if event.model is not None:
            common["gen_ai.request.model"] = event.model
        attributes = common | {"imagesdk.endpoint": event.endpoint}
        if event.images != 1:
            attributes["gen_ai.request.choice.count"] = event.images
        if event.size is not None and (edges := _SIZE.fullmatch(event.size)):
            attributes["gen_ai.request.image.width"] = int(edges[1])
            attributes["gen_ai.request.image.height"] = int(edges[2])
        span = self._tracer.start_span(
            f"{_OPERATION} {event.model}" if event.model else _OPERATION,
            kind=self._trace.SpanKind.CLIENT,
            attributes=attributes,
        )
        call = _Running(span=span, begun=event, attributes=common)
        inner = self._context.set_value(self._key, call, self._trace.set_span_in_context(span))
        call.token = self._context.attach(inner)

    def _go_on(self, event: Event, call: _Running) -> None:
        match event:
            case Queued():
                _note(call, event, "position", "wait", "reason")
            case Attempted():
                if event.outcome == "throttled":
                    self._throttles.add(1, call.attributes)
                if event.may_be_billed:
                    self._in_doubt.add(1, call.attributes)
                    self._add_cost(call, call.begun.images, None)
            case Throttled():
                _note(call, event, "attempt", "pause", "retry_after", "limit", "request_id")
            case Retrying():
                self._retries.add(1, call.attributes)
                _note(call, event, "attempt", "delay", "reason", "status", "request_id")
            case Done():
                self._done(event, call)
            case Failed():
                self._failed(event, call)
            case Split():
                call.span.set_attribute("imagesdk.split", value=True)
                self._end(call)
            case _:
                pass

    def _done(self, event: Done, call: _Running) -> None:
        self._finish(event, call, call.attributes)
        call.span.set_attribute("imagesdk.images", event.images)
        self._images.add(event.images, call.attributes)
        for kind, tokens in (("input", event.input_tokens), ("output", event.output_tokens)):
            if tokens is not None:
                call.span.set_attribute(f"gen_ai.usage.{kind}_tokens", tokens)
                self._tokens.record(tokens, call.attributes | {"gen_ai.token.type": kind})
        self._end(call)
        usage = {
            "input_tokens": event.input_tokens,
            "output_tokens": event.output_tokens,
            "input_tokens_details": {"image_tokens": event.input_image_tokens},
        }
        self._add_cost(call, event.images, usage)

    def _add_cost(self, call: _Running, images: int, usage: Mapping[str, Any] | None) -> None:
        """Count what images cost, or may cost, as the last thing done: a price may be missing."""
        if self._prices is not None:
            begun = call.begun
            params = {"size": begun.size, "quality": begun.quality}
            cost = self._prices.cost(
                begun.endpoint, params, begun.model, images=images, usage=usage
            )
            self._cost.add(cost, call.attributes)

    def _failed(self, event: Failed, call: _Running) -> None:
        self._finish(event, call, call.attributes | {"error.type": event.error})
        call.span.set_attribute("error.type", event.error)
        call.span.set_attribute("imagesdk.may_be_billed", event.may_be_billed)
        call.span.set_status(self._trace.StatusCode.ERROR, event.message)
        self._end(call)

    def _finish(self, event: Done | Failed, call: _Running, attributes: _Attributes) -> None:
        call.span.set_attribute("imagesdk.retry.count", max(0, event.attempts - 1))
        call.span.set_attribute("imagesdk.limiter.wait", event.waited)
        self._wait.record(event.waited, attributes)
        self._duration.record(event.elapsed, attributes)

    def _end(self, call: _Running) -> None:
        call.span.end()
        self._context.detach(call.token)


def _note(call: _Running, event: Queued | Throttled | Retrying, *names: str) -> None:
    """Add an event to a span, with the fields of ours that have a value."""
    values: Mapping[str, _Value | None] = {name: getattr(event, name) for name in names}
    call.span.add_event(
        f"imagesdk.{type(event).__name__.lower()}",
        {f"imagesdk.{name}": value for name, value in values.items() if value is not None},
    )


def _provider(host: str) -> str:
    for domain, name in _PROVIDERS.items():
        if host == domain or host.endswith(f".{domain}"):
            return name
    return "openai"
