"""Read a successful answer of the Images API.

The answer is fed in pieces, and its images go to their sinks while it arrives. It comes out as an
`Answer`: images or URLs, and what the server says beside them. Unknown fields are kept, never fatal.
Nothing short or broken passes silently: an answer that makes no sense is a `ProtocolError` that keeps
what arrived; of one that ends early the images that are complete are kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Set as AbstractSet
from typing import Any

import attrs
import msgspec

from imagesdk.errors import ImageSDKError, ModerationError, PayloadTooLargeError, ProtocolError
from imagesdk.protocol.b64filter import Base64Filter, Base64Value
from imagesdk.protocol.parts import MemorySink, PartSink
from imagesdk.protocol.rawbody import MAX_UNPACKED_BYTES, ImageBody, ZipBody, body_kind
from imagesdk.protocol.refusals import MAX_ERROR_BYTES, clip, redact, refusal

__all__ = ("NO_JSON", "Answer", "AnswerDecoder", "AnswerItem", "epoch_seconds", "read_json")

_KNOWN = frozenset({"background", "created", "data", "output_format", "quality", "size", "usage"})
_KNOWN_FIELDS = sorted(_KNOWN - {"created", "data"})
_KNOWN_ITEM = frozenset({"b64_json", "revised_prompt", "url"})
_MAX_ITEMS = 1000
"""An answer has 10; each that is broken costs an exception."""
_NOTHING = "has neither b64_json nor url"
NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `read_json` raises."""
_MOST_ODD_BYTES = 1024 * 1024
"""What is read twice, and in more memory, is no longer; images have been cut out of it."""
_LONGEST_INTEGER = 19
"""Digits; a longer number is read as a float."""


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

    End it with `finish` or `discard`. Images of which nothing comes are discarded.

    Args:
        status: HTTP status.
        headers: Names in lower case.
        new_sink: Makes the sink of an image, when its first bytes are there.
        secret: The API key: blotted out of what an error keeps.
        list_key: Where the list of images is.
        max_unpacked_bytes: Most that a zip archive may unpack to.

    Attributes:
        size_bytes: Bytes that were fed so far.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        *,
        new_sink: Callable[[], PartSink] = MemorySink,
        secret: str = "",
        list_key: str = "data",
        max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
    ) -> None:
        self.size_bytes: int = 0
        self._status = status
        self._headers = headers
        self._new_sink = new_sink
        self._secret = secret
        self._list_key = list_key
        self._known = _KNOWN if list_key == "data" else _KNOWN | {list_key}
        self._max_unpacked_bytes = max_unpacked_bytes
        self._head = bytearray()  # the whole body as long as it is small, then its begin
        self._reader: Base64Filter | ImageBody | ZipBody | None = None  # once it is not small
        self._named: dict[str, Base64Value] = {}  # values that stand in the skeleton by name
        self._values: list[Base64Value] = []  # those decoded here, of a small body

    def feed(self, piece: bytes | bytearray) -> None:
        """Take the next bytes of the body.

        Raises:
            PayloadTooLargeError: There is too much beside the images. Pass it to `finish`.
        """
        self.size_bytes += len(piece)
        if self._reader is not None:
            self._feed(self._reader, piece)
            return
        self._head += piece
        if len(self._head) > MAX_ERROR_BYTES:
            self._begin()

    def finish(self, interrupted: ImageSDKError | None = None) -> Answer:
        """Return what arrived. Only a zip archive takes time here, to be unpacked.

        Args:
            interrupted: Why the body ends early; None if the server ended it.

        Raises:
            ImageSDKError: *interrupted*, if the body is cut off before an image is complete.
            ProtocolError: No image can be read from it. It was billed, so it is never sent again.
            APIError: It is an error object, in spite of its status.
        """
        try:
            answer = self._finish(interrupted)
        except BaseException:
            self.discard()
            raise
        if self._values or self._reader is not None:
            self._keep_only(answer)
        return answer

    def read_cut(self, data: Any, values: Mapping[str, Base64Value]) -> Answer:  # noqa: ANN401
        """Return what *data* says, an answer whose images were cut out of it on its way. It is not fed, too.

        Args:
            data: The answer, as it was parsed.
            values: The images, by the strings that stand for them in it.

        Raises:
            ProtocolError: As `finish` does.
            APIError: As `finish` does.
        """
        self._head = bytearray(msgspec.json.encode(data)[:MAX_ERROR_BYTES])
        self._named = dict(values)
        self._values = list(values.values())
        try:
            answer = self._read(data)
        except BaseException:
            self.discard()
            raise
        self._keep_only(answer)
        return answer

    def discard(self) -> None:
        """Give the answer up and discard its images; what `finish` returned stays."""
        for value in self._all_values():
            value.discard()
        if self._reader is not None:
            self._reader.discard()

    def _keep_only(self, answer: Answer) -> None:
        """Discard the images that are not in *answer*, and let go of those that are."""
        kept = {id(item.part) for item in answer.items}
        for value in self._all_values():
            if id(value.sink) not in kept:
                value.discard()
        self._reader = None
        self._values = []

    def _all_values(self) -> list[Base64Value]:
        cut = self._reader.values.values() if isinstance(self._reader, Base64Filter) else ()
        return [*self._values, *cut]

    def _begin(self) -> Base64Filter | ImageBody | ZipBody:
        """Choose the reader of the body, and give it what has arrived."""
        begin = bytes(self._head)
        del self._head[MAX_ERROR_BYTES:]
        reader: Base64Filter | ImageBody | ZipBody
        match self._kind():
            case "image":
                reader = ImageBody(self._new_sink)
            case "zip":
                reader = ZipBody(self._new_sink, max_unpacked_bytes=self._max_unpacked_bytes)
            case _:
                path = (self._list_key, None, "b64_json")
                reader = Base64Filter(self._new_sink, path, data_url_key="url")
        self._reader = reader
        self._feed(reader, begin)
        return reader

    def _feed(self, reader: Base64Filter | ImageBody | ZipBody, piece: bytes | bytearray) -> None:
        try:
            reader.feed(piece)
        except PayloadTooLargeError as error:
            error.status = self._status
            error.request_id = redact(self._headers.get("x-request-id"), self._secret)
            error.body = clip(self._head, self._secret)
            raise

    def _kind(self) -> str:
        return body_kind(self._headers.get("content-type", ""), self._head)

    def _type(self) -> str:
        """Return the content type for a message."""
        return str(redact(self._headers.get("content-type", "no content type"), self._secret))

    def _finish(self, interrupted: ImageSDKError | None) -> Answer:
        if self._reader is None and interrupted is None and self._kind() == "json":
            try:
                data = read_json(self._head)
            except NO_JSON:
                pass  # what can be saved is found below
            else:
                return self._read(data)
        reader = self._reader or self._begin()
        if isinstance(reader, Base64Filter):
            return self._read_skeleton(reader, interrupted)
        if interrupted is not None:
            raise interrupted
        return self._read_raw(reader)

    def _read_skeleton(self, scan: Base64Filter, interrupted: ImageSDKError | None) -> Answer:
        self._named = dict(scan.values)
        try:
            data = read_json(scan.skeleton)
        except NO_JSON as error:
            no_json = f"server's answer ({self._type()}) is no JSON: {error}"
        else:
            return self._read(data)
        failure = interrupted or self._error(f"The {no_json}")
        try:
            data = read_json(scan.closed() or b"")
        except NO_JSON:
            raise failure from None
        items = data.get(self._list_key) if isinstance(data, dict) else None
        if not isinstance(items, list):
            raise failure
        good, bad = self._read_items(items, str(interrupted or f"the {no_json}"), scan.depth)
        if good:
            return self._answer(data, good, bad)
        raise interrupted or next(iter(bad), failure)

    def _read_raw(self, reader: ImageBody | ZipBody) -> Answer:
        try:
            found = reader.end()
        except ValueError as error:
            raise self._error(f"The server's answer ({self._type()}) {error}") from None
        images = found if isinstance(found, list) else [found]
        bad = [
            self._error(f"data[{index}] {image}")
            for index, image in enumerate(images)
            if isinstance(image, str)
        ]
        good = [AnswerItem(part=image) for image in images if not isinstance(image, str)]
        if not good:
            raise next(iter(bad), self._error("The server's answer holds no images: a zip archive"))
        return self._answer({}, good, bad)

    def _read(self, data: Any) -> Answer:  # noqa: ANN401
        """Read a body that is complete."""
        if isinstance(data, dict) and data.get("error") and not data.get(self._list_key):
            error = refusal(self._status, self._headers, bytes(self._head), secret=self._secret)
            error.may_be_billed = True
            raise error
        items = data.get(self._list_key) if isinstance(data, dict) else None
        if not isinstance(items, list) or not items:
            found = (
                f"no {self._list_key}"
                if isinstance(data, dict) and items is None
                else _describe(items, data)
            )
            raise self._blocked(data) or self._error(
                f"The server's answer holds no images: {found}"
            )
        good, bad = self._read_items(items)
        if not good:
            raise self._blocked(data) or bad[0]
        return self._answer(data, good, bad)

    def _blocked(self, data: object) -> ModerationError | None:
        """Return the error for an answer whose images were held back, as xAI's says it.

        https://www.withone.ai/knowledge/x-ai, a copy of xAI's schema (read 2026-11-26)
        """
        if not isinstance(data, dict):
            return None
        reason, items = data.get("block_reason"), data.get(self._list_key)
        held = isinstance(items, list) and any(
            isinstance(item, dict) and item.get("respect_moderation") is False for item in items
        )
        if not (reason or held):
            return None
        said = f" ({redact(str(reason), self._secret)})" if reason else ""
        return ModerationError(
            f"the server's moderation held the result back{said} (HTTP {self._status}). It may be billed all "
            "the same. If you believe this is a mistake, rephrase the prompt or change the image",
            status=self._status,
            request_id=redact(self._headers.get("x-request-id"), self._secret),
            may_be_billed=True,
            stage="output",
        )

    def _read_items(
        self, items: list[Any], cut_off: str = "", depth: int = 0
    ) -> tuple[list[AnswerItem], list[ProtocolError]]:
        """Return the images, and what is wrong with the others.

        Args:
            items: The value of ``data``.
            cut_off: Why the body ends early.
            depth: 3 if it ends in the last of *items*, 2 if it ends behind that, else less.
                What may come after that is lost, too.
        """
        good: list[AnswerItem] = []
        bad: list[ProtocolError] = []
        is_open = depth > 1
        for index, item in enumerate(items[:_MAX_ITEMS]):
            try:
                good.append(self._item(item))
            except ValueError as error:
                what = str(error)
                if depth == 3 and index == len(items) - 1:
                    what = "is cut off before its image" if what == _NOTHING else what
                    what = f"{what}: {cut_off}"
                    is_open = False
                bad.append(self._error(f"{self._list_key}[{index}] {what}"))
        if len(items) > _MAX_ITEMS:
            many = (
                f"{self._list_key} holds {len(items):,} items; no more than {_MAX_ITEMS:,} are read"
            )
            bad.append(self._error(many))
        if is_open:
            bad.append(self._error(f"{self._list_key}[{len(items)}] is missing: {cut_off}"))
        return good, bad

    def _item(self, item: object) -> AnswerItem:
        """Read one element of ``data``.

        Raises:
            ValueError: What is wrong with it, as the end of a sentence.
        """
        if not isinstance(item, dict):
            raise ValueError(f"is {_describe(item)}, not an object")  # noqa: TRY004
        url = item.get("url")
        at_url = isinstance(url, str) and url and not url.startswith("data:")
        encoded = item.get("b64_json")
        value = None if encoded is None else self._value(encoded)
        if value is None and not at_url:
            value = self._value(url)
        extra = _unknown(item, _KNOWN_ITEM)
        revised = item.get("revised_prompt")
        prompt = revised if isinstance(revised, str) else None
        if value is not None and value.ended and value.error is None:
            return AnswerItem(part=value.sink, revised_prompt=prompt, extra=extra)
        if at_url:
            return AnswerItem(url=url, revised_prompt=prompt, extra=extra)
        if value is None and item.get("respect_moderation") is False:
            raise ValueError("was held back by the server's moderation")
        if value is None:
            raise ValueError(_NOTHING)
        raise ValueError(value.error or f"is cut off after {value.size:,} bytes")

    def _value(self, text: object) -> Base64Value | None:
        """Return the image that *text* says or stands for, None if there is none."""
        if not isinstance(text, str) or not text:
            return None
        value = self._named.pop(text, None)
        if value is None:
            value = Base64Value(self._new_sink)
            self._values.append(value)
            value.feed(text.encode())
            value.end()
        return None if value.empty else value

    def _answer(
        self, data: Mapping[str, Any], good: list[AnswerItem], bad: list[ProtocolError]
    ) -> Answer:
        return Answer(
            created=epoch_seconds(data.get("created")),
            items=tuple(good),
            headers=self._headers,
            broken=tuple(bad),
            fields={k: data[k] for k in _KNOWN_FIELDS if data.get(k) is not None},
            extra=_unknown(data, self._known),
        )

    def _error(self, message: str) -> ProtocolError:
        return ProtocolError(
            f"{message} (HTTP {self._status}). The call may have been billed; the first "
            f"{min(len(self._head), MAX_ERROR_BYTES):,} bytes are in .body",
            status=self._status,
            request_id=redact(self._headers.get("x-request-id"), self._secret),
            may_be_billed=True,
            body=clip(self._head, self._secret),
        )


def read_json(text: bytes | bytearray) -> Any:  # noqa: ANN401
    """Return what a body says, also where something beside the images is odd: they are paid for.

    A byte order mark, half a surrogate pair, a number beyond all bounds: the strict reader takes none.

    Raises:
        NO_JSON: It is no JSON.
    """
    try:
        return msgspec.json.decode(text)
    except NO_JSON as error:
        if len(text) > _MOST_ODD_BYTES:
            raise
        try:
            return _mended(json.loads(text, parse_int=_integer))
        except (ValueError, RecursionError):
            raise error from None


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def _mended(value: Any) -> Any:  # noqa: ANN401
    """Replace halves of surrogate pairs, which can be written nowhere."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_mended(item) for item in value]
        case dict():
            return {_mended(name): _mended(item) for name, item in value.items()}
        case _:
            return value


def epoch_seconds(value: object) -> int | None:
    """Return a number as whole seconds, None for anything else."""
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _unknown(fields: Mapping[str, Any], known: AbstractSet[str]) -> dict[str, Any]:
    if fields.keys() <= known:
        return {}
    return {name: value for name, value in fields.items() if name not in known}


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
