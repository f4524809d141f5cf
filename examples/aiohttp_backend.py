"""Serve pictures from an aiohttp.web application, whose session lives in its cleanup_ctx.

``imagesdk serve --port 0 -- python examples/aiohttp_backend.py``, then
``curl -d 'a red fox' http://127.0.0.1:8002/pictures > fox.png``.
"""

import math
import os
from collections.abc import AsyncIterator

from aiohttp import web

from imagesdk import (
    BadRequestError,
    ImageSDKError,
    ImageSession,
    InvalidRequestError,
    ModerationError,
    RateLimitTooLongError,
)

IMAGES = web.AppKey("images", ImageSession)
ASKED_WRONGLY = (InvalidRequestError, BadRequestError, ModerationError)
"""What the caller can change. No connection, a wrong key or no credit he cannot."""


async def image_session(app: web.Application) -> AsyncIterator[None]:
    """Hold one session, and with it one limit, while the application runs."""
    limit = float(os.environ.get("IMAGES_PER_MINUTE", "50"))
    async with ImageSession(images_per_minute=limit, max_wait=5.0) as app[IMAGES]:
        yield


async def make_picture(request: web.Request) -> web.Response:
    """Make a picture from the words in the body."""
    try:
        result = await request.app[IMAGES].generate(await request.text(), size="256x256")
        image = result.data[0]
        return web.Response(body=await image.read(), content_type=image.mime_type)
    except RateLimitTooLongError as error:
        headers = {"Retry-After": str(math.ceil(error.wait))}
        return web.json_response({"error": str(error)}, status=503, headers=headers)
    except ImageSDKError as error:
        status = 400 if isinstance(error, ASKED_WRONGLY) else 502
        return web.json_response({"error": str(error)}, status=status)


def make_app() -> web.Application:
    """Return the application."""
    app = web.Application()
    app.cleanup_ctx.append(image_session)
    app.router.add_post("/pictures", make_picture)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8002")))
