"""The examples that serve others: backends, a bot, a worker, several processes with one limit."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import Message
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

import discord
import pytest
from PIL import Image

from benchmarks._browser import Browser
from imagesdk import (
    AmbiguousError,
    BadRequestError,
    ConnectError,
    ImageSDKError,
    ImageSession,
    InvalidRequestError,
    LimiterUnavailableError,
    ModerationError,
    QuotaExceededError,
)
from imagesdk.testing import ScriptedAnswer, ScriptedTransport, virtual_time

EXAMPLES = Path(__file__).parents[1] / "examples"
SERVE = [sys.executable, "-m", "imagesdk.cli.main", "serve", "--port", "0"]
PATIENCE = 20.0
AUDIOOP = "ignore:'audioop' is deprecated:DeprecationWarning"  # discord.py's, before Python 3.13
PAINTED = ScriptedAnswer({"data": [{"b64_json": "aW1hZ2U="}]}, delay=10.0)


def run(name: str, folder: Path, **environment: str) -> list[str]:
    """Run an example to its end against an emulator of its own; return the lines that it prints."""
    done = subprocess.run(
        [*SERVE, "--", sys.executable, "-W", "error", "-W", AUDIOOP, str(EXAMPLES / name)],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env=os.environ | environment,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@contextmanager
def serving(name: str, **environment: str) -> Iterator[str]:
    """Run a backend against an emulator that takes its time; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*SERVE, "--seconds-per-image", "0.6", "--", sys.executable, str(EXAMPLES / name)]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | environment | {"PORT": str(port)},
    ) as process:
        try:
            end = monotonic() + PATIENCE
            while process.poll() is None and monotonic() < end:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def ask(url: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an answer: to POST with a body, else to GET."""
    try:
        with urllib.request.urlopen(url, body, timeout=PATIENCE) as answer:  # noqa: S310 - ours
            return answer.status, lower(answer.headers), answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, lower(refused.headers), refused.read()


def lower(headers: Message) -> dict[str, str]:
    """Return headers with their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


# FastAPI --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backend() -> Iterator[str]:
    """examples/web_backend.py, with four images a minute."""
    with serving("web_backend.py", IMAGES_PER_MINUTE="4") as url:
        yield url


def test_web_backend(backend: str, browser: Browser) -> None:
    """Its page shows a picture that gets sharper; who would wait too long gets 503 with Retry-After."""
    browser.complaints.clear()
    browser.open(f"{backend}/")
    said = browser.run(
        """new Promise((done) => {
          const said = [], status = document.querySelector("[role=status]");
          new MutationObserver(() => {
            said.push([status.textContent, document.querySelector("#picture").src]);
            if (status.textContent === "Done.") done(said);
          }).observe(status, { childList: true });
          document.querySelector("button").click();
        })"""
    )
    assert [text for text, _ in said] == [
        "Painting…",
        *(f"Getting sharper ({number})…" for number in (1, 2, 3)),
        "Done.",
    ]
    pictures = [picture for _, picture in said[1:]]
    assert len(set(pictures)) == 4
    assert browser.run("document.querySelector('#picture').naturalWidth") == 1024
    assert browser.complaints == []
    with ThreadPoolExecutor(5) as users:
        answers = list(users.map(lambda _: ask(f"{backend}/pictures?prompt=a+fox", b""), range(5)))
    made = [answer for answer in answers if answer[0] == 200]
    refused = [answer for answer in answers if answer[0] == 503]
    assert (len(made), len(refused)) == (3, 2)  # the fourth of the minute was the page's
    for _, headers, body in made:
        assert headers["content-type"] == "image/png"
        with Image.open(BytesIO(body)) as image:
            image.load()
    for _, headers, body in refused:
        assert 40 <= int(headers["retry-after"]) <= 61
        assert "max_wait is 5 s" in json.loads(body)["error"]
    assert json.loads(ask(f"{backend}/queue")[2]) == {"limit": 4, "used": 4, "waiting": 0}


def test_web_backend_says_what_is_wrong(backend: str) -> None:
    """A prompt that cannot be painted gets 400 or 422, and the stream tells the same as an event."""
    assert ask(f"{backend}/pictures?prompt=", b"")[0] == 422
    streamed = ask(f"{backend}/pictures/stream?prompt=%20")[2]
    assert streamed.startswith(b"event: failed\ndata: \"prompt is ' '")
    status, _, body = ask(f"{backend}/pictures?prompt=%20", b"")
    assert status == 400
    assert "describe the picture" in json.loads(body)["error"]


# aiohttp --------------------------------------------------------------------------------------


def test_aiohttp_backend() -> None:
    """It makes pictures, says what is wrong, and sends away who would wait for more than five seconds."""
    with serving("aiohttp_backend.py", IMAGES_PER_MINUTE="1") as url:
        status, _, body = ask(f"{url}/pictures", b" ")
        assert status == 400
        assert "describe the picture" in json.loads(body)["error"]
        status, headers, body = ask(f"{url}/pictures", b"a red fox")
        assert (status, headers["content-type"]) == (200, "image/png")
        with Image.open(BytesIO(body)) as image:
            assert image.size == (256, 256)
        status, headers, _ = ask(f"{url}/pictures", b"a red fox")
        assert status == 503
        assert 40 <= int(headers["retry-after"]) <= 61


@pytest.mark.parametrize("name", ["aiohttp_backend.py", "web_backend.py"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequestError("prompt is ''"), 400),
        (ModerationError("rejected", status=400), 400),
        (BadRequestError("unknown parameter", status=400), 400),
        (ConnectError("no connection"), 502),
        (AmbiguousError("the answer was lost", may_be_billed=True), 502),
        (QuotaExceededError("billing hard limit reached", status=400), 502),
    ],
)
def test_a_backend_blames_nobody_for_what_he_cannot_change(
    name: str, error: ImageSDKError, status: int
) -> None:
    """A caller gets 400 for what he asked, and not because the server is away or the account empty."""
    names = runpy.run_path(str(EXAMPLES / name))
    assert (400 if isinstance(error, names["ASKED_WRONGLY"]) else 502) == status


# Discord --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bot() -> dict[str, Any]:
    """The names of examples/discord_bot.py."""
    return runpy.run_path(str(EXAMPLES / "discord_bot.py"))


class Person:
    """An interaction that keeps what the bot answers, and when."""

    def __init__(self, number: int) -> None:
        self.user = discord.Object(number)
        self.response = self
        self.heard: list[tuple[float, str]] = []
        self.files: list[bytes] = []

    def _hear(self, text: str) -> None:
        self.heard.append((round(now(), 1), text))

    async def defer(self, *, thinking: bool) -> None:
        assert thinking
        self._hear("…")

    async def send_message(self, content: str, *, ephemeral: bool) -> None:
        assert ephemeral
        self._hear(content)

    async def edit_original_response(self, content: str, attachments: Any = ()) -> None:
        self._hear(content)
        self.files += [file.fp.read() for file in attachments]


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


def meet(bot: dict[str, Any], people: list[Person], answer: ScriptedAnswer = PAINTED) -> None:
    """Let everybody ask at once, in virtual time, where there are two images a minute."""

    async def main() -> None:
        transport = ScriptedTransport(lambda _: answer)
        async with ImageSession(
            base_url="http://server/v1", images_per_minute=2, transport=transport
        ) as images:
            painter = bot["Painter"](images)
            await asyncio.gather(*(painter.paint(person, "a fox") for person in people))

    with virtual_time() as runner:
        runner.run(main())


def test_discord_bot_answers_at_once_and_tells_the_wait(bot: dict[str, Any]) -> None:
    """Everybody hears at once, who has to wait for how long, and then comes the picture."""
    people = [Person(number) for number in range(4)]
    meet(bot, people)
    first, second, third, fourth = (person.heard for person in people)
    assert first == second == [(0.0, "…"), (10.0, "a fox")]
    assert third[:2] == [(0.0, "…"), (0.0, "You are number 1 in the queue: about 60 s.")]
    assert fourth[1] == (0.0, "You are number 2 in the queue: about 60 s.")
    assert third[2][1] == fourth[2][1] == "a fox"
    assert third[2][0] == pytest.approx(70.0, abs=1.0)
    assert {file for person in people for file in person.files} == {b"image"}


def test_discord_bot_lets_nobody_take_the_queue(bot: dict[str, Any]) -> None:
    """Who waits for two pictures is told so, and others are not held up by it."""
    greedy = [Person(1) for _ in range(5)]
    other = Person(2)
    meet(bot, [*greedy, other])
    told = [person.heard[0][1] for person in greedy]
    assert told == ["…", "…", *["You are waiting for 2 pictures already."] * 3]
    assert other.heard[-1][1] == "a fox"


def test_discord_bot_says_why_there_is_no_picture(bot: dict[str, Any]) -> None:
    """An error ends the waiting with its reason."""
    body = {"error": {"message": "Your request was rejected by the safety system.", "code": "x"}}
    person = Person(1)
    meet(bot, [person], ScriptedAnswer(body, status=400))
    assert person.heard[-1][1].startswith("No picture: ")
    assert "safety system" in person.heard[-1][1]


async def test_discord_bot_offers_its_command(
    bot: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its gateway away, the bot has one command, which is the painter's, and closes its session."""
    synced: list[str] = []

    async def sync(tree: discord.app_commands.CommandTree[Any]) -> list[Any]:
        synced.extend(command.name for command in tree.get_commands())
        return []

    monkeypatch.setattr(discord.app_commands.CommandTree, "sync", sync)
    client = bot["Bot"](intents=discord.Intents.none())
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    await client.setup_hook()
    assert synced == ["paint"]
    command = client.tree.get_command("paint")
    assert [parameter.name for parameter in command.parameters] == ["prompt"]
    await client.close()
    assert "closed" in repr(client.images)


def test_discord_bot_rehearses_without_a_token(tmp_path: Path) -> None:
    """As a program, without a token, it shows what it would answer."""
    lines = run("discord_bot.py", tmp_path, REHEARSE_AT="60")
    assert lines[0] == "ann alone: You are waiting for 2 pictures already."
    assert sorted(line.partition(":")[0] for line in lines[1:]) == ["ann", "ann", "bob", "cy"]
    assert all("[picture.png, " in line for line in lines[1:])


# A worker -------------------------------------------------------------------------------------

MADE = [
    "made: out/order-1.png",
    "made: out/order-2.png",
    "made: out/order-3.png",
    "there: out/order-1.png",
]


def test_background_worker_in_memory(tmp_path: Path) -> None:
    """Without a Redis it does its work in one process, and each order once."""
    assert run("background_worker.py", tmp_path) == MADE


def test_background_worker_with_redis(tmp_path: Path, redis_socket: Path) -> None:
    """A worker in another process takes the orders from Redis; its claim outlasts the longest picture."""
    url = f"unix://{redis_socket}"
    script = (
        f"{sys.executable} -m taskiq worker background_worker:broker --workers 1 > log 2>&1 & "
        "for _ in $(seq 100); do grep -q Listening log && break; sleep 0.2; done; "
        f"{sys.executable} {EXAMPLES / 'background_worker.py'}; code=$?; kill $!; exit $code"
    )
    done = subprocess.run(
        [*SERVE, "--", "bash", "-c", script],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env=os.environ | {"REDIS_URL": url, "PYTHONPATH": str(EXAMPLES)},
        timeout=PATIENCE * 2,
        check=False,
    )
    assert done.stdout.splitlines() == MADE, done.stderr
    names = runpy.run_path(str(EXAMPLES / "background_worker.py"))
    longest = names["MAX_WAIT"] + names["TIMEOUT"]
    make = names["make_broker"]
    make.__globals__["REDIS_URL"] = url
    assert make().idle_timeout > longest * 1000


# Several processes ----------------------------------------------------------------------------


def test_shared_limit(tmp_path: Path, redis_socket: Path) -> None:
    """Four processes get what the key may have, and none of them is refused."""
    command = [*SERVE, "--images-per-minute", "60", "--", sys.executable, "-W", "error"]
    done = subprocess.run(
        [*command, str(EXAMPLES / "shared_limit.py")],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env=os.environ | {"REDIS_URL": f"unix://{redis_socket}"},
        timeout=PATIENCE * 2,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 41
    assert lines[-1].startswith("40 images in ")
    assert lines[-1].endswith(" s, 0 refused")


async def test_shared_limit_goes_nowhere_without_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to show a shared limit does not go on unshared where there is no Redis."""
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path / 'nobody'}")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(LimiterUnavailableError, match="nothing was sent"):
        await runpy.run_path(str(EXAMPLES / "shared_limit.py"))["work"](0)
