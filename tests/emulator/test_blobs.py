from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from imagesdk.emulator.blobs import Blob, BlobStore, Denial

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def _split(address: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(address)
    return parts.path, dict(parse_qsl(parts.query))


@pytest.mark.parametrize(("after", "found"), [(0, True), (3599.9, True), (3600, False)])
def test_an_address_works_for_its_lifetime(*, after: float, found: bool) -> None:
    """The picture is there until its address expires, and not from then on."""
    store = BlobStore(3600)
    name, query = _split(store.put(b"bytes", "png", "image/png", NOW))
    blob = store.get(name, query, NOW + after)
    assert isinstance(blob, Blob) is found
    if isinstance(blob, Denial):
        assert (blob.status, blob.code) == (403, "AuthenticationFailed")
        assert "Expiry [Fri, 15 Jan 2027 09:00:00 GMT]" in blob.detail


def test_states_its_times_as_azure_does() -> None:
    """The address carries start and expiry in whole seconds of UTC."""
    _, query = _split(BlobStore(3600).put(b"", "png", "image/png", NOW + 0.25))
    assert (query["st"], query["se"]) == ("2027-01-15T08:00:00Z", "2027-01-15T09:00:01Z")
    assert query["rsct"] == "image/png"


def test_lifetimes_below_a_second_are_exact() -> None:
    """A lifetime of a fraction of a second, for tests of expiry, is not rounded."""
    store = BlobStore(0.05)
    name, query = _split(store.put(b"bytes", "png", "image/png", NOW))
    assert isinstance(store.get(name, query, NOW + 0.049), Blob)
    assert isinstance(store.get(name, query, NOW + 0.05), Denial)


@pytest.mark.parametrize("field", ["st", "se", "sp", "rsct", "sig"])
@pytest.mark.parametrize("value", ["", "2999-01-01T00:00:00Z", "\udcff"])
def test_a_changed_address_is_refused(field: str, value: str) -> None:
    """Nothing in the address can be changed, the expiry least of all."""
    store = BlobStore(3600)
    name, query = _split(store.put(b"bytes", "png", "image/png", NOW))
    denial = store.get(name, {**query, field: value}, NOW)
    assert isinstance(denial, Denial)
    assert denial.status == 403


def test_names_cannot_be_swapped_or_guessed() -> None:
    """The signature of one picture opens no other, and no picture opens without one."""
    store = BlobStore(3600)
    first, query = _split(store.put(b"1", "png", "image/png", NOW))
    second, _ = _split(store.put(b"2", "png", "image/png", NOW))
    assert first != second
    assert isinstance(store.get(second, query, NOW), Denial)
    assert isinstance(store.get(first, {}, NOW), Denial)


def test_a_cleared_store_knows_the_address_but_not_the_picture() -> None:
    """After clear() a good address leads to 404, as in a blob store."""
    store = BlobStore(3600)
    name, query = _split(store.put(b"bytes", "png", "image/png", NOW))
    store.clear()
    denial = store.get(name, query, NOW)
    assert isinstance(denial, Denial)
    assert (denial.status, denial.code) == (404, "BlobNotFound")


def test_expired_pictures_are_dropped() -> None:
    """Pictures that nobody can fetch any more take no memory."""
    store = BlobStore(1)
    for second in range(5):
        store.put(b"bytes", "png", "image/png", NOW + second)
    assert len(store._blobs) == 1
