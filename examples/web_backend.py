"""Serve pictures from a FastAPI backend: one session, and a page on which a picture gets sharper.

``pip install fastapi uvicorn``, ``imagesdk serve --port 0 -- python examples/web_backend.py``, then open
http://127.0.0.1:8001.
"""

import json
import math
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from imagesdk import (
    BadRequestError,
    ImageSDKError,
    ImageSession,
    InvalidRequestError,
    ModerationError,
    PartialImage,
    RateLimitTooLongError,
)

Prompt = Annotated[str, Query(min_length=1, max_length=32_000)]
ASKED_WRONGLY = (InvalidRequestError, BadRequestError, ModerationError)
"""What the caller can change. No connection, a wrong key or no credit he cannot."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one session, and with it one limit and one set of connections, while the server runs."""
    limit = float(os.environ.get("IMAGES_PER_MINUTE", "50"))
    async with ImageSession(
        model="gpt-image-2", images_per_minute=limit, max_wait=5.0
    ) as app.state.images:
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(RateLimitTooLongError)
async def try_later(_: Request, error: RateLimitTooLongError) -> Response:
    """Send those away who would wait for more than max_wait, and tell them for how long."""
    headers = {"Retry-After": str(math.ceil(error.wait))}
    return JSONResponse({"error": str(error)}, status_code=503, headers=headers)


@app.exception_handler(ImageSDKError)
async def not_made(_: Request, error: ImageSDKError) -> Response:
    """Say why there is no picture: 400 if the caller can change it, 502 if not."""
    status = 400 if isinstance(error, ASKED_WRONGLY) else 502
    return JSONResponse({"error": str(error)}, status_code=status)


@app.post("/pictures")
async def make_picture(request: Request, prompt: Prompt) -> Response:
    """Make a picture; who waits for it goes before batch jobs on the same limit."""
    result = await request.app.state.images.generate(prompt, priority="interactive")
    image = result.data[0]
    return Response(await image.read(), media_type=image.mime_type)


@app.get("/pictures/stream")
async def stream_picture(request: Request, prompt: Prompt) -> StreamingResponse:
    """Send a picture while it is made, as server-sent events; who leaves early ends the stream."""
    events = request.app.state.images.stream_generate(prompt, partial_images=3)

    async def body() -> AsyncIterator[str]:
        try:
            async with events:
                async for event in events:
                    image = event.image
                    data = f"data:{image.mime_type};base64,{b64encode(await image.read()).decode()}"
                    name = "partial" if isinstance(event, PartialImage) else "completed"
                    yield f"event: {name}\ndata: {data}\n\n"
        except ImageSDKError as error:  # the head has been sent: it goes on as an event
            yield f"event: failed\ndata: {json.dumps(str(error))}\n\n"

    return StreamingResponse(body(), media_type="text/event-stream")


@app.get("/queue")
async def queue(request: Request) -> dict[str, object]:
    """Tell how full the limit is."""
    state = request.app.state.images.snapshot()
    return {"limit": state.limit, "used": state.used, "waiting": state.queued}


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    """Return the page."""
    return PAGE


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Pictures</title>
<link rel="icon" href="data:,">
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 2rem auto; padding: 0 1rem }
  form { display: flex; gap: .5rem }
  input { flex: 1; font: inherit; padding: .4rem .6rem }
  button { font: inherit; padding: .4rem 1rem }
  img { display: block; width: 100%; margin-top: .5rem; border-radius: .5rem }
</style>
<h1>Pictures</h1>
<form>
  <input name="prompt" value="a red fox in the snow" aria-label="what to show" required>
  <button>Paint</button>
</form>
<p role="status">Say what you want to see.</p>
<img id="picture" alt="" hidden>
<script>
  const form = document.querySelector("form"), status = document.querySelector("[role=status]");
  const picture = document.querySelector("#picture");
  form.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    const prompt = new FormData(form).get("prompt");
    const events = new EventSource("/pictures/stream?" + new URLSearchParams({ prompt }));
    let partial = 0;
    const show = (event, said) => {
      picture.src = event.data;
      picture.alt = prompt;
      picture.hidden = false;
      status.textContent = said;
    };
    const end = (said) => { events.close(); form.elements[1].disabled = false; status.textContent = said; };
    form.elements[1].disabled = true;
    status.textContent = "Painting…";
    events.addEventListener("partial", (event) => show(event, `Getting sharper (${++partial})…`));
    events.addEventListener("completed", (event) => { show(event); end("Done."); });
    events.addEventListener("failed", (event) => end(JSON.parse(event.data)));
    events.onerror = () => end("The connection broke.");
  });
</script>
</html>
"""

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8001")))
