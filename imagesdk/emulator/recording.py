"""A request as the emulator saw it, kept for tests and told to logs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import attrs

from imagesdk.emulator.forms import UploadedFile

__all__ = ("RecordedRequest",)

# Longest text in JSON: a prompt fits, an image in base64 does not.
_MAX_CHARS = 32_000
_SECRET = {"authorization", "api-key"}


@attrs.define(kw_only=True)
class RecordedRequest:
    """A request as the emulator saw it.

    Attributes:
        method: HTTP method.
        path: Path without the query.
        query: Decoded query.
        headers: Headers; names compare in any case.
        params: Parameters of an image request as values; form fields that could not be read
            against the contract stay texts.
        files: Uploaded files, those in data URLs included.
        request_id: ``x-request-id`` of the answer.
        status: Status of the answer; 0 while there is none, and if a fault kept it from being
            sent; 499 if the client left before.
        charged: Images that were billed for it.
        fault: What was made to go wrong with it, as the JSON object of a fault; empty if nothing.
        seconds: Time from its head to the end of the answer.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    params: Mapping[str, Any] = attrs.field(factory=dict)
    files: tuple[UploadedFile, ...] = ()
    request_id: str = ""
    status: int = 0
    charged: int = 0
    fault: Mapping[str, Any] = attrs.field(factory=dict)
    seconds: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Return what one line of a log says."""
        return {
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "seconds": round(self.seconds, 6),
            "charged": self.charged,
            "request_id": self.request_id,
            "fault": dict(self.fault),
            "params": _shortened(self.params),
            "files": [
                {
                    "field": file.field,
                    "filename": file.filename,
                    "content_type": file.content_type,
                    "size_bytes": len(file.data),
                }
                for file in self.files
            ],
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything but keys and the bytes of files, which are named by their SHA-256."""
        hashes = [hashlib.sha256(file.data).hexdigest() for file in self.files]
        summary = self.summary()
        files = [{**file, "sha256": h} for file, h in zip(summary["files"], hashes, strict=True)]
        headers = {
            name: "***" if name.lower() in _SECRET else _shortened(value)
            for name, value in self.headers.items()
        }
        return {**summary, "query": dict(self.query), "headers": headers, "files": files}


def _shortened(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Return *value* without texts that nobody wants to read."""
    if isinstance(value, str):
        text = value if len(value) <= _MAX_CHARS else f"{value[:100]}... ({len(value)} characters)"
        return text.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_shortened(name): _shortened(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(item) for item in value]
    return value
