from __future__ import annotations

import tracemalloc

from imagesdk.protocol.parts import MemorySink, PartSink


def test_what_is_written_is_the_content() -> None:
    """An image kept in memory is the pieces that were written, in order."""
    sink: PartSink = MemorySink()
    sink.write(b"ab")
    sink.write(b"cd")
    sink.finish()
    assert isinstance(sink, MemorySink)
    assert sink.content == b"abcd"


def test_an_image_is_held_once() -> None:
    """Reading the content, however often, makes no second copy of it."""
    sink = MemorySink()
    piece = bytes(64 * 1024)
    for _ in range(64):
        sink.write(piece)
    sink.finish()
    first = sink.content
    tracemalloc.start()
    try:
        assert sink.content is first
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(piece)


def test_what_is_discarded_is_gone() -> None:
    """Discarding gives the memory back, also after the end and more than once."""
    sink = MemorySink()
    sink.write(b"ab")
    sink.finish()
    sink.discard()
    sink.discard()
    assert sink.content == b""
