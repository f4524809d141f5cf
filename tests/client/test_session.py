from __future__ import annotations

import asyncio
import base64
import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from email import message_from_bytes
from typing import Any, cast

import pytest

from imagesdk import GenerateRequest, ImageLimiter, ImageSession
from imagesdk.errors import (
    ConfigurationError,
    InvalidImageError,
    InvalidRequestError,
    NotFoundError,
)
from imagesdk.limiters.base import LimiterSnapshot
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time

Png = Callable[..., bytes]
GOOD = ScriptedAnswer({"data": [{"b64_json": base64.b64encode(b"image").decode()}]})


def session(**options: Any) -> tuple[ImageSession, ScriptedTransport]:
    transport = ScriptedTransport(lambda _: GOOD)
    arguments: dict[str, Any] = {"base_url": "http://server/v1", "transport": transport, **options}
    return ImageSession(**arguments), transport


def form(sent: SentRequest) -> list[tuple[str, str | None, bytes]]:
    """Return (name, file name, content) of the parts of a form."""
    boundary = sent.body[2 : sent.body.index(b"\r")]
    head = b"Content-Type: multipart/form-data; boundary=" + boundary + b"\r\n\r\n"
    message: Any = message_from_bytes(head + sent.body)
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.get_payload()
    ]


ALL = {
    "model": "gpt-image-2.6-flare",
    "n": 2,
    "size": "1024x1024",
    "quality": "high",
    "background": "opaque",
    "output_format": "webp",
    "output_compression": 50,
    "complexity": "low",
    "frame_count": 3,
    "frame_duration_ms": 4,
    "safety_identifier": "s",
    "user": "u",
}


async def test_generate_parameters() -> None:
    """Every parameter of generate() reaches the wire under its own name."""
    images, transport = session(validate="off")
    given = {**ALL, "style": "vivid", "moderation": "low", "svg": {"model": "m"}}
    async with images:
        await images.generate(
            "a fox",
            **given,  # type: ignore[arg-type, type-var]
            response_format="url",
            extra_body={"seed": 7},
            extra_headers={"X-Tenant": "t"},
            partial="return",
        )
        await images.generate("a fox", model="dall-e-2", response_format="url")
    first, second = transport.requests
    assert first.json == {"prompt": "a fox", **given, "seed": 7}
    assert (first.method, first.url) == ("POST", "http://server/v1/images/generations")
    assert first.headers["X-Tenant"] == "t"
    assert first.headers["Accept"] == "application/json"
    assert second.json == {"prompt": "a fox", "model": "dall-e-2", "response_format": "url"}


async def test_edit_parameters(png: Png) -> None:
    """Every parameter of edit() reaches the wire, several images as image[]."""
    images, transport = session(validate="off")
    async with images:
        await images.edit(
            [png(), ("b.png", png((8, 8)), None)],
            "a fox",
            mask=png((4, 4)),
            markup=png((2, 2)),
            **ALL,  # type: ignore[arg-type, type-var]
            input_fidelity="high",
            svg={"reasoning": {"effort": "low"}},
            extra_body={"tags": ["a", "b"], "flag": True, "no": None},
            partial="return",
        )
    (sent,) = transport.requests
    assert sent.url == "http://server/v1/images/edits"
    parts = form(sent)
    fields = [(name, content.decode()) for name, filename, content in parts if filename is None]
    expected = {**{k: str(v) for k, v in ALL.items()}, "prompt": "a fox", "input_fidelity": "high"}
    expected |= {"svg[reasoning][effort]": "low", "flag": "true"}
    assert dict(fields) == {**expected, "tags[]": "b"}
    assert [value for name, value in fields if name == "tags[]"] == ["a", "b"]
    assert [part for part in parts if part[1] is not None] == [
        ("image[]", "image.png", png()),
        ("image[]", "b.png", png((8, 8))),
        ("mask", "mask.png", png((4, 4))),
        ("markup", "markup.png", png((2, 2))),
    ]


async def test_variation_parameters(png: Png) -> None:
    """Every parameter of create_variation() reaches the wire."""
    images, transport = session()
    async with images:
        await images.create_variation(
            png(),
            model="dall-e-2",
            n=2,
            size="256x256",
            response_format="b64_json",
            user="u",
            partial="return",
        )
        await images.create_variation(png())
    assert transport.requests[0].url == "http://server/v1/images/variations"
    assert form(transport.requests[0]) == [
        ("model", None, b"dall-e-2"),
        ("n", None, b"2"),
        ("size", None, b"256x256"),
        ("response_format", None, b"b64_json"),
        ("user", None, b"u"),
        ("image", "image.png", png()),
    ]
    assert form(transport.requests[1]) == [("image", "image.png", png())]


async def test_none_is_left_out() -> None:
    """What is left at None is not in the body."""
    images, transport = session()
    async with images:
        await images.generate("a fox")
    assert transport.requests[0].body == b'{"prompt":"a fox"}'


async def test_model() -> None:
    """The model of the call goes before the model of the session."""
    images, transport = session(model="gpt-image-1")
    async with images:
        await images.generate("a fox")
        await images.generate("a fox", model="dall-e-2")
    assert [r.json["model"] for r in transport.requests] == ["gpt-image-1", "dall-e-2"]


async def test_openai_requires_a_model() -> None:
    """OpenAI's own host answers no request without a model: a clear error before sending."""
    images, transport = session(base_url=None, api_key="sk-test")
    async with images:
        with pytest.raises(
            ConfigurationError, match=r"api\.openai\.com answers no request without"
        ):
            await images.generate("a fox")
        assert transport.requests == []
        await images.generate("a fox", model="gpt-image-2")
    assert transport.requests[0].url == "https://api.openai.com/v1/images/generations"
    classic, _ = session(base_url="https://api.openai.com/v1", api_key="sk-test", server="classic")
    async with classic:
        assert (await classic.generate("a fox")).data


async def test_credentials(key: str) -> None:
    """Key, organization and project go with each call, apart from what may be shown."""
    images, transport = session(api_key=f"{key}\n", organization="org", project="proj")
    async with images:
        await images.generate("a fox")
    (sent,) = transport.requests
    assert sent.credentials == {
        "Authorization": f"Bearer {key}",
        "OpenAI-Organization": "org",
        "OpenAI-Project": "proj",
    }
    assert key not in repr(sent)
    assert key not in repr(images)


async def test_repr() -> None:
    """The repr names server, model and state."""
    images, _ = session(model="m")
    assert repr(images) == "<ImageSession http://server/v1 model='m'>"
    await images.aclose()
    assert repr(images) == "<ImageSession http://server/v1 model='m' closed>"


def test_a_session_is_not_pickled() -> None:
    """A session that is sent to another process, or copied, says what to do instead."""
    images, _ = session()
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="make one in each process"):
            duplicate(images)


async def test_closed() -> None:
    """A closed session sends nothing, and closes its transport; closing twice does no harm."""
    images, transport = session()
    async with images:
        await images.generate("a fox")
    assert transport.closed
    await images.aclose()
    with pytest.raises(ConfigurationError, match="the session is closed; make a new one"):
        await images.generate("a fox")
    with pytest.raises(ConfigurationError, match="closed"):
        await images.__aenter__()
    assert len(transport.requests) == 1


def test_made_outside_of_a_loop() -> None:
    """A session may be made before the loop runs, and belongs to the one that uses it first."""
    images, transport = session(max_concurrency=2)

    async def main() -> None:
        await asyncio.gather(*(images.generate("a fox") for _ in range(3)))

    with virtual_time() as runner:
        runner.run(main())
    agents = {request.headers["User-Agent"] for request in transport.requests}
    assert len(transport.requests) == 3
    assert len(agents) == 1
    assert agents.pop().startswith("imagesdk/0.")
    with virtual_time() as runner, pytest.raises(ConfigurationError, match="another event loop"):
        runner.run(main())
    assert len(transport.requests) == 3


async def test_options() -> None:
    """Options that make no sense are refused before anything is sent."""
    images, transport = session()
    bad: list[tuple[dict[str, Any], str]] = [
        ({"priority": "urgent"}, "priority is 'urgent'"),
        ({"partial": "maybe"}, "partial is 'maybe'"),
        ({"timeout": 0.0}, "timeout is 0.0"),
        ({"max_wait": -1.0}, "max_wait is -1.0"),
    ]
    async with images:
        for options, words in bad:
            with pytest.raises((InvalidRequestError, ConfigurationError), match=words):
                await images.generate("a fox", **options)
    assert transport.requests == []


def test_limiter_is_shared() -> None:
    """Sessions that share a limiter keep one limit together; n is what it is charged."""

    async def main() -> LimiterSnapshot:
        limiter = ImageLimiter(20)
        first, _ = session(limiter=limiter)
        second, _ = session(limiter=limiter)
        async with first, second:
            await asyncio.gather(
                first.generate("a fox", n=4, partial="return"), second.generate("a fox")
            )
            assert first.limiter is second.limiter is limiter
            assert first.snapshot() == second.snapshot()
            return second.snapshot()

    with virtual_time() as runner:
        snapshot = runner.run(main())
    assert (snapshot.used, snapshot.images_per_minute) == (5, 20)


def test_model_families_have_limits_of_their_own() -> None:
    """On OpenAI's own host two families share no window, and two GPT Image models do."""

    async def main() -> list[float]:
        images, transport = session(
            base_url="https://api.openai.com/v1", api_key="sk-x", images_per_minute=1
        )
        models = ("gpt-image-2", "chatgpt-image-latest", "gpt-image-1-mini", "gpt-image-1.5")
        async with images:
            await asyncio.gather(*(images.generate("a fox", model=model) for model in models))
            used = {model: images.snapshot(model).used for model in (*models, "dall-e-2")}
        assert used == {
            **dict.fromkeys(models, 1),
            "gpt-image-1-mini": 0,
            "chatgpt-image-latest": 0,
        } | {"dall-e-2": 0}
        return [request.at for request in transport.requests]

    with virtual_time() as runner:
        at = runner.run(main())
    assert at[:3] == [0, 0, 0]
    assert at[3] == pytest.approx(60.35, abs=0.1)


def test_a_classic_server_has_one_limit() -> None:
    """Where the profile says nothing of families, all models share the limit."""

    async def main() -> float:
        images, transport = session(images_per_minute=1)
        async with images:
            calls = (images.generate("a fox", model=model) for model in ("dall-e-3", "dall-e-2"))
            await asyncio.gather(*calls)
            assert images.snapshot() == images.snapshot("dall-e-2") == images.snapshot("x")
        return transport.requests[1].at

    with virtual_time() as runner:
        assert runner.run(main()) == pytest.approx(60.35, abs=0.1)


def test_the_snapshot_is_of_the_sessions_model() -> None:
    """Without a model the snapshot is about the session's own; with one, about that one's family."""

    async def main() -> None:
        images, _ = session(
            base_url="https://api.openai.com/v1", api_key="sk-x", model="gpt-image-2"
        )
        async with images:
            await images.generate("a fox", n=1)
            await images.generate("a fox", model="gpt-image-1-mini", n=2, partial="return")
            models = (None, "gpt-image-1", "gpt-image-1-mini", "flux")
            used = [images.snapshot(m).used for m in models]
            assert used == [1, 1, 2, 0]
            assert images.snapshot().images_per_minute == 50
            used_up = [
                images.forecast(49, 49, model=m) > 60 for m in (None, "gpt-image-1-mini", "flux")
            ]
            assert used_up == [False, True, False]

    with virtual_time() as runner:
        runner.run(main())


def test_input_images_are_counted(png: Png) -> None:
    """An edit is charged for the images that it sends, a generation for none."""

    async def main() -> list[float]:
        limiter = ImageLimiter(50, input_images_per_minute=4)
        images, transport = session(limiter=limiter, model="gpt-image-2")
        async with images:
            with pytest.raises(ConfigurationError, match="5 input images can never be admitted"):
                await images.edit([png()] * 5, "a hat")
            for _ in range(3):
                await images.edit([png(), png()], "a hat")
                await images.generate("a fox")
        return [request.at for request in transport.requests]

    with virtual_time() as runner:
        at = runner.run(main())
    assert at[:4] == [0] * 4
    assert at[4:] == pytest.approx([60.35] * 2, abs=0.1)


def test_default_limit() -> None:
    """Left alone, the profile's limit of 50 images a minute holds; None switches it off."""

    async def main(**options: Any) -> float:
        images, transport = session(**options)
        async with images:
            await asyncio.gather(*(images.generate("a fox") for _ in range(51)))
        return transport.requests[-1].at

    with virtual_time() as runner:
        assert 60 < runner.run(main()) < 61
    with virtual_time() as runner:
        assert runner.run(main(images_per_minute=None)) == 0


def test_priorities() -> None:
    """An interactive call goes before the batch calls of map()."""

    async def main() -> list[str]:
        images, transport = session(images_per_minute=1)
        async with images:
            outcomes = images.map(["b1", "b2", "b3"], ordered=True)
            batch = asyncio.create_task(_drain(outcomes))
            await asyncio.sleep(1)
            await images.generate("user")
            await batch
        return [request.json["prompt"] for request in transport.requests]

    with virtual_time() as runner:
        assert runner.run(main()) == ["b1", "user", "b2", "b3"]


async def _drain(outcomes: Any) -> list[Any]:
    return [outcome async for outcome in outcomes]


async def test_request_records(png: Png) -> None:
    """map() takes prompts and request records mixed."""
    from imagesdk import EditRequest, VariationRequest

    images, transport = session()
    requests: list[Any] = [
        "a fox",
        GenerateRequest("an otter", size="256x256"),
        EditRequest(png(), "a hat"),
        VariationRequest(png()),
        GenerateRequest("", size="7x7"),
    ]
    async with images, images.map(requests, ordered=True) as outcomes:
        results = await _drain(outcomes)
    assert [outcome.request for outcome in results] == requests
    assert [outcome.error is None for outcome in results] == [True] * 4 + [False]
    assert isinstance(results[4].error, InvalidRequestError)
    assert sorted(request.url.rpartition("/")[2] for request in transport.requests) == [
        "edits",
        "generations",
        "generations",
        "variations",
    ]


async def test_default_transport() -> None:
    """Without one the session makes a transport over aiohttp, and needs no loop for it."""
    from imagesdk.transport._aiohttp import AiohttpTransport

    images = ImageSession(base_url="http://server/v1")
    assert isinstance(images._pipeline.transport, AiohttpTransport)
    await images.aclose()


def test_no_variations_on_a_host_that_wants_a_model() -> None:
    """The advice for a variation on OpenAI's own host is one that works there."""

    async def main() -> None:
        async with ImageSession(api_key="sk-test-1") as images:
            with pytest.raises(InvalidRequestError, match=r"use edit\(\) with a prompt"):
                await images.create_variation(b"any")

    asyncio.run(main())


def test_a_key_that_is_no_text() -> None:
    """A key of another type is refused by name."""
    with pytest.raises(ConfigurationError, match="api_key is a int"):
        ImageSession(api_key=cast("Any", 5))


async def test_a_call_leaves_no_cycle_behind() -> None:
    """What a call held is free as soon as it is done, without the garbage collector."""

    class Extra(dict[str, str]):
        """A dict that can be referred to weakly."""

    images, _ = session()
    async with images:
        await images.generate("the first call sets things up")
        extra = Extra(user="u")
        request = weakref.ref(extra)
        gc.collect()
        gc.disable()
        try:
            await images.generate("a fox", extra_body=extra)
            del extra
            assert request() is None
        finally:
            gc.enable()


# Servers --------------------------------------------------------------------------------------


async def test_what_a_profile_decides() -> None:
    """Limit and timeout are the server's, unless the session is told otherwise."""
    hosted, _ = session(api_key="k")
    own, _ = session(server="sglang")
    told, _ = session(server="sglang", images_per_minute=7, timeout=5.0)
    endless, _ = session(server="sglang", timeout=None)
    sessions = (hosted, own, told, endless)
    assert [s._defaults.timeout for s in sessions] == [600.0, 3600.0, 5.0, None]
    assert [s.snapshot().images_per_minute for s in sessions] == [50, None, 7, None]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_model_that_is_not_found_anymore(streamed: bool) -> None:  # noqa: FBT001
    """A 404 for a model that OpenAI has shut down says so, and what to use."""
    body = {"error": {"message": "no such model", "code": "model_not_found"}}
    transport = ScriptedTransport(lambda _: ScriptedAnswer(body, status=404))
    images = ImageSession(base_url="http://server/v1", transport=transport, model="gpt-image-1.5")

    async def call() -> None:
        if not streamed:
            await images.generate("a fox")
        async with images.stream_generate("a fox") as events:
            _ = [event async for event in events]

    async with images:
        with pytest.raises(NotFoundError) as caught:
            await call()
    assert str(caught.value) == (
        "no such model (HTTP 404 model_not_found). gpt-image-1.5: OpenAI has announced to shut it down on "
        "2026-12-01; use gpt-image-2.6-sunburst or gpt-image-2.6-flare"
    )
    assert caught.value.args == (str(caught.value),)
    assert caught.value.code == "model_not_found"


async def test_an_image_that_the_server_fetches(png: Png) -> None:
    """With a URL among the images a mask is not compared with any of them."""
    images, transport = session(server="openai-json", model="gpt-image-2")
    async with images:
        await images.edit(["https://a/b.png", png((128, 64))], "a fox", mask=png((32, 32)))
        assert [*transport.requests[0].json["images"][0]] == ["image_url"]
        with pytest.raises(InvalidImageError, match="mask is '32x32'"):
            await images.edit([png((128, 64))], "a fox", mask=png((32, 32)))
    plain, _ = session(model="gpt-image-2", api_key="k", base_url="https://api.openai.com/v1")
    async with plain:
        with pytest.raises(InvalidImageError, match="a URL is no file"):
            await plain.edit("https://a/b.png", "a fox")


async def test_validate_and_what_the_server_does_not_take() -> None:
    """What a server does not take can be sent all the same, but not where there is no endpoint."""
    images, transport = session(server="xai", model="grok-imagine-image", validate="off")
    async with images:
        await images.generate("a fox", size="1792x1024")
        assert transport.requests[0].json["size"] == "1792x1024"
        with pytest.raises(InvalidRequestError, match="xai has no variations") as caught:
            await images.create_variation(b"any")
    assert caught.value.field == "endpoint"
    strict, transport = session(server="xai", model="grok-imagine-image")
    async with strict:
        with pytest.raises(
            InvalidRequestError, match="size is '1792x1024'; it must be auto"
        ) as caught:
            await strict.generate("a fox", size="1792x1024", style="vivid")
    assert len(caught.value.problems) == 2
    assert transport.requests == []
