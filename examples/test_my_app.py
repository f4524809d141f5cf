"""Test an application without a key and without the internet: `pytest examples/test_my_app.py`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.testclient import TestClient

from imagesdk import ImageSDKError, ImageSession, RetryPolicy
from imagesdk.emulator import EmulatorServer

# The application; in your project it is in a module of its own.


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one session, and with it one rate limit, for all requests."""
    async with ImageSession(
        images_per_minute=float(os.environ.get("IMAGES_PER_MINUTE", "50")),
        retry=RetryPolicy(ambiguous="never"),
    ) as app.state.images:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/pictures")
async def make_picture(request: Request, prompt: str) -> Response:
    """Make a picture, and pay for it at most once."""
    try:
        result = await request.app.state.images.generate(prompt, size="256x256")
    except ImageSDKError as error:
        raise HTTPException(502, str(error)) from error
    return Response(await result.data[0].read(), media_type=result.data[0].mime_type)


# Its tests.


@pytest.fixture
def client(
    imagesdk_server: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """Run the application, which finds the emulator in OPENAI_BASE_URL and OPENAI_API_KEY."""
    monkeypatch.setenv("IMAGES_PER_MINUTE", "6000")  # tests do not wait for our own limit
    with TestClient(app) as running:
        yield running


def test_a_picture_is_made(client: TestClient, imagesdk_server: EmulatorServer) -> None:
    answer = client.post("/pictures", params={"prompt": "a fox"})
    assert answer.headers["content-type"] == "image/png"
    assert imagesdk_server.requests[0].params["prompt"] == "a fox"
    assert imagesdk_server.charged == 1


def test_nothing_is_paid_twice(client: TestClient, imagesdk_server: EmulatorServer) -> None:
    imagesdk_server.drop_connection(after="charge")  # made, billed, and then the answer is lost
    answer = client.post("/pictures", params={"prompt": "a fox"})
    assert answer.status_code == 502
    assert imagesdk_server.charged == 1  # 2 without ambiguous="never"


def test_a_storm_of_429_is_survived(client: TestClient, imagesdk_server: EmulatorServer) -> None:
    imagesdk_server.fail_next(429, times=5, retry_after=0.1)
    with ThreadPoolExecutor(10) as users:
        prompts = [{"prompt": f"fox number {number}"} for number in range(10)]
        answers = list(users.map(lambda prompt: client.post("/pictures", params=prompt), prompts))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(request.status == 429 for request in imagesdk_server.requests) == 5
    assert imagesdk_server.charged == 10
