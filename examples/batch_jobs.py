"""Run many requests that a program makes, within a budget, and go on where a run ended."""

import asyncio

from imagesdk import batch


async def main() -> None:
    """Ask for one subject in three sizes; a second run of this program finds it all done."""
    rows = [
        {"id": f"fox-{size}", "prompt": "a fox in the snow", "size": f"{size}x{size}"}
        for size in (256, 512, 1024)
    ]
    with batch.stop_on_signals() as stop:  # Ctrl-C lets what is paid for arrive
        summary = await batch.run(
            rows,
            "out",
            session={"timeout": 120.0},  # the arguments of an ImageSession
            max_images=10,
            stop=stop,
            on_record=lambda record, _is_new: show(record),
        )
    print(f"{summary.images} images now, {summary.skipped} requests were done before")
    if summary.stopped is not None:
        print(f"{summary.left} requests are left: {summary.stopped.message}")


def show(record: batch.Record) -> None:
    """Say what became of a request, in this run or an earlier one."""
    for image in record.images:
        print(f"out/{image['file']}", f"{image['width']}x{image['height']}")
    if record.error is not None:
        print(record.custom_id, record.status, record.error["message"])


if __name__ == "__main__":
    asyncio.run(main())
