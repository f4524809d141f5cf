"""Run a batch on a Ray cluster: workers in actors, one limit for all, a ledger that the driver writes.

``pip install 'imagesdk[ray]'``, and then, with a Ray that this program starts and ends::

    imagesdk serve -- python examples/batch_on_ray.py

On a cluster, set OPENAI_API_KEY on its machines and name it: ``RAY_ADDRESS=ray://head:10001``.
"""

import asyncio

from imagesdk import batch

ROWS = [
    {"id": f"{animal}-{place}", "prompt": f"a {animal} in a {place}", "size": "256x256", "n": 2}
    for animal in ("fox", "otter", "corgi")
    for place in ("forest", "lighthouse")
]


async def main() -> None:
    """Do twelve images with two workers; a second run of this program finds them all done."""
    # Paths must be the same on all machines: a folder that they share, or a store such as "s3://bucket/run".
    spec = batch.WorkerSpec(out="out", images_per_minute=50)
    with batch.stop_on_signals() as stop:  # Ctrl-C lets what is paid for arrive
        async with batch.RayEngine(spec, workers=2) as engine:
            summary = await batch.run(ROWS, "out", engine=engine, stop=stop, on_record=show)
    print(f"{summary.images} images now, {summary.skipped} requests were done before")


def show(record: batch.Record, is_new: bool) -> None:  # noqa: FBT001 - the callback's own
    """Say what became of a request."""
    for image in record.images:
        print(f"out/{image['file']}", "now" if is_new else "before")


if __name__ == "__main__":
    asyncio.run(main())
