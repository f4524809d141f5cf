"""The lines of the server's own batches: requests as they are uploaded, answers as they come back.

A request is ``{"custom_id", "method", "url", "body"}``; an edit's images stand in its body as data URLs.
An answer is ``{"custom_id", "response": {"status_code", "request_id", "body"}, "error"}``; its images are
decoded while it arrives.

https://platform.openai.com/docs/guides/batch (read 2026-11-26)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from imagesdk.errors import BatchError, ImageSDKError, InvalidImageError, ProtocolError
from imagesdk.models.families import ModelFamily
from imagesdk.models.requests import ImageRequest, body_fields
from imagesdk.protocol.b64filter import Base64Filter
from imagesdk.protocol.decode import Answer, AnswerDecoder
from imagesdk.protocol.encode import InputFile, json_image
from imagesdk.protocol.jsonbody import DataURL, JSONBody, encode_json
from imagesdk.protocol.parts import PartSink
from imagesdk.protocol.refusals import redact, refusal

__all__ = ("AnswerLine", "LineDecoder", "batch_url", "encode_line")

_MAX_URL_CHARS = 20_971_520
"""Longest data URL of an edit: images-api.md section 3.3, read 2026-11-20."""
_IMAGES = ("response", "body", "data", None, "b64_json")


def batch_url(endpoint: str) -> str:
    """Return what a line, and its batch, call an endpoint."""
    return f"/v1/images/{endpoint}"


def encode_line(
    custom_id: str,
    request: ImageRequest,
    family: ModelFamily,
    files: Sequence[InputFile],
    *,
    boundary: str,
) -> JSONBody:
    """Lay out a line, with the end of the line.

    A URL in an answer dies within the hour, and the answer may come after a day: where the server leaves
    a choice, and the request none, the image itself is asked for.

    Args:
        custom_id: Tells the answer.
        request: A generation or an edit.
        family: Says whether ``response_format`` may be sent.
        files: The images of an edit.
        boundary: See `imagesdk.protocol.jsonbody.encode_json`.

    Raises:
        InvalidImageError: An image cannot stand in JSON.
        TypeError: A value has no form in JSON.
    """
    body = body_fields(request)
    if family.sends_response_format:
        body.setdefault("response_format", "b64_json")
    else:
        body.pop("response_format", None)
    images = []
    for file in files:
        _check_size(file)
        reference = json_image(file, "image_url")
        if file.field == "image":
            images.append(reference)
        else:
            body[file.field] = reference
    if images:
        body["images"] = images
    body |= request.extra_body or {}
    line = {
        "custom_id": custom_id,
        "method": "POST",
        "url": batch_url(request.endpoint),
        "body": body,
    }
    laid_out = encode_json(line, boundary=boundary)
    return attrs.evolve(laid_out, segments=(*laid_out.segments, b"\n"))


def _check_size(file: InputFile) -> None:
    if file.field == "markup":
        raise InvalidImageError(
            "markup cannot stand in a line of the server's batch: its edits are JSON, which takes images "
            "and a mask; run this one with `imagesdk batch run`",
            field="markup",
        )
    if DataURL(file.content_type, file.source).size_bytes > _MAX_URL_CHARS:
        raise InvalidImageError(
            f"{file.field} has {file.source.size_bytes:,} bytes; a line of the server's batch takes an image "
            f"of at most {_MAX_URL_CHARS * 3 // 4:,} bytes, as its data URL may have {_MAX_URL_CHARS:,} "
            "characters. Make it smaller, or run this one with `imagesdk batch run`",
            field=file.field,
            value=file.source.size_bytes,
            limit=_MAX_URL_CHARS * 3 // 4,
        )


@attrs.frozen(kw_only=True)
class AnswerLine:
    """What a line of an output or error file says.

    Attributes:
        custom_id: Of the request.
        request_id: The server's, None if it was not run.
        result: The answer, or why there is none.
    """

    custom_id: str
    request_id: str | None
    result: Answer | ImageSDKError


class LineDecoder:
    """Reads one line of an output or error file, fed in pieces. End it with `finish` or `discard`.

    Args:
        new_sink: Makes the sink of an image.
        secret: The API key: blotted out of what an error keeps.
    """

    def __init__(self, new_sink: Callable[[], PartSink], secret: str) -> None:
        self._filter = Base64Filter(new_sink, _IMAGES, data_url_key="url")
        self._secret = secret
        self.size_bytes: int = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            PayloadTooLargeError: There is too much beside the images.
        """
        self.size_bytes += len(piece)
        self._filter.feed(piece)

    def finish(self) -> AnswerLine:
        """Return what the line says; images that are no part of its answer are discarded.

        Raises:
            ProtocolError: It is no line of such a file: nobody knows whose answer it was.
        """
        try:
            return self._read(msgspec.json.decode(self._filter.skeleton))
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
            RecursionError,
            KeyError,
            TypeError,
        ) as error:
            self.discard()
            raise ProtocolError(
                f"a line of the batch's file ({self.size_bytes:,} bytes) is none: {error}",
                may_be_billed=True,
            ) from None

    def discard(self) -> None:
        """Drop its images."""
        self._filter.discard()

    def _read(self, line: Any) -> AnswerLine:  # noqa: ANN401
        custom_id, response = line["custom_id"], line.get("response")
        if not isinstance(custom_id, str):
            raise TypeError(f"custom_id is {custom_id!r}")
        if not isinstance(response, dict):
            self.discard()
            failure = _not_run(line.get("error"), self._secret)
            return AnswerLine(custom_id=custom_id, request_id=None, result=failure)
        request_id = response.get("request_id")
        said = request_id if isinstance(request_id, str) else None
        return AnswerLine(
            custom_id=custom_id,
            request_id=redact(said, self._secret),
            result=self._answer(int(response["status_code"]), response.get("body"), said),
        )

    def _answer(self, status: int, body: object, request_id: str | None) -> Answer | ImageSDKError:
        headers = {} if request_id is None else {"x-request-id": request_id}
        if not 200 <= status < 300:
            self.discard()
            return refusal(status, headers, msgspec.json.encode(body), secret=self._secret)
        decoder = AnswerDecoder(status, headers, secret=self._secret)
        try:
            return decoder.read_cut(body, self._filter.values)
        except ImageSDKError as error:
            return error


def _not_run(error: object, secret: str) -> BatchError:
    """Return the error for a request that the server did not run."""
    said: Mapping[str, Any] = redact(error, secret) if isinstance(error, Mapping) else {}
    code = str(said.get("code") or "no code")[:200]
    message = str(said.get("message") or "the server says no more")[:2000]
    return BatchError(
        f"the server did not run it: {message} ({code}). `imagesdk batch run` with the same folder does, "
        "at the full price",
        error=said or None,
    )
