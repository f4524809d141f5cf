from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from imagesdk.client.session import ImageSession
from imagesdk.errors import (
    APIError,
    BadRequestError,
    ConfigurationError,
    ImageSDKError,
    InvalidImageError,
    InvalidRequestError,
    PartialResultError,
    ProtocolError,
    ResponseInterruptedError,
    ServerError,
)
from imagesdk.limiters.local import ImageLimiter
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time

T = TypeVar("T")
Png = Callable[..., bytes]
Step = ScriptedAnswer | ImageSDKError


def run(main: Callable[[], Awaitable[T]]) -> T:
    async def body() -> T:
        return await main()

    with virtual_time() as runner:
        return runner.run(body())


def session(transport: ScriptedTransport, **options: Any) -> ImageSession:
    return ImageSession(base_url="http://server/v1", transport=transport, **options)


def images_of(*names: str, **more: Any) -> dict[str, Any]:
    return {
        "created": 1,
        "data": [{"b64_json": base64.b64encode(name.encode()).decode()} for name in names],
        **more,
    }


def generate(
    script: list[Step] | Callable[[SentRequest], Step], *, limiter: Any = None, **call: Any
) -> tuple[Any, ScriptedTransport]:
    """Return the response, or the error, and the transport."""
    transport = ScriptedTransport(script)

    async def main() -> Any:
        async with session(transport, limiter=limiter) as images:
            try:
                return await images.generate("a fox", **call)
            except ImageSDKError as error:
                return error

    return run(main), transport


def contents(response: Any) -> list[str]:
    return [base64.b64decode(image.b64_json).decode() for image in response.data]


# Splitting and joining ------------------------------------------------------------------------


def numbered(sent: SentRequest) -> ScriptedAnswer:
    """Answer as many images as are asked for; later requests are answered sooner."""
    n = sent.json.get("n", 1)
    numbered.calls += 1  # type: ignore[attr-defined]
    part = numbered.calls  # type: ignore[attr-defined]
    return ScriptedAnswer(images_of(*(f"{part}.{index}" for index in range(n))), delay=10.0 / part)


@pytest.fixture(autouse=True)
def _count_from_zero() -> None:
    numbered.calls = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("call", "limiter", "sizes"),
    [
        ({"n": 23}, None, [10, 10, 3]),
        ({"n": 10}, None, [10]),
        ({"n": 11}, None, [10, 1]),
        ({"n": 3, "model": "dall-e-3"}, None, [1, 1, 1]),
        ({"n": 10}, ImageLimiter(4), [4, 4, 2]),
        ({"n": None}, None, [None]),
    ],
)
def test_split(call: dict[str, Any], limiter: Any, sizes: list[int | None]) -> None:
    """More images than one request may carry are split, and joined in order."""
    response, transport = generate(numbered, limiter=limiter, **call)
    assert [request.json.get("n") for request in transport.requests] == sizes
    wanted = [f"{p}.{i}" for p, size in enumerate(sizes, 1) for i in range(size or 1)]
    assert contents(response) == wanted
    assert len(response.attempts) == len(sizes)


def test_parts_run_side_by_side() -> None:
    """The parts of a call are in flight at the same time."""
    _, transport = generate(numbered, n=30)
    assert max(r.at for r in transport.requests) < 2


def test_what_the_response_holds() -> None:
    """What the server says beside the images is on the response, unknown fields included."""
    answer = images_of("a", background="opaque", output_format="png", quality="low", size="1x1")
    answer["data"][0] |= {"revised_prompt": "a red fox", "seed": 7}
    answer |= {"eta": 3, "usage": {"total_tokens": 5}}
    headers = {"x-request-id": "req_9"}
    response, _ = generate([ScriptedAnswer(answer, headers=headers)])
    assert (response.created, response.request_id, response.headers) == (1, "req_9", headers)
    assert (response.background, response.output_format) == ("opaque", "png")
    assert (response.quality, response.size) == ("low", "1x1")
    assert (response.extra, response.usage) == ({"eta": 3}, {"total_tokens": 5})
    assert response.data[0].revised_prompt == "a red fox"
    assert response.data[0].extra == {"seed": 7}


def test_usage_is_summed() -> None:
    """The tokens of the parts are added up, also those that are nested."""
    usage = {"total_tokens": 5, "input_tokens_details": {"text_tokens": 2, "x": 0.5}, "tier": "a"}
    many = [f"{i}" for i in range(10)]
    script: list[Step] = [ScriptedAnswer(images_of(*many, usage=usage))] * 3
    response, _ = generate(script, n=30)
    assert response.usage == {
        "total_tokens": 15,
        "input_tokens_details": {"text_tokens": 6, "x": 1.5},
        "tier": "a",
    }


def test_odd_usage_costs_no_image() -> None:
    """Whatever a server says about usage: the images that were paid for are handed out."""
    many = [f"{i}" for i in range(10)]
    odd: list[Any] = [
        {"total": 1, "details": None, "other": None, "mixed": 1, "flag": True},
        {"total": 2, "details": {"a": 1}, "other": 4, "mixed": {"b": 1}, "flag": True},
        {"total": 3, "details": {"a": 1}, "mixed": "c"},
        17,
        "none",
    ]
    script: list[Step] = [ScriptedAnswer(images_of(*many, usage=usage)) for usage in odd]
    response, _ = generate(script, n=50)
    assert len(response.data) == 50
    assert response.usage == {"total": 6, "details": {"a": 2}, "other": 4, "mixed": 1, "flag": True}
    response, _ = generate([ScriptedAnswer(images_of("a", usage=17))])
    assert response.usage is None


def test_bad_url_costs_no_image() -> None:
    """A URL that is none does not lose the other images of the answer."""
    answer = {"data": [{"url": "http://[::1/a.png"}, {"url": "http://a/b.png"}]}
    response, _ = generate([ScriptedAnswer(answer)], n=2)
    assert [image.expires_at for image in response.data] == [None, None]


# When some are missing ------------------------------------------------------------------------


def test_sibling_failed() -> None:
    """When one part fails, the error carries the images of the others and the reason."""

    def answer(sent: SentRequest) -> Step:
        if sent.json["n"] == 10:
            return ScriptedAnswer(images_of(*"abcdefghij"))
        return ScriptedAnswer({"error": {"message": "boom"}}, status=400)

    error, _ = generate(answer, n=13)
    assert type(error) is PartialResultError
    assert contents(error.result) == list("abcdefghij")
    assert [type(e) for e in error.errors] == [BadRequestError]
    assert (error.requested, error.may_be_billed, len(error.attempts)) == (13, False, 2)
    assert "10 of 13 images arrived; they are in .result. Missing, see .errors: boom" in str(error)
    response, _ = generate(answer, n=13, partial="return")
    assert len(response.data) == 10


def test_server_sent_fewer() -> None:
    """Fewer images than asked for are never silent."""
    error, _ = generate([ScriptedAnswer(images_of("a"))], n=3)
    assert type(error) is PartialResultError
    assert (contents(error.result), error.errors) == (["a"], ())
    assert "Missing: the server sent fewer, without a reason" in str(error)


def test_server_sent_more() -> None:
    """More images than asked for are all handed out: they may have been billed."""
    response, _ = generate([ScriptedAnswer(images_of("a", "b", "c"))], n=2)
    assert len(response.data) == 3


def test_one_bad_image() -> None:
    """One image that is no base64 does not cost the others."""
    answer = images_of("a", "b", "c")
    answer["data"][1] = {"b64_json": "?"}
    error, _ = generate([ScriptedAnswer(answer)], n=3)
    assert type(error) is PartialResultError
    assert contents(error.result) == ["a", "c"]
    assert [type(e) for e in error.errors] == [ProtocolError]
    assert "data[1] has a b64_json that is no base64" in str(error)
    assert error.may_be_billed


def test_all_failed() -> None:
    """When every part failed, the first error is raised with the others as notes."""
    steps: list[Step] = [
        ScriptedAnswer({"error": {"message": "first"}}, status=400),
        ScriptedAnswer({"error": {"message": "second"}}, status=403),
    ]
    error, _ = generate(steps, n=20)
    assert type(error) is BadRequestError
    assert "first" in str(error)
    assert len(error.__notes__) == 1
    assert "another part of the call failed, too: second" in error.__notes__[0]


def test_bug_in_a_part() -> None:
    """A bug in one part is raised as it is."""

    def answer(_: SentRequest) -> Step:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        generate(answer, n=20)


# Validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        {"prompt": "a" * 1001},
        {"prompt": ""},
        {"n": True},
        {"n": 1.0},
        {"size": "1x1"},
        {"size": ["256x256"]},
        {"extra_body": {"n": 1}},
    ],
    ids=lambda call: next(iter(call)),
)
def test_request_like_one_that_was_right_is_checked_where_it_differs(call: dict[str, Any]) -> None:
    """That a request was right tells nothing of the prompt and of the fields of the next."""
    transport = ScriptedTransport(lambda _: ScriptedAnswer(body=images_of("a")))

    async def main() -> None:
        async with session(transport) as images:
            right: dict[str, Any] = {"prompt": "a fox", "n": 1, "size": "256x256"}
            await images.generate(**right)
            await images.generate(**right)
            with pytest.raises(InvalidRequestError):
                await images.generate(**right | call)

    run(main)
    assert len(transport.requests) == 2


def test_validate_error() -> None:
    """Nothing is sent if a rule is broken; every broken rule is told."""
    error, transport = generate([], n=0, size="7x7", quality="hd")
    assert type(error) is InvalidRequestError
    assert (error.field, error.value) == ("n", 0)
    assert len(error.problems) == 3
    assert error.__notes__ == list(error.problems[1:])
    assert transport.requests == []


def test_validate_warn() -> None:
    """With "warn" each broken rule is a warning, and the request is sent."""

    async def main() -> int:
        transport = ScriptedTransport(lambda _: ScriptedAnswer(images_of("a")))
        async with session(transport, validate="warn") as images:
            with pytest.warns(UserWarning, match="sent all the same: size is '7x7'"):
                await images.generate("a fox", size="7x7")
            with pytest.warns(UserWarning, match="image: the bytes object is no PNG"):
                await images.create_variation(b"no image")
            await images.generate("a fox")
        return len(transport.requests)

    assert run(main) == 3


def test_validate_off() -> None:
    """With "off" what breaks a rule is sent without a word."""

    async def main() -> list[bytes]:
        transport = ScriptedTransport(lambda _: ScriptedAnswer(images_of("a")))
        async with session(transport, validate="off") as images:
            await images.generate("", n=0, size="7x7")
            await images.create_variation(b"no image")
        return [request.body for request in transport.requests]

    first, second = run(main)
    assert re.search(rb'"n":0.*"size":"7x7"', first)
    assert b"no image" in second


async def test_image_errors(png: Png) -> None:
    """Errors about images are InvalidImageErrors that name the image."""
    transport = ScriptedTransport([])
    async with session(transport, model="gpt-image-1") as images:
        for image, mask, field in (
            (b"no image", None, "image"),
            ([png(), b"no image"], None, "image[1]"),
            (png(), png((8, 8)), "mask"),
            ([], None, "image"),
            (png(), b"", "mask"),
        ):
            with pytest.raises(InvalidImageError) as caught:
                await images.edit(image, "a fox", mask=mask)
            assert caught.value.field == field
        with pytest.raises(InvalidImageError, match="image is an empty list"):
            await images.edit([], "a fox")
    assert transport.requests == []


async def test_what_cannot_be_sent() -> None:
    """Values that JSON does not know, and headers that cannot be sent, are refused."""
    transport = ScriptedTransport([])
    async with session(transport) as images:
        for body in ({"x": object()}, {"x": "\ud800"}):
            with pytest.raises(InvalidRequestError, match="cannot be sent"):
                await images.generate("a fox", extra_body=body)
        for headers in ({"X-A": "a\nb"}, {"authorization": "Bearer x"}):
            with pytest.raises(ConfigurationError):
                await images.generate("a fox", extra_headers=headers)
    assert transport.requests == []


def test_other_errors_are_errors() -> None:
    """A server's failure of the whole call keeps its class and fields."""
    step = ScriptedAnswer({"error": {"message": "x", "code": "c"}}, status=500)
    error, _ = generate(lambda _: step)
    assert isinstance(error, ServerError)
    assert isinstance(error, APIError)
    assert (error.status, error.code) == (500, "c")


def test_all_parts_failed_and_one_may_be_billed() -> None:
    """If every part failed, the error that is raised has the attempts and the money of all of them."""

    def answer(request: SentRequest) -> Step:
        if request.json["n"] == 10:
            return ScriptedAnswer({"error": {"message": "bad"}}, status=400)
        return ResponseInterruptedError("reset", phase="receive")

    error, transport = generate(answer, n=13)
    assert isinstance(error, BadRequestError)
    assert len(transport.requests) == len(error.attempts) == 3
    assert error.may_be_billed


@pytest.mark.parametrize("field", ["n", "model", "stream", "partial_images"])
def test_what_extra_body_must_not_hold(field: str) -> None:
    """What the limiter counts, what the checks need and what cannot be read is refused, even unchecked."""
    for validate in ("error", "off"):
        transport = ScriptedTransport([])

        async def main(how: str = validate, sent: ScriptedTransport = transport) -> None:
            async with session(sent, validate=how) as images:
                with pytest.raises(InvalidRequestError, match=f"must not hold {field}:"):
                    await images.generate("a fox", extra_body={field: 3})

        run(main)
        assert transport.requests == []


def test_parts_have_keys_of_their_own() -> None:
    """An Idempotency-Key of the caller is numbered where the call is split, and kept where it is not."""
    headers = {"idempotency-key": "order-17", "X-Other": "1"}
    ten = ScriptedAnswer(images_of(*"abcdefghij"))
    _, transport = generate([ten, ten], n=20, extra_headers=headers)
    keys = [request.headers["idempotency-key"] for request in transport.requests]
    assert keys == ["order-17-1", "order-17-2"]
    assert {request.headers["X-Other"] for request in transport.requests} == {"1"}
    assert not any("Idempotency-Key" in request.headers for request in transport.requests)
    _, transport = generate([ten], n=10, extra_headers=headers)
    assert transport.requests[0].headers["idempotency-key"] == "order-17"
