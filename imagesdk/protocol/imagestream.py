"""Read the events of a stream of images: partial images, the completed one, errors.

Servers name an event in its ``type``, in an ``event`` line, or in both; with some the completed image
comes in an event that is a whole answer. Unknown events are ignored.
What is broken is handed out as an error and passed over: only the completed image is worth failing for.

https://platform.openai.com/docs/api-reference/images-streaming (read 2026-11-20)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from imagesdk.errors import APIError, ProtocolError, StreamIncompleteError
from imagesdk.protocol.b64filter import Base64Filter
from imagesdk.protocol.decode import NO_JSON, Answer, AnswerItem, epoch_seconds, read_json
from imagesdk.protocol.parts import MemorySink
from imagesdk.protocol.refusals import MAX_ERROR_BYTES, clip, redact, refusal
from imagesdk.protocol.sse import EventEnd, EventParser, Token

__all__ = ("PartialItem", "StreamDecoder", "StreamItem")

_FIELDS = frozenset({"background", "output_format", "quality", "size", "usage"})
_KNOWN = _FIELDS | {
    "b64_json",
    "created_at",
    "partial_image_index",
    "revised_prompt",
    "type",
    "url",
}
_DATA = "data:"


@attrs.frozen(kw_only=True)
class PartialItem:
    """An image on its way.

    Attributes:
        index: As the server counts, from 0.
        content: The image file, decoded.
        extra: Fields that are not known.
    """

    index: int
    content: bytes
    extra: Mapping[str, Any] = attrs.field(factory=dict)


StreamItem: TypeAlias = PartialItem | Answer | ProtocolError
"""A partial image, the completed one, or what is wrong with an event that was passed over."""


class StreamDecoder:
    """Reads the body of a streamed answer with status 2xx, fed in pieces.

    Args:
        status: HTTP status.
        headers: Names in lower case.
        max_event_bytes: Longest event that is taken.
        secret: The API key: blotted out of what an error keeps.
        list_key: Where the completed image is, if it comes in an event that is a whole answer; None if
            events are named.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        *,
        max_event_bytes: int,
        secret: str = "",
        list_key: str | None = None,
    ) -> None:
        self._status = status
        self._headers = headers
        self._secret = secret
        self._parser = EventParser(max_event_bytes)
        self._list_key = list_key
        self._event = self._new_filter()
        self._partials = 0
        self._broken = ""  # what is wrong with the last event that was passed over
        self._broken_body = b""

    def feed(self, piece: bytes) -> Iterator[StreamItem]:
        """Yield what *piece* completes; it must be iterated to its end before the next.

        Raises:
            APIError: An error event.
            ProtocolError: The completed event cannot be used.
            PayloadTooLargeError: An event is longer than max_event_bytes.
        """
        return self._read(self._parser.feed(piece))

    def finish(self) -> Iterator[StreamItem]:
        """Yield what the end of the body completes; raise as `feed` does."""
        return self._read(self._parser.finish())

    def incomplete(self, why: str = "it ended early") -> StreamIncompleteError:
        """Return the error for a stream without its completed event."""
        broken = (
            f" One of its events was broken, see .body: {self._broken}." if self._broken else ""
        )
        if self._partials:
            images = "images" if self._partials > 1 else "image"
            arrived = f"{self._partials} partial {images} arrived, the last is in .partial"
        else:
            arrived = "no partial image arrived"
        return StreamIncompleteError(
            f"the stream brought no completed image: {why}; {arrived}.{broken} The call may have been "
            "billed: look at the account's usage before you send it again",
            status=self._status,
            request_id=redact(self._headers.get("x-request-id"), self._secret),
            may_be_billed=True,
            body=self._broken_body,
        )

    def _read(self, tokens: Iterator[Token]) -> Iterator[StreamItem]:
        for token in tokens:
            if not isinstance(token, EventEnd):
                self._event.feed(bytes(token))
                continue
            event, self._event = self._event, self._new_filter()
            if (item := self._item(token.name, event)) is not None:
                yield item

    def _item(self, name: str, event: Base64Filter) -> StreamItem | None:
        """Read one event, None for one that says nothing to us."""
        data = bytes(event.skeleton)
        if name == "error":
            raise self._refused(data)
        if data.strip() in (b"", b"[DONE]"):
            return None
        fields, why = None, "it is something else"
        try:
            fields = read_json(data)
        except NO_JSON as error:
            why = str(error)
        if not isinstance(fields, dict):
            return self._pass_over(f"{name or 'an event'} is no JSON object: {why}", data)
        kind = fields.get("type")
        kind = kind if isinstance(kind, str) else name
        if kind.endswith(".partial_image"):
            return self._partial(fields, event)
        if kind.endswith(".completed"):
            return self._completed(fields, [fields], event)
        if self._list_key and isinstance(items := fields.get(self._list_key), list) and items:
            return self._completed(fields, items, event)
        if kind == "error" or fields.get("error"):
            raise self._refused(data)
        return None

    def _partial(self, fields: Mapping[str, Any], event: Base64Filter) -> StreamItem:
        try:
            content = _image(fields, event).content
        except ValueError as error:
            return self._pass_over(f"a partial image {error}", bytes(event.skeleton))
        index = fields.get("partial_image_index")
        if not isinstance(index, int):
            index = self._partials
        self._partials += 1
        return PartialItem(index=index, content=content, extra=self._unknown(fields))

    def _completed(
        self, fields: Mapping[str, Any], images: Sequence[Any], event: Base64Filter
    ) -> Answer:
        return Answer(
            created=epoch_seconds(fields.get("created_at", fields.get("created"))),
            items=tuple([self._completed_item(image, event) for image in images]),
            headers=self._headers,
            fields={k: fields[k] for k in _FIELDS if fields.get(k) is not None},
            extra=self._unknown(fields),
        )

    def _completed_item(self, image: object, event: Base64Filter) -> AnswerItem:
        fields = image if isinstance(image, Mapping) else {}
        url, prompt = fields.get("url"), fields.get("revised_prompt")
        at_url = isinstance(url, str) and bool(url) and not url.startswith(_DATA)
        part: MemorySink | None = None
        try:
            part = _image(fields, event)
        except ValueError as error:
            if not at_url:
                raise self._unusable(
                    f"the completed image {error}", bytes(event.skeleton)
                ) from None
        return AnswerItem(
            part=part,
            url=url if part is None else None,
            revised_prompt=prompt if isinstance(prompt, str) else None,
        )

    def _new_filter(self) -> Base64Filter:
        path = ("b64_json",) if self._list_key is None else (self._list_key, None, "b64_json")
        return Base64Filter(MemorySink, path, data_url_key="url")

    def _unknown(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        known = _KNOWN if self._list_key is None else {*_KNOWN, self._list_key, "created"}
        return {name: value for name, value in fields.items() if name not in known}

    def _refused(self, data: bytes) -> APIError:
        error = refusal(self._status, self._headers, data[:MAX_ERROR_BYTES], secret=self._secret)
        error.may_be_billed = True
        return error

    def _pass_over(self, message: str, data: bytes) -> ProtocolError:
        error = self._unusable(message, data)
        self._broken, self._broken_body = redact(message, self._secret), error.body
        return error

    def _unusable(self, message: str, data: bytes) -> ProtocolError:
        return ProtocolError(
            f"{redact(message, self._secret)} (HTTP {self._status}). The call may have been billed; the first "
            f"{min(len(data), MAX_ERROR_BYTES):,} bytes of the event are in .body",
            status=self._status,
            request_id=redact(self._headers.get("x-request-id"), self._secret),
            may_be_billed=True,
            body=clip(data, self._secret),
        )


def _image(fields: Mapping[str, Any], event: Base64Filter) -> MemorySink:
    """Return the image of an event.

    Raises:
        ValueError: What is wrong with it, as the end of a sentence.
    """
    name, url = fields.get("b64_json"), fields.get("url")
    value = event.values.get(name) if isinstance(name, str) else None
    if value is None and isinstance(url, str) and url.startswith(_DATA):
        value = event.values.get(url)
    if value is None:
        raise ValueError("has no b64_json")
    if value.error is not None or not isinstance(value.sink, MemorySink):
        raise ValueError(value.error)
    return value.sink
