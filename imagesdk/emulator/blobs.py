"""Pictures at signed addresses that expire, as the API's blob store (Azure) serves them."""

from __future__ import annotations

import hashlib
import hmac
import math
import random
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Literal
from urllib.parse import urlencode

import attrs

__all__ = ("Blob", "BlobStore", "Denial")

# https://learn.microsoft.com/rest/api/storageservices/create-service-sas (read 2026-11-21)
_SERVICE_VERSION = "2024-08-04"
_SIGNED_FIELDS = ("st", "se", "sp", "sv", "sr", "rscd", "rsct")


@attrs.frozen(kw_only=True)
class Blob:
    """A stored picture."""

    data: bytes = attrs.field(repr=False)
    content_type: str
    expires: float


@attrs.frozen(kw_only=True)
class Denial:
    """Why the store does not hand out a picture."""

    status: Literal[403, 404]
    code: str
    message: str
    detail: str = ""


class BlobStore:
    """Keeps pictures until their address expires.

    Args:
        lifetime: Seconds that an address works. From one second up, the end is rounded up to a
            whole second, because signed addresses state it in whole seconds.
        rng: Makes the names of pictures and what signs them; None for what nobody can guess.
    """

    def __init__(self, lifetime: float, rng: random.Random | None = None) -> None:
        self._lifetime = lifetime
        self._rng = rng or random.SystemRandom()
        self._secret = self._rng.randbytes(32)
        self._blobs: dict[str, Blob] = {}

    def put(
        self, data: bytes, suffix: str, content_type: str, now: float, *, expired: bool = False
    ) -> str:
        """Store a picture and return its address below the store: ``name?signature``.

        Args:
            data: The file.
            suffix: Suffix of its name.
            content_type: Its type.
            now: Epoch time in seconds.
            expired: Whether its time is over already.
        """
        self._forget_expired(now)
        if expired:
            now -= self._lifetime + 1
        expires = now + self._lifetime
        if self._lifetime >= 1:
            expires = float(math.ceil(expires))
        name = f"img-{urlsafe_b64encode(self._rng.randbytes(18)).decode()}.{suffix}"
        self._blobs[name] = Blob(data=data, content_type=content_type, expires=expires)
        fields = {
            "st": _utc(math.floor(now)).isoformat().replace("+00:00", "Z"),
            "se": _utc(expires).isoformat().replace("+00:00", "Z"),
            "sp": "r",
            "sv": _SERVICE_VERSION,
            "sr": "b",
            "rscd": "inline",
            "rsct": content_type,
        }
        return f"{name}?{urlencode({**fields, 'sig': self._sign(name, fields)})}"

    def get(self, name: str, query: Mapping[str, str], now: float) -> Blob | Denial:
        """Return the picture at an address, or why not."""
        fields = {field: query.get(field, "") for field in _SIGNED_FIELDS}
        given = query.get("sig", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._sign(name, fields).encode()):
            return _denied("Signature did not match.")
        expires = datetime.fromisoformat(fields["se"])
        if now >= expires.timestamp():
            return _denied(
                "Signature not valid in the specified time frame: "
                f"Start [{_rfc1123(datetime.fromisoformat(fields['st']))}] - "
                f"Expiry [{_rfc1123(expires)}] - Current [{_rfc1123(_utc(now))}]"
            )
        return self._blobs.get(name) or Denial(
            status=404, code="BlobNotFound", message="The specified blob does not exist."
        )

    def clear(self) -> None:
        """Forget all pictures."""
        self._blobs.clear()

    def _sign(self, name: str, fields: Mapping[str, str]) -> str:
        """Return the signature of an address, in base64 as Azure: only this store can make it."""
        text = "\n".join((name, *(fields[field] for field in _SIGNED_FIELDS)))
        digest = hmac.new(self._secret, text.encode("utf-8", "replace"), hashlib.sha256).digest()
        return b64encode(digest).decode()

    def _forget_expired(self, now: float) -> None:
        """Drop the pictures that nobody can fetch any more; the oldest come first."""
        while self._blobs:
            name, blob = next(iter(self._blobs.items()))
            if blob.expires > now:
                return
            del self._blobs[name]


def _denied(detail: str) -> Denial:
    """Return the refusal that Azure gives for every signature it does not accept."""
    return Denial(
        status=403,
        code="AuthenticationFailed",
        message=(
            "Server failed to authenticate the request. Make sure the value of Authorization "
            "header is formed correctly including the signature."
        ),
        detail=detail,
    )


def _utc(seconds: float) -> datetime:
    """Return an epoch time as an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def _rfc1123(moment: datetime) -> str:
    """Return a moment as HTTP writes it."""
    return format_datetime(moment, usegmt=True)
