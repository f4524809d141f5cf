from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import openai
import pytest

from imagesdk import ImageSession, ServerError
from imagesdk.emulator import EmulatorServer

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
# What a project of its own tests: each asynchronous plugin, sync code, no leftovers.
PROJECT = """
import asyncio
import gc
import pytest

@pytest.mark.asyncio
async def test_under_asyncio(imagesdk_session):
    assert (await imagesdk_session.generate("a fox", size="256x256")).data

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_under_anyio(imagesdk_session, anyio_backend):
    assert (await imagesdk_session.generate("a fox", size="256x256")).data

class TestInAClass:
    @pytest.mark.asyncio
    async def test_under_asyncio(self, imagesdk_session):
        assert (await imagesdk_session.generate("a fox", size="256x256")).data

def test_without_a_loop(imagesdk_session):
    assert imagesdk_session

def test_nothing_is_left():
    gc.collect()
"""


def test_a_server_of_the_tests_own(imagesdk_server: EmulatorServer) -> None:
    """It is found in the environment, by any client, and has no limit."""
    with openai.OpenAI(max_retries=0) as client:
        for _ in range(6):
            client.images.generate(prompt="a fox", n=10, size="256x256")
    assert imagesdk_server.charged == 60


def test_the_environment_is_restored() -> None:
    """A test that asks for no server sees no server."""
    assert "OPENAI_BASE_URL" not in os.environ
    assert "OPENAI_API_KEY" not in os.environ


async def test_a_session_on_it(
    imagesdk_session: ImageSession, imagesdk_server: EmulatorServer
) -> None:
    """It retries at once, and its server is the one of the test."""
    imagesdk_server.fail_next(500, times=2)
    await imagesdk_session.generate("a fox", size="256x256")
    assert imagesdk_session._pipeline.policy.backoff == 0.01
    assert [record.status for record in imagesdk_server.requests] == [500, 500, 200]
    imagesdk_server.fail_next(500, times=3)
    with pytest.raises(ServerError):
        await imagesdk_session.generate("a fox", size="256x256")


@pytest.fixture
def closed() -> Iterator[list[ImageSession]]:
    sessions: list[ImageSession] = []
    yield sessions
    assert sessions[0]._pipeline.closed


@pytest.mark.usefixtures("closed")
async def test_the_session_is_closed_with_the_test(
    closed: list[ImageSession], imagesdk_session: ImageSession
) -> None:
    """Whoever used it finds it closed."""
    closed.append(imagesdk_session)
    await imagesdk_session.generate("a fox", size="256x256")


def test_a_session_in_a_synchronous_test(imagesdk_session: ImageSession) -> None:
    """It may run a loop of its own; what it leaves is closed."""

    async def main() -> int:
        async with imagesdk_session as images:
            return len((await images.generate("a fox", size="256x256")).data)

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize("number", [1, 2])
def test_one_server_for_all_tests(imagesdk_server_session: EmulatorServer, number: int) -> None:
    """It goes on from test to test, and changes no environment."""
    assert "OPENAI_BASE_URL" not in os.environ
    if number == 2:
        imagesdk_server_session.reset()
    url = imagesdk_server_session.base_url
    with (
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
    assert len(imagesdk_server_session.requests) == 1
    imagesdk_server_session.reset()


class TestOptions:
    """Tests with servers of another kind."""

    @pytest.fixture
    def imagesdk_server_options(self) -> dict[str, Any]:
        return {"images_per_minute": 1, "idempotency": "honours"}

    def test_options(self, imagesdk_server: EmulatorServer) -> None:
        """An override of the options changes the server."""
        with openai.OpenAI(max_retries=0, default_headers={"Idempotency-Key": "k"}) as client:
            for _ in range(2):
                client.images.generate(prompt="a fox", size="256x256")
            assert imagesdk_server.charged == 1
            with pytest.raises(openai.UnprocessableEntityError):
                client.images.generate(prompt="another fox", size="256x256")


def test_a_project_finds_the_plugin(tmp_path: Path) -> None:
    """Installed, it is there without a word; sessions are closed in the loop of the test."""
    (tmp_path / "test_project.py").write_text(PROJECT, "utf-8")
    done = subprocess.run(
        [*PYTEST, "-W", "error", "-o", "asyncio_default_fixture_loop_scope=function"],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        timeout=55,
        check=False,
    )
    assert "5 passed" in done.stdout, done.stdout


def test_the_plugin_imports_nothing_heavy() -> None:
    """What pytest loads in every project costs nothing: no aiohttp, PIL or session."""
    (entry,) = metadata.entry_points(group="pytest11", name="imagesdk")
    program = (
        "import sys, pytest; before = set(sys.modules)\n"
        f"import {entry.value}\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "mine = sorted(name for name in sys.modules if name.startswith('imagesdk'))\n"
        "print(sorted(new & {'aiohttp', 'PIL', 'msgspec', 'attr', 'attrs', 'tenacity', 'openai'}), mine)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == (
        "[] ['imagesdk', 'imagesdk.testing', 'imagesdk.testing.plugin']"
    )
