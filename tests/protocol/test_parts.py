from __future__ import annotations

import tracemalloc

import pytest

from imagesdk.protocol.parts import MemorySink, PartSink


def test_what_is_written_is_the_content() -> None:
    """An image kept in memory is the pieces that were written, in order."""
    sink: PartSink = MemorySink()
    sink.write(b"ab")
    sink.write(b"cd")
    sink.finish()
    assert isinstance(sink, MemorySink)
    assert sink.content == b"abcd"


@pytest.mark.parametrize(
    ("pieces", "piece_bytes"), [(60, 256 * 1024), (20, 192 * 1024), (50_000, 3)]
)
def test_an_image_is_held_once(pieces: int, piece_bytes: int) -> None:
    """Whatever the pieces are, little more than the image is in memory, and reading it makes no copy."""
    sink = MemorySink()
    tracemalloc.start()
    try:
        for number in range(pieces):
            sink.write(bytes([number % 256]) * piece_bytes)
        sink.finish()
        _, while_written = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        first = sink.content
        assert sink.content is first
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert first == b"".join(bytes([n % 256]) * piece_bytes for n in range(pieces))
    assert while_written < len(first) + 5 * 1024 * 1024
    if piece_bytes == 3:
        assert while_written < 2 * len(first)
    assert peak - before < 64 * 1024


@pytest.mark.parametrize("size", [1, 4_000_000])
def test_what_is_discarded_is_gone(size: int) -> None:
    """Discarding gives the memory back, also after the end and more than once."""
    sink = MemorySink()
    sink.write(b"ab" * size)
    sink.finish()
    sink.discard()
    sink.discard()
    assert sink.content == b""
