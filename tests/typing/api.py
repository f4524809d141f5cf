"""A user's program that type checkers must accept as it is; it is checked and never run.

There is no cast in it and nothing is ignored. What they must not accept is in refused.py.
"""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, TypeAlias, assert_type

import aiohttp
import attrs
from PIL import Image as Pillow

import imagesdk
from imagesdk import (
    AmbiguousError,
    APIError,
    Attempt,
    CompletedImage,
    EditRequest,
    ExpiredURLError,
    GenerateRequest,
    Image,
    ImageInput,
    ImageLimiter,
    ImageMap,
    ImageSDKError,
    ImageSession,
    ImagesResponse,
    ImageStream,
    InvalidRequestError,
    LimiterSnapshot,
    ModerationError,
    Outcome,
    PartialImage,
    PartialResultError,
    RateLimitTooLongError,
    RetryPolicy,
    ServerProfile,
    StreamIncompleteError,
    TransportError,
    VariationRequest,
    batch,
    size_for,
)
from imagesdk.batch import Estimate, estimate
from imagesdk.batch.engine import Engine
from imagesdk.batch.jobs import Job, read_jobs
from imagesdk.batch.limits import Stop
from imagesdk.batch.prices import Price, PriceTable, read_prices
from imagesdk.batch.records import Record
from imagesdk.batch.runner import Summary, run_jobs
from imagesdk.batch.worker import Worker
from imagesdk.emulator import EmulatorServer
from imagesdk.events import Event
from imagesdk.models import choices
from imagesdk.models.servers import profile_named
from imagesdk.observability import combine, log_events, otel_events
from imagesdk.prepare import (
    Prepared,
    mask_from_alpha,
    mask_from_boxes,
    mask_from_difference,
    mask_from_luma,
    resize,
    square_png,
    upright,
)
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, SentRequest, virtual_time

PNG = b"\x89PNG"
Saved: TypeAlias = ImagesResponse[str | os.PathLike[str]]


# Image inputs -------------------------------------------------------------------------------------


async def every_kind_of_image(images: ImageSession, entry: os.DirEntry[str]) -> None:
    """Pass every kind of image to an edit, to a mask and to a variation."""
    array, view, stream = bytearray(PNG), memoryview(PNG), io.BytesIO(PNG)
    path, picture = Path("a.png"), Pillow.new("RGBA", (2, 2))
    for result in (
        await images.edit(PNG, "a", mask=PNG),
        await images.edit(array, "a", mask=array),
        await images.edit(view, "a", mask=view),
        await images.edit("a.png", "a", mask="mask.png"),
        await images.edit("data:image/png;base64,AAAA", "a", mask="data:image/png;base64,AAAA"),
        await images.edit(path, "a", mask=path, markup=path),
        await images.edit(entry, "a", mask=entry),
        await images.edit(stream, "a", mask=stream),
        await images.edit(picture, "a", mask=picture),
        await images.edit(picture.convert("RGB").copy(), "a"),
        await images.edit(("a.png", PNG, "image/png"), "a", mask=("m.png", stream, None)),
        await images.edit((None, array, None), "a", mask=(None, path, "image/png")),
    ):
        assert_type(result, ImagesResponse)
    await images.create_variation(PNG)
    await images.create_variation(array)
    await images.create_variation(view)
    await images.create_variation("a.png")
    await images.create_variation(path)
    await images.create_variation(entry)
    await images.create_variation(stream)
    await images.create_variation(picture)
    await images.create_variation(("a.png", view, "image/png"))


async def every_kind_of_file(images: ImageSession, upload: IO[bytes], binary: BinaryIO) -> None:
    """Pass open files of every kind."""
    with open("a.png", "rb") as buffered, Path("b.png").open("rb") as opened:  # noqa: ASYNC230, PTH123
        await images.edit(buffered, "a", mask=opened)
        await images.create_variation(opened)
        await images.edit([buffered, opened], "a")
    with open("a.png", "rb", buffering=0) as raw:  # noqa: ASYNC230, PTH123
        await images.create_variation(raw)
    with tempfile.TemporaryFile() as temporary, tempfile.SpooledTemporaryFile() as spooled:
        await images.edit(temporary, "a", mask=spooled)
    await images.edit(upload, "a", mask=binary)


async def several_images(images: ImageSession, many: list[Path], names: tuple[str, ...]) -> None:
    """Pass lists and tuples, of one kind and of several."""
    stream, picture = io.BytesIO(PNG), Pillow.new("L", (1, 1))
    await images.edit(["a.png", "b.png"], "a")
    await images.edit([PNG, PNG], "a")
    await images.edit(many, "a")
    await images.edit(names, "a")
    await images.edit([PNG, "b.png", Path("c.png"), stream, ("d.png", PNG, None), picture], "a")
    streams = [stream, io.BytesIO(PNG)]
    await images.edit(streams, "a")
    named = [("a.png", PNG, "image/png"), ("b.png", PNG, "image/png")]
    await images.edit(named, "a")
    inputs: list[ImageInput] = [PNG, "a.png", picture]
    await images.edit(inputs, "a", mask=inputs[0])


# Calls and results --------------------------------------------------------------------------------


async def every_parameter(images: ImageSession) -> None:
    """Name every parameter of a call."""
    result = await images.generate(
        "a fox",
        model="gpt-image-2",
        n=2,
        size="1024x1024",
        quality="high",
        style=None,
        background="transparent",
        moderation="low",
        output_format="webp",
        output_compression=80,
        complexity="low",
        frame_count=None,
        frame_duration_ms=None,
        svg={"model": "a"},
        safety_identifier="u-1",
        user="u-1",
        extra_body={"seed": 7},
        extra_headers={"X-Trace": "1"},
        timeout=60,
        max_wait=0.5,
        priority="batch",
        partial="return",
        save_to="out",
    )
    assert_type(result, Saved)
    await images.edit(PNG, "a", save_to=Path("out"))
    await images.create_variation(PNG, save_to=None)


async def known_and_other_values(images: ImageSession, size: str, model: str | None) -> None:
    """Editors offer what is known; any other text is fine, too."""
    await images.generate("a", model="flux-2", size="1000x1000", quality="extreme")
    await images.generate("a", model=model, size=size)
    known: choices.Size = "1024x1024"
    await images.edit(PNG, "a", size=known, output_format="avif")
    GenerateRequest("a", size=size, background=known)


async def results(images: ImageSession) -> None:
    """Look at all that comes back."""
    result = await images.generate("a fox")
    assert_type(result.created, int | None)
    assert_type(result.data, tuple[Image, ...])
    assert_type(result.usage, Mapping[str, Any] | None)
    assert_type(result.request_id, str | None)
    assert_type(result.headers, Mapping[str, str])
    assert_type(result.attempts, tuple[Attempt, ...])
    assert_type(await result.save("out"), list[Path])
    assert_type(await result.save(Path("out"), name="fox"), list[Path])
    image = result.data[0]
    assert_type(image.url, str | None)
    assert_type(image.b64_json, str | None)
    assert_type(image.revised_prompt, str | None)
    assert_type(image.mime_type, str | None)
    assert_type(image.width, int | None)
    assert_type(image.height, int | None)
    assert_type(image.path, Path | None)
    assert_type(image.expires_at, datetime | None)
    assert_type(await image.read(), bytes)
    assert_type(await image.save("fox"), Path)
    assert_type(await image.save(Path("fox")), Path)
    both = await asyncio.gather(images.generate("a"), images.create_variation(await image.read()))
    assert_type(both, tuple[ImagesResponse, ImagesResponse])


# On disk, or in memory ----------------------------------------------------------------------------


async def saved(images: ImageSession, folder: Path, entry: os.DirEntry[str]) -> None:
    """With ``save_to=`` each image has a path."""
    for result in (
        await images.generate("a", save_to="out"),
        await images.edit(PNG, "a", save_to=folder),
        await images.create_variation(PNG, save_to=entry),
        await images.generate("a", save_to=folder, partial="return"),
    ):
        assert_type(result, Saved)
        assert_type(result.data, tuple[Image[str | os.PathLike[str]], ...])
        assert_type(result.data[0].path, Path)
        assert_type(result.data[0].path.name, str)
        assert_type(result.data[0].b64_json, str | None)
        assert_type(await result.data[0].read(), bytes)
        assert_type(await result.data[0].save("elsewhere"), Path)
        assert_type(result.paths, tuple[Path, ...])
    many = await asyncio.gather(*(images.generate("a", save_to=folder) for _ in range(3)))
    assert_type(many, list[Saved])
    first = asyncio.create_task(images.generate("a", save_to=folder))
    assert_type((await first).data[0].path, Path)
    call = functools.partial(images.generate, save_to=folder)
    assert_type((await call("a")).data[0].path, Path)


async def not_saved(images: ImageSession, perhaps: Path | None) -> None:
    """Without it, and where that is not known, an image may have none."""
    for result in (
        await images.generate("a"),
        await images.edit(PNG, "a", save_to=None),
        await images.create_variation(PNG, save_to=perhaps),
        await images.generate("a", save_to=perhaps, partial="return"),
    ):
        assert_type(result, ImagesResponse)
        assert_type(result.data, tuple[Image, ...])
        assert_type(result.data[0].path, Path | None)
        if result.data[0].path is not None:
            assert_type(result.data[0].path.name, str)


async def either(images: ImageSession, folder: Path | None) -> list[ImagesResponse]:
    """What is saved can stand wherever a result can; a variable that takes both needs its type."""

    def show(result: ImagesResponse, image: Image, outcome: Outcome[str]) -> None:
        print(result.paths, image.path, outcome.unwrap().paths)  # noqa: T201

    saved = await images.generate("a", save_to="out")
    async for one in images.map(["a"], save_to="out"):
        show(saved, saved.data[0], one)
    saved = await images.generate("a", save_to=Path("out"))
    result = await images.generate("a")
    if folder is not None:
        result = await images.generate("a", save_to=folder)
    try:
        result = await images.generate("a", save_to="out")
    except PartialResultError as error:
        result = error.result
    stream: ImageStream = images.stream_generate("a", save_to="out")
    outcomes: ImageMap[str] = images.map(["a"], save_to="out")
    await stream.aclose()
    await outcomes.aclose()
    return [saved, result, *await asyncio.gather(*[images.generate("a") for _ in range(3)])]


class Generator(Protocol):
    """The part of a session that an application needs, so that its tests can replace it."""

    async def generate(self, prompt: str, *, n: int | None = None) -> ImagesResponse:
        """Make images."""
        ...


async def as_a_part(images: ImageSession, options: dict[str, Any]) -> None:
    """A session is what an application says it needs; options may come from anywhere."""
    part: Generator = images
    assert_type((await part.generate("a", n=2)).data, tuple[Image, ...])
    call: Callable[[str], Awaitable[ImagesResponse]] = images.generate
    assert_type(await call("a"), ImagesResponse)
    assert_type(await images.generate("a", **options), ImagesResponse[Any])


# Streams and map ----------------------------------------------------------------------------------


async def streams(images: ImageSession) -> None:
    """Stream a generation and an edit; tell their events apart."""
    async with images.stream_generate("a", partial_images=2) as events:
        assert_type(events, ImageStream)
        async for event in events:
            assert_type(event, PartialImage | CompletedImage)
            if isinstance(event, PartialImage):
                assert_type(event.bytes, bytes)
                assert_type(event.index, int)
            else:
                assert_type(event.response, ImagesResponse)
                assert_type(event.usage, Mapping[str, Any] | None)
            assert_type(event.image, Image)
            assert_type(event.image.path, Path | None)
    async for last in images.stream_edit(["a.png", PNG], "a", mask=PNG, save_to=Path("out")):
        await last.image.save("a")
        if isinstance(last, CompletedImage):
            assert_type(last, CompletedImage[str | os.PathLike[str]])
            assert_type(last.image.path, Path)
            assert_type(last.response, Saved)
        else:
            assert_type(last, PartialImage)
            assert_type(last.image.path, Path | None)
    try:
        async with images.stream_generate("a", save_to="out") as saved:
            assert_type(saved, ImageStream[str | os.PathLike[str]])
    except StreamIncompleteError as error:
        assert_type(error.partial, PartialImage | None)
    await images.stream_edit(PNG, "a", timeout=5, priority="batch").aclose()


async def many_prompts(images: ImageSession, names: dict[str, str]) -> None:
    """Map prompts from a list, a view and a generator."""
    prompts = ["a fox", "an otter"]
    async with images.map(prompts) as outcomes:
        assert_type(outcomes, ImageMap[str])
        async for outcome in outcomes:
            assert_type(outcome, Outcome[str])
            assert_type(outcome.request, str)
            assert_type(outcome.index, int)
            assert_type(outcome.response, ImagesResponse | None)
            assert_type(outcome.error, ImageSDKError | None)
            assert_type(outcome.unwrap(), ImagesResponse)
    async for outcome in images.map(names.values(), concurrency=8, ordered=True):
        assert_type(names[outcome.request], str)
    async for saved in images.map((f"fox {number}" for number in range(3)), save_to=Path("out")):
        assert_type(saved, Outcome[str, str | os.PathLike[str]])
        assert_type(saved.request, str)
        assert_type(saved.response, Saved | None)
        assert_type(saved.unwrap().data[0].path, Path)


async def many_requests(images: ImageSession) -> None:
    """Map request records, of one type and of several."""
    requests = [GenerateRequest("a", n=2), GenerateRequest("b", size="256x256")]
    async with images.map(requests) as generated:
        async for outcome in generated:
            assert_type(outcome.request, GenerateRequest)

    async def note(request: GenerateRequest) -> None:
        print(request.prompt)  # noqa: T201

    images.map(requests, before_send=note)
    images.map(requests, after_attempt=lambda request, attempt: print(request.n, attempt.outcome))  # noqa: T201
    edits = [EditRequest(PNG, "a", mask=Path("m.png")), EditRequest(["a.png", PNG], "b")]
    async with images.map(edits, timeout=60, max_wait=None, priority="interactive") as edited:
        async for edit in edited:
            assert_type(edit.request, EditRequest)
    mixed: list[GenerateRequest | EditRequest | VariationRequest] = [
        GenerateRequest("a"),
        EditRequest("a.png", "b"),
        VariationRequest(io.BytesIO(PNG)),
    ]
    async with images.map(mixed) as all_kinds:
        async for one in all_kinds:
            assert_type(one.request, GenerateRequest | EditRequest | VariationRequest)
    either: list[str | GenerateRequest] = ["a", GenerateRequest("b")]
    async for other in images.map(either):
        assert_type(other.request, str | GenerateRequest)


async def from_generators(images: ImageSession) -> None:
    """Map what sync and async generators yield."""

    def lines() -> Iterator[str]:
        yield "a fox"

    async def queue() -> AsyncIterator[GenerateRequest]:
        yield GenerateRequest("a fox")

    async with images.map(lines()) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome.request, str)
    async with images.map(queue()) as queued:
        async for job in queued:
            assert_type(job, Outcome[GenerateRequest])


# Errors -------------------------------------------------------------------------------------------


async def errors(images: ImageSession) -> ImagesResponse | None:
    """Handle errors, from the most special to the most general."""
    try:
        return await images.generate("a fox")
    except ModerationError as error:
        assert_type(error.categories, tuple[str, ...])
        assert_type(error.stage, str | None)
    except InvalidRequestError as error:
        assert_type(error.field, str | None)
        assert_type(error.problems, tuple[str, ...])
        assert_type(error.value, object)
    except APIError as error:
        assert_type(error.code, str | None)
        assert_type(error.type, str | None)
        assert_type(error.param, str | None)
        assert_type(error.headers, Mapping[str, str])
    except PartialResultError as error:
        assert_type(error.errors, tuple[ImageSDKError, ...])
        assert_type(error.result, ImagesResponse)
        return error.result
    except RateLimitTooLongError as error:
        assert_type(error.wait, float)
        assert_type(error.max_wait, float)
        assert_type(error.position, int)
    except ExpiredURLError as error:
        assert_type(error.url, str)
        assert_type(error.expired_at, datetime | None)
    except AmbiguousError as error:
        assert_type(error.may_be_billed, bool)
    except TransportError as error:
        print(error.phase == "connect")  # noqa: T201
    except ImageSDKError as error:
        assert_type(error.message, str)
        assert_type(error.status, int | None)
        assert_type(error.error, Mapping[str, Any] | None)
        assert_type(error.request_id, str | None)
        assert_type(error.attempts, tuple[Attempt, ...])
        assert_type(error.retry_after, float | None)
    return None


# Sessions -----------------------------------------------------------------------------------------


async def sessions(profile: ServerProfile, http: aiohttp.ClientSession) -> None:
    """Make sessions, limiters and policies in every way."""
    seen: list[Event] = []
    limiter = ImageLimiter(50, burst=10, max_pause=60)
    policy = RetryPolicy(5, attempt_timeout=120, ambiguous="never", backoff=1, max_backoff=30)
    async with (
        ImageSession() as plain,
        ImageSession(api_key="k", base_url="http://127.0.0.1:1/v1", server=profile) as own,
        ImageSession(base_url="http://a/v1", server="classic", images_per_minute=7.5) as classic,
        ImageSession(images_per_minute=None, timeout=None, max_wait=3, max_concurrency=4) as free,
        ImageSession(limiter=limiter, retry=policy, validate="warn", on_event=seen.append) as one,
        ImageSession(
            limiter=plain.limiter, client_session=http, server=profile_named("classic")
        ) as two,
    ):
        for session in (plain, own, classic, free, one, two):
            assert_type(session, ImageSession)
            assert_type(session.snapshot(), LimiterSnapshot)
            assert_type((session.base_url, session.model), tuple[str, str | None])
            assert_type(session.server, ServerProfile)
            assert_type(session.forecast(100, 25, model="dall-e-2"), float)
    listener = combine(
        log_events(),
        log_events(logging.getLogger("a")),
        otel_events(prices=read_prices("p.toml")),
        seen.append,
    )
    session = ImageSession(transport=ScriptedTransport([]), on_event=listener)
    await session.aclose()
    session = ImageSession(transport=ScriptedTransport([]), images_per_minute="profile")
    await session.aclose()
    session = ImageSession(server="localai", timeout="profile", transport=ScriptedTransport([]))
    await session.aclose()
    print(imagesdk.ImageSession is ImageSession)  # noqa: T201


def profiles() -> None:
    """Make profiles of servers, and change known ones."""
    mine = ServerProfile(
        name="mine",
        paths={"generations": "images/generations", "edits": "deployments/{model}/edits"},
        query={"api-version": "1"},
        auth_header="api-key",
        auth_scheme="",
        max_n=4,
        size_style="aspect_ratio",
        aspect_ratios=("1:1",),
        response_formats={"url": None, "b64_json": "base64"},
        defaults={"edits": {"response_format": "base64"}},
        rename={"n": "batch_size"},
        edit_body="json",
        images_field=None,
        mask_field=None,
        url_key=None,
        streams=("edits",),
        stream_events="answers",
        images_per_minute=None,
        timeout=None,
    )
    assert_type(mine.is_standard, bool)
    assert_type(ServerProfile.named("xai"), ServerProfile)
    assert_type(attrs.evolve(ServerProfile.named("azure"), timeout=60.0), ServerProfile)


# Batches, emulator, tests -------------------------------------------------------------------------


async def batches(images: ImageSession) -> None:
    """Run a file of requests."""
    with Path("jobs.jsonl").open("rb") as file:  # noqa: ASYNC230
        jobs = list(read_jobs(file, Path()))
    assert_type(jobs, list[Job])

    def tell(record: Record, is_new: bool) -> None:  # noqa: FBT001
        print(record.custom_id, record.status, is_new)  # noqa: T201

    for source in ("jobs.jsonl", Path("jobs.csv"), [{"prompt": "a fox", "n": 2}], None):
        assert_type(await batch.run(source, "out", session=images), batch.Summary)
    with batch.stop_on_signals() as stop:
        await batch.run(
            ({"prompt": prompt} for prompt in ("a", "b")),
            Path("out"),
            session={"model": "gpt-image-2"},
            kind="txt",
            in_doubt="skip",
            include=["rejected", "in_doubt"],
            sample=5,
            max_cost=1.5,
            prices=batch.read_prices("prices.toml"),
            max_failure_rate=0.2,
            deadline=3600,
            stop=stop,
            on_due=lambda total: print(total.jobs, total.images),  # noqa: T201
            on_record=tell,
        )
    engine: Engine = Worker(images, Path("out"))
    summary = await run_jobs(engine, jobs, Path("out"), concurrency=4, on_record=tell)
    assert_type(summary, Summary)
    assert_type(summary.stopped, Stop | None)


async def server_batches(images: ImageSession) -> None:
    """Have the server run a file."""
    taken = await batch.submit("jobs.csv", Path("out"), session=images, kind="csv", max_lines=10)
    assert_type(taken, batch.Submitted)
    states = await batch.status("out", session={"api_key": "k"})
    assert_type(states, list[batch.BatchState])
    fetched = await batch.fetch(
        "out", session=images, wait=True, every=5.0, prices="prices.toml", on_record=print
    )
    assert_type(fetched, batch.Fetched)
    assert_type(fetched.ended + await batch.cancel("out"), list[batch.ServerBatch])


async def estimates(images: ImageSession) -> None:
    """Estimate calls and files."""
    prices = PriceTable(prices=(Price(image=(0.1, 0.2)),))
    found = await estimate(images, "a fox", prices=prices)
    assert_type(found, Estimate)
    assert_type(found.cost, tuple[float, float] | None)
    await estimate(images, [GenerateRequest("a"), VariationRequest(PNG)], prices="prices.toml")
    await estimate(images, Path("jobs.jsonl"))
    with Path("jobs.jsonl").open("rb") as file:  # noqa: ASYNC230
        await estimate(images, read_jobs(file, Path()), prices=read_prices("prices.toml"))


async def on_a_cluster() -> None:
    """Run a batch elsewhere."""
    spec = batch.WorkerSpec(out=Path("out"), images_per_minute="auto", limiter="redis://localhost")
    async with batch.RayEngine(spec, address="ray://head:10001", workers=4) as cluster:
        engine: batch.Engine = cluster
        assert_type(engine.snapshot(), LimiterSnapshot)
        assert_type(await batch.run("jobs.jsonl", "out", engine=engine), Summary)
    assert_type(await batch.run("jobs.jsonl", "s3://bucket/x", ledger=Path("run")), Summary)


async def emulated() -> None:
    """Use the emulator in a test."""
    async with EmulatorServer(images_per_minute=5, blocked_prompts=["x"]) as server:
        assert_type(server.base_url, str)
        async with ImageSession(base_url=server.base_url, api_key="sk-test") as images:
            await images.generate("a fox")


def faulty() -> None:
    """Order faults of an emulator in a thread."""
    with EmulatorServer(
        limit_kind="bucket", faults=["fail=500"], idempotency="honours", seed=1, plain=True
    ) as server:
        server.fail_next(429, times=3, retry_after=2, headers={"a": "b"}, body={"error": None})
        server.fail_next("quota", charge=True, skip=1, chance=0.5, on="edits")
        server.latency(0.2)
        server.drop_connection(after="charge", how="close", times=None)
        server.hang(after="head")
        server.cut_answer(10, how="end")
        server.cut_stream(1, how="error")
        server.drip(1000)
        server.fewer_images(1)
        server.wrong_files("html")
        server.bad_base64()
        server.expire_urls(on="generations")
        server.inject({"fail": 503, "message": "m"})
        server.rate_limit(5, period=1, kind="quantised", interval=0.1, counts_refused=True)
        server.clear_faults()
        server.reset(seed=2)
        assert_type(server.charged, int)
        assert_type(server.requests[0].params["prompt"], Any)
        assert_type(server.requests[0].files[0].data, bytes)


def scripted() -> ImagesResponse:
    """Use a script and virtual time in a test."""

    def answer(request: SentRequest) -> ScriptedAnswer:
        return ScriptedAnswer({"data": [{"url": request.url}]}, delay=60, headers={"a": "b"})

    async def main() -> ImagesResponse:
        async with ImageSession(transport=ScriptedTransport(answer)) as images:
            return await images.generate("a fox")

    with virtual_time() as runner:
        return runner.run(main())


def prepared() -> None:
    """Prepare images, masks and sizes."""
    small = resize(Path("a.jpg"), "640x480", fit="crop", format="webp", below_bytes=10_000)
    assert_type(small, Prepared)
    assert_type(small.data, bytes)
    assert_type(small.changes, tuple[str, ...])
    for result in (
        resize(PNG, (4, 4), fit="pad", background="white", centre=(0, 0.5)),
        resize(Pillow.new("L", (1, 1)), 4),
        square_png(io.BytesIO(PNG), fit="pad", edge=4),
        upright(("a.png", PNG, None), max_pixels=5),
        mask_from_alpha("a.png", threshold=5, grow=-1),
        mask_from_boxes("a.png", (0, 0, 1, 1), (1, 1, 2, 2), edit="outside"),
        mask_from_difference("a.png", PNG),
        mask_from_luma("a.png", small.data, edit="dark"),
    ):
        assert_type(result, Prepared)
    assert_type(size_for("16:9", model="gpt-image-2", long_edge=1024), str)
    assert_type(size_for((16, 9), pixels=5) + size_for(1.5), str)
