from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from imagesdk.batch.prices import Price, PriceTable
from imagesdk.client.session import ImageSession
from imagesdk.client.streaming import PartialImage
from imagesdk.errors import ConfigurationError, ImageSDKError
from imagesdk.events import Event
from imagesdk.limiters.local import ImageLimiter
from imagesdk.observability import otel_events
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time

IMAGE = {"b64_json": base64.b64encode(b"image").decode()}
GOOD = ScriptedAnswer({"data": [IMAGE], "usage": {"input_tokens": 12, "output_tokens": 1056}})
BUSY = ScriptedAnswer(b"", status=503, headers={"x-request-id": "req_1"})
TOO_MANY = ScriptedAnswer(
    {"error": {"message": "Limit: 1/1min"}}, status=429, headers={"retry-after": "5"}
)


PRICES = PriceTable(
    prices=(
        Price(quality="low", image=(0.5, 0.5)),
        Price(model="gpt-image-2*", image=(0.1, 0.4), input=1e6, input_image=2e6, output=3e6),
    )
)


class Telemetry:
    """OpenTelemetry's SDK, in memory."""

    def __init__(self, prices: PriceTable | None = PRICES) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("the program's own")
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])
        self.listener = otel_events(
            tracer_provider=self.provider, meter_provider=self.meters, prices=prices
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in that order."""
        return list(self._exporter.get_finished_spans())

    def points(self, name: str) -> list[tuple[dict[str, Any], float]]:
        """Return attributes and sum of each series of a metric."""
        data = self._reader.get_metrics_data()
        return [
            (
                dict(point.attributes or {}),
                point.sum if isinstance(point, HistogramDataPoint) else point.value,  # type: ignore[union-attr]
            )
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def sum(self, name: str) -> float:
        """Return the sum over all series of a metric."""
        return sum(value for _, value in self.points(name))


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Spans and metrics of one test."""
    found = Telemetry()
    yield found
    found.provider.shutdown()
    found.meters.shutdown()


def run(
    telemetry: Telemetry,
    script: list[ScriptedAnswer] | Callable[[SentRequest], ScriptedAnswer],
    body: Callable[[ImageSession], Awaitable[object]],
    **options: Any,
) -> None:
    """Use a session whose events are told to OpenTelemetry, in virtual time."""
    options = {"model": "gpt-image-2", "base_url": "http://server:8000/v1"} | options

    async def main() -> None:
        transport = ScriptedTransport(script)
        async with ImageSession(
            transport=transport, on_event=telemetry.listener, **options
        ) as images:
            await body(images)

    with virtual_time() as runner:
        runner.run(main())


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_the_span_of_a_call(telemetry: Telemetry) -> None:
    """One span covers the call, and says what was asked for, of whom, and what came."""
    two = ScriptedAnswer(
        {"data": [IMAGE] * 2, "usage": {"input_tokens": 12, "output_tokens": 1056}}
    )
    run(telemetry, [two], lambda images: images.generate("a fox", n=2, size="1536x1024"))
    (span,) = telemetry.spans
    assert (span.name, span.kind) == ("generate_content gpt-image-2", SpanKind.CLIENT)
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span) == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "image",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-image-2",
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.image.width": 1536,
        "gen_ai.request.image.height": 1024,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 1056,
        "server.address": "server",
        "server.port": 8000,
        "imagesdk.endpoint": "generations",
        "imagesdk.images": 2,
        "imagesdk.limiter.wait": 0.0,
        "imagesdk.retry.count": 0,
    }


@pytest.mark.parametrize(
    ("base_url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure.ai.openai"),
        ("https://api.x.ai/v1", "x_ai"),
        ("http://127.0.0.1:8000/v1", "openai"),
    ],
)
def test_who_is_asked(telemetry: Telemetry, base_url: str, provider: str) -> None:
    """The provider is told by the host; a server that speaks OpenAI's API counts as that."""
    run(
        telemetry,
        [GOOD],
        lambda images: images.generate("a fox", size="auto"),
        base_url=base_url,
        api_key="sk-test",
        validate="off",
    )
    (span,) = telemetry.spans
    assert attributes(span)["gen_ai.provider.name"] == provider
    assert "gen_ai.request.image.width" not in attributes(span)


def test_a_call_without_a_model(telemetry: Telemetry) -> None:
    """The classic API's default model has no name, and neither has the span."""
    run(telemetry, [GOOD], lambda images: images.generate("a fox"), model=None)
    (span,) = telemetry.spans
    assert span.name == "generate_content"
    assert "gen_ai.request.model" not in attributes(span)


def test_a_span_nests_below_the_callers(telemetry: Telemetry) -> None:
    """The parent is what is current at the call, and what is done for the call nests below its span."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        with telemetry.tracer.start_as_current_span(f"POST {request.url}"):
            return GOOD

    async def body(images: ImageSession) -> None:
        with telemetry.tracer.start_as_current_span("handler") as handler:
            await images.generate("a fox")
            assert trace.get_current_span() is handler
        assert not trace.get_current_span().is_recording()

    run(telemetry, answer, body)
    http, call, handler = telemetry.spans
    assert handler.context is not None
    assert call.context is not None
    assert (call.parent, http.parent) == (handler.context, call.context)
    assert http.name.startswith("POST http://server")


def test_spans_of_streams_and_of_map_nest_as_well(telemetry: Telemetry) -> None:
    """What runs in tasks of its own has the span as parent that is current where it is asked for."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        if not request.json.get("stream"):
            return GOOD
        done = b'data: {"type":"image_generation.completed","b64_json":"aW1hZ2U="}\n\n'
        return ScriptedAnswer(done, headers={"content-type": "text/event-stream"})

    async def body(images: ImageSession) -> None:
        with telemetry.tracer.start_as_current_span("handler") as handler:
            async with images.stream_generate("a fox") as events:
                assert len([event async for event in events]) == 1
            async with images.map(["a fox", "an otter"]) as outcomes:
                assert [outcome.error async for outcome in outcomes] == [None, None]
            assert trace.get_current_span() is handler

    run(telemetry, answer, body)
    *calls, handler = telemetry.spans
    assert [call.parent for call in calls] == [handler.context] * 3


def test_spans_of_calls_side_by_side(telemetry: Telemetry) -> None:
    """Parts of a split call, and calls of several sessions on one listener, do not mix."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        return ScriptedAnswer({"data": [IMAGE] * request.json.get("n", 1)}, delay=1.0)

    async def body(images: ImageSession) -> None:
        with telemetry.tracer.start_as_current_span("split"):
            await images.generate("a fox", n=12)
        other = ImageSession(
            base_url="http://other/v1",
            transport=ScriptedTransport(lambda _: GOOD),
            on_event=telemetry.listener,
        )
        with telemetry.tracer.start_as_current_span("two sessions"):
            async with other:
                await asyncio.gather(other.generate("a fox"), images.generate("an otter"))

    run(telemetry, answer, body)
    by_name = {span.name: span for span in telemetry.spans}
    below = {
        name: [
            attributes(s).get("gen_ai.request.choice.count", 1)
            for s in telemetry.spans
            if s.parent == by_name[name].context
        ]
        for name in ("split", "two sessions")
    }
    assert sorted(below["split"]) == [2, 10]
    assert below["two sessions"] == [1, 1]
    assert {attributes(s).get("server.address") for s in telemetry.spans} == {
        None,
        "server",
        "other",
    }


def test_retries_and_throttles_are_in_the_span_and_counted(telemetry: Telemetry) -> None:
    """A span has an event for each step backwards, and metrics count them."""
    gone = ScriptedAnswer(b"", status=504)
    run(
        telemetry,
        [TOO_MANY, BUSY, gone, GOOD],
        lambda images: images.generate("a fox"),
        limiter=ImageLimiter(1),
    )
    (span,) = telemetry.spans
    assert [event.name for event in span.events] == [
        "imagesdk.throttled",
        "imagesdk.queued",
        "imagesdk.retrying",
        "imagesdk.queued",
        "imagesdk.retrying",
        "imagesdk.queued",
    ]
    first = dict(span.events[2].attributes or {})
    assert (first["imagesdk.status"], first["imagesdk.request_id"]) == (503, "req_1")
    assert attributes(span)["imagesdk.retry.count"] == 3
    assert attributes(span)["imagesdk.limiter.wait"] > 60
    assert telemetry.sum("imagesdk.retries") == 2
    assert telemetry.sum("imagesdk.throttles") == 1
    assert telemetry.sum("imagesdk.in_doubt") == 1
    assert telemetry.sum("imagesdk.limiter.wait") > 60


def test_the_metrics_of_a_call(telemetry: Telemetry) -> None:
    """Duration, images and tokens, by model and server."""
    slow = attrs.evolve(GOOD, delay=2.5)
    run(telemetry, [slow, slow], lambda images: images.generate("a fox"))
    ((common, duration),) = telemetry.points("gen_ai.client.operation.duration")
    assert duration == pytest.approx(2.5, abs=0.01)
    assert common == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "image",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-image-2",
        "server.address": "server",
        "server.port": 8000,
    }
    assert telemetry.points("imagesdk.images") == [(common, 1)]
    tokens = {a["gen_ai.token.type"]: n for a, n in telemetry.points("gen_ai.client.token.usage")}
    assert tokens == {"input": 12, "output": 1056}


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"input_tokens": 12, "output_tokens": 1000}, 12 + 3000),
        (
            {
                "input_tokens": 12,
                "input_tokens_details": {"image_tokens": 2},
                "output_tokens": 1000,
            },
            10 + 4 + 3000,
        ),
        (None, 0.4),
        ({"input_tokens": 12, "input_tokens_details": 1}, 0.4),
    ],
)
def test_the_cost_of_a_call(telemetry: Telemetry, usage: object, cost: float) -> None:
    """By the tokens that the server counted, those of images apart, or else by the image at most."""
    answer = ScriptedAnswer({"data": [IMAGE], "usage": usage})
    run(telemetry, [answer], lambda images: images.generate("a fox"))
    ((common, counted),) = telemetry.points("imagesdk.cost")
    assert counted == pytest.approx(cost)
    assert common["gen_ai.request.model"] == "gpt-image-2"


def test_what_may_be_billed_counts_as_if_it_were(telemetry: Telemetry) -> None:
    """A lost answer costs what all its images may; the quality of the request chooses the price."""
    two = ScriptedAnswer({"data": [IMAGE] * 2})
    run(
        telemetry,
        [ScriptedAnswer(b"", status=504), two],
        lambda images: images.generate("a fox", n=2, quality="low"),
    )
    assert telemetry.sum("imagesdk.cost") == pytest.approx(2.0)


def test_a_call_without_a_price_is_told_and_goes_on(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    """What the table does not have is an error in the log; everything else is counted."""
    run(telemetry, [GOOD], lambda images: images.generate("a fox"), model="flux")
    assert "has no price for endpoint 'generations', model 'flux'" in caplog.text
    assert telemetry.sum("imagesdk.images") == 1
    assert len(telemetry.spans) == 1
    assert telemetry.points("imagesdk.cost") == []


def test_without_prices_there_is_no_cost() -> None:
    """Nobody knows what images cost but who says so."""
    found = Telemetry(prices=None)
    run(found, [GOOD], lambda images: images.generate("a fox"))
    assert found.sum("imagesdk.images") == 1
    assert found.points("imagesdk.cost") == []
    found.meters.shutdown()


def test_a_server_that_counts_no_tokens(telemetry: Telemetry) -> None:
    """Without usage there are no tokens to tell, nor zeros."""
    odd = ScriptedAnswer({"data": [IMAGE], "usage": {"input_tokens": True}})
    run(telemetry, [odd], lambda images: images.generate("a fox"))
    assert telemetry.points("gen_ai.client.token.usage") == []
    assert "gen_ai.usage.input_tokens" not in attributes(telemetry.spans[0])


def test_the_span_of_a_failure(telemetry: Telemetry) -> None:
    """A failed call is an error with its class, in span and duration."""

    async def body(images: ImageSession) -> None:
        with pytest.raises(ImageSDKError):
            await images.generate("a fox")
        assert not trace.get_current_span().is_recording()

    run(telemetry, [ScriptedAnswer({"error": {"message": "no such model"}}, status=404)], body)
    (span,) = telemetry.spans
    assert (span.status.status_code, span.status.description) == (
        StatusCode.ERROR,
        "no such model (HTTP 404)",
    )
    assert attributes(span)["error.type"] == "NotFoundError"
    ((failed, _),) = telemetry.points("gen_ai.client.operation.duration")
    assert failed["error.type"] == "NotFoundError"


def test_every_way_to_end_ends_the_span(telemetry: Telemetry) -> None:
    """A cancelled call, one that before_send ends and a stream that is left leave no span open."""

    async def refuse(_: str) -> None:
        raise RuntimeError("the ledger is full")

    async def body(images: ImageSession) -> None:
        task = asyncio.create_task(images.generate("a fox"))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(RuntimeError):
            async with images.map(["a fox"], before_send=refuse) as outcomes:
                await anext(outcomes)
        partial = b'data: {"type":"image_generation.partial_image","partial_image_index":0,'
        script.append(ScriptedAnswer(partial + b'"b64_json":"aaaa"}\n\n', chunk_delay=9))
        async with images.stream_generate("a fox") as events:
            assert isinstance(await anext(events), PartialImage)

    script = [attrs.evolve(GOOD, delay=9.0)]
    run(telemetry, lambda _: script[-1], body)
    ends = [attributes(span)["error.type"] for span in telemetry.spans]
    assert ends[:2] == ["CancelledError", "RuntimeError"]
    assert len(ends) == 3


def test_a_call_that_is_split_on_its_way(telemetry: Telemetry) -> None:
    """When the limit falls below what one request asks for, its span ends and those of its parts begin."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        n = request.json.get("n", 1)
        return TOO_MANY if n > 1 else ScriptedAnswer({"data": [IMAGE] * n})

    run(telemetry, answer, lambda images: images.generate("a fox", n=2))
    first, *parts = telemetry.spans
    assert attributes(first)["imagesdk.split"] is True
    assert [attributes(part)["imagesdk.images"] for part in parts] == [1, 1]
    assert {part.parent for part in parts} == {None}
    assert telemetry.sum("imagesdk.images") == 2


def test_events_of_no_call_are_passed_over(telemetry: Telemetry) -> None:
    """A download has no span of its own: HTTP instrumentation has one for it."""
    telemetry.listener(Event(call=0, endpoint="downloads", model=None))
    assert telemetry.spans == []


def test_without_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'imagesdk\[otel\]'"):
        otel_events()
