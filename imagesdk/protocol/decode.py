"""Read a successful answer of the Images API.

The answer is fed in pieces and comes out as an `Answer`: images that are decoded, or URLs, and what
the server says beside them. Unknown fields are kept, never fatal. Nothing short or broken passes
silently: an answer that makes no sense is a `ProtocolError` that keeps what arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec
import pybase64

from imagesdk.errors import ImageSDKError, ProtocolError
from imagesdk.protocol.parts import MemorySink, PartSink
from imagesdk.protocol.refusals import MAX_ERROR_BYTES, clip, redact, refusal

__all__ = ("Answer", "AnswerDecoder", "AnswerItem")

_KNOWN = frozenset({"background", "created", "data", "output_format", "quality", "size", "usage"})
_KNOWN_ITEM = frozenset({"b64_json", "revised_prompt", "url"})


@attrs.frozen(kw_only=True)
class AnswerItem:
    """One image of an answer: *part* or *url*.

    Attributes:
        part: The sink that has taken the image file, None for a URL.
        url: As the server sent it.
        revised_prompt: The prompt that the model really used.
        extra: Fields that are not known.
    """

    part: PartSink | None = None
    url: str | None = None
    revised_prompt: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def content(self) -> bytes | None:
        """The image file if it is in memory."""
        return self.part.content if isinstance(self.part, MemorySink) else None


@attrs.frozen(kw_only=True)
class Answer:
    """An answer with at least one good image.

    Attributes:
        created: Seconds since 1970, None if the server does not say.
        items: The good images, in the server's order.
        broken: What is wrong with the others.
        fields: background, output_format, quality, size and usage, as far as they are there.
        extra: Fields that are not known.
        headers: Names in lower case.
    """

    created: int | None
    items: tuple[AnswerItem, ...]
    headers: Mapping[str, str]
    broken: tuple[ProtocolError, ...] = ()
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    extra: Mapping[str, Any] = attrs.field(factory=dict)


class AnswerDecoder:
    """Reads the body of an answer with status 2xx, fed in pieces.

    Either `finish` or `discard` must be called: images that are not used are discarded then.

    Args:
        status: HTTP status.
        headers: Names in lower case.
        new_sink: Makes the sink of an image, when its first bytes are there.
        secret: The API key: blotted out of what an error keeps.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        *,
        new_sink: Callable[[], PartSink] = MemorySink,
        secret: str = "",
    ) -> None:
        self._status = status
        self._headers = headers
        self._new_sink = new_sink
        self._secret = secret
        self._body = bytearray()

    def feed(self, piece: bytes | bytearray) -> None:
        """Take the next bytes of the body.

        Raises:
            PayloadTooLargeError: What is not image is too much; pass the error to `finish`.
        """
        self._body += piece

    def discard(self) -> None:
        """Discard all images: the answer is given up. Never raises."""

    def finish(self, interrupted: ImageSDKError | None = None) -> Answer:
        """Return what arrived.

        Args:
            interrupted: Why the body ends early, None if it is complete.

        Raises:
            ImageSDKError: *interrupted*, if no image is complete.
            ProtocolError: No image can be read from it. It was billed, so it is never sent again.
            APIError: It is an error object, in spite of its status.
        """
        if interrupted is not None:
            raise interrupted
        return self._decode(self._status, self._headers, self._body, secret=self._secret)

    @staticmethod
    def _decode(
        status: int, headers: Mapping[str, str], body: bytes | bytearray, *, secret: str = ""
    ) -> Answer:
        """Read the body of an answer with status 2xx.

        Args:
            status: HTTP status.
            headers: Names in lower case.
            body: The whole body.
            secret: The API key: blotted out of what an error keeps.

        Raises:
            ProtocolError: No image can be read from it. It was billed, so it is never sent again.
            APIError: It is an error object, in spite of its status.
        """

        def broken(message: str) -> ProtocolError:
            return ProtocolError(
                f"{message} (HTTP {status}). The call may have been billed; the first "
                f"{min(len(body), MAX_ERROR_BYTES):,} bytes are in .body",
                status=status,
                request_id=redact(headers.get("x-request-id"), secret),
                may_be_billed=True,
                body=clip(body, secret),
            )

        try:
            data = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            kind = redact(headers.get("content-type", "no content type"), secret)
            raise broken(f"The server's answer ({kind}) is no JSON: {error}") from None
        if isinstance(data, dict) and data.get("error") and not data.get("data"):
            error_object = refusal(status, headers, bytes(body[:MAX_ERROR_BYTES]), secret=secret)
            error_object.may_be_billed = True
            raise error_object
        items = data.get("data") if isinstance(data, dict) else None
        if not isinstance(items, list) or not items:
            found = (
                "no data" if isinstance(data, dict) and items is None else _describe(items, data)
            )
            raise broken(f"The server's answer holds no images: {found}")
        good: list[AnswerItem] = []
        bad: list[ProtocolError] = []
        for index, item in enumerate(items):
            try:
                good.append(_item(item))
            except ValueError as error:
                bad.append(broken(f"data[{index}] {error}"))
        if not good:
            raise bad[0]
        created = data.get("created")
        return Answer(
            created=int(created) if isinstance(created, int | float) else None,
            items=tuple(good),
            headers=headers,
            broken=tuple(bad),
            fields={k: data[k] for k in _KNOWN - {"created", "data"} if data.get(k) is not None},
            extra={k: v for k, v in data.items() if k not in _KNOWN},
        )


def _item(item: object) -> AnswerItem:
    """Read one element of ``data``.

    Raises:
        ValueError: What is wrong with it, as the end of a sentence.
    """
    if not isinstance(item, dict):
        raise ValueError(f"is {_describe(item)}, not an object")  # noqa: TRY004
    encoded, url = item.get("b64_json"), item.get("url")
    extra = {k: v for k, v in item.items() if k not in _KNOWN_ITEM}
    revised = item.get("revised_prompt")
    prompt = revised if isinstance(revised, str) else None
    at_url = isinstance(url, str) and url and not url.startswith("data:")
    inline = encoded if isinstance(encoded, str) and encoded else None if at_url else url
    if isinstance(inline, str) and inline:
        try:
            part = MemorySink()
            part.write(_b64decode(inline))
            return AnswerItem(part=part, revised_prompt=prompt, extra=extra)
        except ValueError:
            if not at_url:
                raise
    if at_url:
        return AnswerItem(url=url, revised_prompt=prompt, extra=extra)
    raise ValueError("has neither b64_json nor url")


def _b64decode(text: str) -> bytes:
    if text.startswith("data:"):  # some relays send a data URL
        text = text.partition(",")[2]
    try:
        content = pybase64.b64decode(text, validate=True)
    except ValueError:
        try:  # some servers wrap it in lines
            content = pybase64.b64decode("".join(text.split()), validate=True)
        except ValueError as error:
            raise ValueError(f"has a b64_json that is no base64: {error}") from None
    if not content:
        raise ValueError("has an empty b64_json")
    return content


def _describe(value: object, whole: object = None) -> str:
    if value is None and whole is not None:
        return _describe(whole)
    match value:
        case None:
            return "null"
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "an object"
        case str():
            return "a string"
        case _:
            return f"{value!r}"
