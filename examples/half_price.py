"""Have the server run many requests within a day, at half the price, and fetch the images."""

import asyncio

from imagesdk import ImageSession, batch


async def main() -> None:
    """Submit three requests and wait for them; a second run of this program finds it all done."""
    rows = [
        {"id": name, "prompt": f"{name} in the snow", "size": "256x256"}
        for name in ("a-fox", "an-otter", "a-corgi")
    ]
    async with ImageSession() as images:
        submitted = await batch.submit(rows, "out", session=images)
        print(f"{submitted.requests} requests submitted, {submitted.done} were done before")
        # Other programs would end here, and fetch tomorrow.
        fetched = await batch.fetch("out", session=images, wait=True, every=1.0, on_record=show)
    print(f"{fetched.images} images, {fetched.failed} requests failed")


def show(record: batch.Record) -> None:
    """Say what became of a request."""
    for image in record.images:
        print(f"out/{image['file']}", record.batch_id)
    if record.error is not None:
        print(record.custom_id, record.status, record.error["message"])


if __name__ == "__main__":
    asyncio.run(main())
