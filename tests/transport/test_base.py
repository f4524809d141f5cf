from __future__ import annotations

import pytest

from imagesdk.errors import PayloadTooLargeError
from imagesdk.protocol.encode import WireRequest
from imagesdk.testing import ScriptedAnswer, ScriptedTransport
from imagesdk.transport.base import Progress, read_all

GET = WireRequest(method="GET", path="http://server/a.png", headers={}, body=None)


async def _read(size_bytes: int, limit_bytes: int, *, cut: bool = False) -> bytes:
    answer = ScriptedAnswer(
        b"x" * size_bytes, status=201, headers={"x-request-id": "r"}, chunk_bytes=7
    )
    transport = ScriptedTransport([answer])
    async with transport.send(GET, credentials={}, progress=Progress()) as reply:
        return bytes(await read_all(reply, limit_bytes, cut=cut))


async def test_read_all() -> None:
    """A body of up to the limit is returned whole, a longer one is refused or cut."""
    for size_bytes in (0, 1, 99, 100):
        assert len(await _read(size_bytes, 100)) == size_bytes
    assert len(await _read(101, 100, cut=True)) == 100
    with pytest.raises(PayloadTooLargeError, match="larger than 100 bytes") as caught:
        await _read(101, 100)
    error = caught.value
    assert (error.status, error.request_id, error.limit_bytes) == (201, "r", 100)
    assert error.may_be_billed


def test_progress_begins_before_anything_is_sent() -> None:
    """An exchange begins in the phase in which nothing can have been billed."""
    assert Progress().phase == "connect"
