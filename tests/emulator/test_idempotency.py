from __future__ import annotations

from typing import Any

import pytest

from imagesdk.emulator.forms import UploadedFile
from imagesdk.emulator.idempotency import IdempotencyKeys, fingerprint
from imagesdk.emulator.jobs import Job
from imagesdk.emulator.spec import Endpoint


def code(keys: IdempotencyKeys, content: bytes = b"a", *, charge: bool = True) -> Any:
    """Use a key once more: return why it was refused, or when what it repeats was charged."""
    with keys.claim("sk-test", "key", content) as claim:
        if claim.refusal is None and claim.created is None and charge:
            claim.settled = 7.0
        return claim.refusal.code if claim.refusal else claim.created


@pytest.mark.parametrize(
    ("mode", "second", "other"),
    [
        ("ignores", None, None),
        ("honours", 7.0, "idempotency_key_reused"),
        ("rejects", "idempotency_key_reused", "idempotency_key_reused"),
    ],
)
def test_a_key_that_comes_again(mode: Any, second: object, other: object) -> None:
    """It makes no difference, repeats what was charged, or is refused; for another request always."""
    keys = IdempotencyKeys(mode)
    assert code(keys) is None
    assert code(keys) == second
    assert code(keys, b"other") == other
    keys.clear()
    assert code(keys) is None


@pytest.mark.parametrize("mode", ["honours", "rejects"])
def test_a_key_in_use_is_refused(mode: Any) -> None:
    """Two requests at once with one key: the second is told to wait."""
    keys = IdempotencyKeys(mode)
    with keys.claim("sk-test", "key", b"a"):
        assert code(keys) == "idempotency_key_in_use"
        with keys.claim("sk-other", "key", b"a") as others:
            assert others.refusal is None
    assert code(keys) is None  # it was not charged: the key is free again


def test_what_was_not_charged_frees_its_key() -> None:
    """A request that failed before the charge can be sent again with the same key."""
    keys = IdempotencyKeys("rejects")
    assert [code(keys, charge=False), code(keys), code(keys)] == [
        None,
        None,
        "idempotency_key_reused",
    ]


def test_no_key_claims_nothing() -> None:
    """Requests without a key do not meet each other."""
    keys = IdempotencyKeys("honours")
    for _ in range(2):
        with keys.claim("sk-test", None, b"a") as claim:
            claim.settled = 1.0
            assert (claim.refusal, claim.created) == (None, None)


def test_an_unknown_mode_is_refused() -> None:
    """The message names the three."""
    with pytest.raises(ValueError, match="'honors' must be ignores, honours or rejects"):
        IdempotencyKeys("honors")  # type: ignore[arg-type]


def test_a_fingerprint_is_that_of_values_and_files() -> None:
    """The order of values does not count; a value, a file or the name of its field does."""

    def job(data: bytes = b"1", field: str = "image", **params: Any) -> Job:
        file = UploadedFile(field=field, filename="a", content_type="image/png", data=data)
        return Job(endpoint=Endpoint.EDIT, params=params, files=(file,))

    same = fingerprint(job(prompt="a", n=1))
    assert same == fingerprint(job(n=1, prompt="a"))
    different = {
        fingerprint(job(n=2, prompt="a")),
        fingerprint(job(b"2", n=1, prompt="a")),
        fingerprint(job(field="mask", n=1, prompt="a")),
        fingerprint(Job(endpoint=Endpoint.GENERATION, params={"n": 1, "prompt": "a"})),
    }
    assert len(different | {same}) == 5
