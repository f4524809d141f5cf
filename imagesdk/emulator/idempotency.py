"""Idempotency keys, as servers and gateways treat them: not at all, with care, or with suspicion.

OpenAI documents none, so ``ignores`` is what an application must be ready for. The other two follow
https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ (read 2026-11-26).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import attrs
import msgspec

from imagesdk.emulator.jobs import Job
from imagesdk.emulator.refusals import Refusal, idempotency_key_in_use, idempotency_key_reused

__all__ = ("Claim", "Idempotency", "IdempotencyKeys", "fingerprint")

Idempotency = Literal["ignores", "honours", "rejects"]


@attrs.define(kw_only=True)
class Claim:
    """A request's claim to its key.

    Attributes:
        refusal: Why the request is refused for its key, or None.
        created: Epoch time of the answer that is to be repeated without a charge, or None.
        settled: Epoch time of the charge, set by who charges; the key is free again without it.
    """

    refusal: Refusal | None = None
    created: float | None = None
    settled: float | None = None


@attrs.define
class _Order:
    """What is known of a key: what was asked for, and when it was charged."""

    fingerprint: bytes
    charged_at: float | None = None


class IdempotencyKeys:
    """The keys that were used.

    Args:
        mode: ``ignores`` keys; ``honours`` them, so that what was charged once is answered again
            without a charge; or ``rejects`` a key that was charged before, with 422. Both of the
            latter refuse a key for another request with 422, and one that is in use with 409.

    Raises:
        ValueError: *mode* is none of the three.
    """

    def __init__(self, mode: Idempotency) -> None:
        if mode not in get_args(Idempotency):
            raise ValueError(f"idempotency {mode!r} must be ignores, honours or rejects")
        self._mode = mode
        self._orders: dict[tuple[str, str], _Order] = {}

    def watches(self, key: str | None) -> bool:
        """Return whether *key* makes a difference."""
        return self._mode != "ignores" and bool(key)

    def clear(self) -> None:
        """Forget all keys."""
        self._orders.clear()

    @contextmanager
    def claim(self, api_key: str, key: str | None, content: bytes) -> Iterator[Claim]:
        """Hold *key* while its request is answered.

        Args:
            api_key: Whose key it is.
            key: The idempotency key, or None.
            content: Fingerprint of the request.
        """
        if not self.watches(key) or key is None:
            yield Claim()
            return
        name = (api_key, key)
        order = self._orders.get(name)
        if order is not None:
            yield self._again(order, content)
            return
        order = self._orders[name] = _Order(content)
        claim = Claim()
        try:
            yield claim
        finally:
            order.charged_at = claim.settled
            if claim.settled is None and self._orders.get(name) is order:
                del self._orders[name]

    def _again(self, order: _Order, content: bytes) -> Claim:
        """Return the claim of a request whose key is known."""
        if order.charged_at is None:
            return Claim(refusal=idempotency_key_in_use())
        if self._mode == "rejects" or order.fingerprint != content:
            return Claim(refusal=idempotency_key_reused())
        return Claim(created=order.charged_at)


def fingerprint(job: Job) -> bytes:
    """Return what tells a request from others: its values and files, not how they were encoded."""
    files = [[file.field, hashlib.sha256(file.data).hexdigest()] for file in job.files]
    values = [job.endpoint.value, job.model, sorted(job.params.items()), files]
    return hashlib.sha256(msgspec.json.encode(values)).digest()
