"""Cut base64 images out of JSON while it arrives.

A filter, not a parser: it follows brackets, strings and the keys on one path, just enough to know
the values that it cuts out. They are decoded piece by piece into a sink and never held as text. All
else goes through unchanged into a skeleton, which is JSON exactly if the input is, and which a JSON
parser reads afterwards: there each cut value is a short string, the key of `Base64Filter.values`.

JSON: RFC 8259 · base64: RFC 4648 section 4 (not the URL-safe alphabet; white space is tolerated).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec
import pybase64

from imagesdk.errors import PayloadTooLargeError
from imagesdk.protocol.parts import PartSink

__all__ = ("Base64Filter", "Base64Value")

_MAX_SKELETON_BYTES = 8 * 1024 * 1024
_MAX_VALUES = 1000
_TOKEN = re.compile(rb'["{}\[\],:]')
_QUOTE, _BACKSLASH, _U, _COLON, _COMMA, _BRACE = b'"\\u:,{'
_CLOSERS = dict(zip(b"{[", b"}]", strict=True))
_SPACE = b" \t\n\r\f\v"
_DATA = b"data:"


class Base64Value:
    """One image in base64, fed in pieces of text and decoded into a sink.

    A data URL is taken, too. What is wrong is recorded, not raised.

    Attributes:
        sink: None before the first bytes are decoded, and once an error is known.
        size: Bytes that were decoded.
        empty: True if not even text was there.
        ended: True once the text is complete.
        error: What is wrong with it, as the end of a sentence.
    """

    __slots__ = (
        "_begins",
        "_carry",
        "_new_sink",
        "_padded",
        "_spaced",
        "empty",
        "ended",
        "error",
        "sink",
        "size",
    )

    def __init__(self, new_sink: Callable[[], PartSink]) -> None:
        self._new_sink = new_sink
        self._begins: bytes | None = b""  # the text so far, while it may be that of a data URL
        self._carry = b""  # less than four characters
        self._padded = False
        self._spaced = False
        self.sink: PartSink | None = None
        self.size: int = 0
        self.empty: bool = True
        self.ended: bool = False
        self.error: str | None = None

    def feed(self, text: bytes | memoryview) -> None:
        """Decode the next piece of text; JSON escapes are resolved already."""
        if self.error is not None or not text:
            return
        self.empty = False
        try:
            if self._begins is None:
                self._decode(text)
            else:
                self._decode_begin(self._begins + text)
        except ValueError as error:
            self._fail(f"has a b64_json that is no base64: {error}")

    def end(self) -> None:
        """Take what was fed as the whole text."""
        if self.error is None:
            try:
                if self._begins and self._begins != _DATA:
                    self._decode(self._begins)
            except ValueError as error:
                self._fail(f"has a b64_json that is no base64: {error}")
            else:
                if rest := self._carry.translate(None, _SPACE):
                    self._fail(
                        "has a b64_json that is no base64: it ends after "
                        f"{len(rest)} of the 4 characters of a group"
                    )
        self.ended = True
        if self.sink is not None:
            self.sink.finish()
        elif self.error is None:
            self._fail("has an empty b64_json")

    def discard(self) -> None:
        """Drop the image."""
        if self.sink is not None:
            self.sink.discard()
            self.sink = None

    def _fail(self, error: str) -> None:
        self.error = error
        self.discard()

    def _decode_begin(self, text: bytes) -> None:
        self._begins = text[: len(_DATA)]
        if text.startswith(_DATA):
            _, comma, text = text.partition(b",")
            known = bool(comma)
        else:
            known = not _DATA.startswith(text)
        if known:
            self._begins = None
            self._decode(text)

    def _decode(self, text: bytes | memoryview) -> None:
        """Decode whole groups of four characters, and keep the rest for the next piece.

        Raises:
            ValueError: It is no base64.
        """
        if self._spaced or self._padded:
            text = bytes(text).translate(None, _SPACE)
            if text and self._padded:
                raise ValueError("it goes on after its padding")
        view = memoryview(self._carry + text if self._carry else text)
        whole = len(view) & ~3
        try:
            content = pybase64.b64decode(view[:whole], validate=True)
        except ValueError:
            if self._spaced:
                raise
            self._spaced = True
            self._carry = b""
            self._decode(view)
            return
        self._carry = bytes(view[whole:])
        self._padded |= len(content) * 4 != whole * 3
        if content:
            if self.sink is None:
                self.sink = self._new_sink()
            self.sink.write(content)
            self.size += len(content)


class Base64Filter:
    """Cuts the string values at one path out of JSON that is fed in pieces.

    Args:
        new_sink: Makes the sink of an image, when its first bytes are there.
        path: Names of keys from the outermost value to the one that is cut; None stands for each
            element of a list.
        data_url_key: Name of a key beside the last one of *path*, whose value is cut if it begins
            with ``data:``; empty for none.
        max_skeleton_bytes: Most that is kept of what is not cut.

    Attributes:
        skeleton: What was not cut so far.
        values: The values that were cut, by the string that stands for them in the skeleton.
    """

    def __init__(
        self,
        new_sink: Callable[[], PartSink],
        path: Sequence[str | None] = ("data", None, "b64_json"),
        *,
        data_url_key: str = "",
        max_skeleton_bytes: int = _MAX_SKELETON_BYTES,
    ) -> None:
        self.skeleton: bytearray = bytearray()
        self.values: dict[str, Base64Value] = {}
        self._new_sink = new_sink
        self._path = tuple(path)
        self._data_url_key = data_url_key
        self._max_skeleton_bytes = max_skeleton_bytes
        self._held = b""  # the begin of an escape, or of a string that may be a data URL
        self._value: Base64Value | None = None  # the one that is being cut
        self._in_string = False
        self._closers = bytearray()  # of the brackets that are open
        self._on_path = 0  # how many of them, from the outermost, are on the path
        self._before_key = False  # the next string is a key
        self._key_at: int | None = None  # where in the skeleton a key on the path begins
        self._key: str | None = None  # of the member that is being read; known on the path only
        self._safe = 0  # the skeleton up to here can be closed

    @property
    def depth(self) -> int:
        """How many lists and objects of the path are open."""
        return self._on_path

    def feed(self, piece: bytes | bytearray) -> None:
        """Take the next bytes.

        Raises:
            PayloadTooLargeError: There is too much beside the images, or too many of them.
        """
        data = self._held + piece if self._held else bytes(piece)
        self._held = b""
        at, end = 0, len(data)
        while at < end:
            if self._value is not None:
                at = self._cut(self._value, data, at)
            elif self._in_string:
                at = self._pass_string(data, at)
            else:
                at = self._pass_text(data, at)
        if len(self.skeleton) > self._max_skeleton_bytes or len(self.values) > _MAX_VALUES:
            raise PayloadTooLargeError(
                f"the answer has more than {_MAX_VALUES:,} images, or more than "
                f"{self._max_skeleton_bytes:,} bytes beside them; reading was stopped",
                may_be_billed=True,
                limit_bytes=self._max_skeleton_bytes,
            )

    def closed(self) -> bytes | None:
        """Return the skeleton of an input that ends early, with all brackets closed.

        Scalars that are not known to be complete are left out; a value that is being cut stays.

        Returns:
            None if no bracket is open.
        """
        return bytes(self.skeleton[: self._safe] + self._closers[::-1]) if self._closers else None

    def discard(self) -> None:
        """Drop all images that are in `values`."""
        for value in self.values.values():
            value.discard()

    def _pass_text(self, data: bytes, at: int) -> int:
        """Let text outside of strings through, up to the next string; return where it begins."""
        base = len(self.skeleton) - at
        closers = self._closers
        for match in _TOKEN.finditer(data, at):
            index = match.start()
            token = data[index]
            if token == _QUOTE:
                return self._begin_string(data, at, index)
            if token == _COLON:
                self._before_key = False
            elif token == _COMMA:
                self._safe = base + index
                self._before_key = closers.endswith(b"}")
                self._key = None
            elif token in _CLOSERS:
                self._on_path += self._leads_on(token)
                closers.append(_CLOSERS[token])
                self._safe = base + index + 1
                self._before_key = token == _BRACE
                self._key = None
            else:
                del closers[-1:]
                self._on_path = min(self._on_path, len(closers))
                self._safe = base + index + 1
                self._before_key = False
        self.skeleton += data[at:]
        return len(data)

    def _leads_on(self, bracket: int) -> bool:
        """Return whether a list or an object that begins here is on the path."""
        depth = self._on_path
        return (
            depth == len(self._closers)
            and depth < len(self._path)
            and (depth == 0 or self._path[depth - 1] in (None, self._key))
            and (bracket == _BRACE) == (self._path[depth] is not None)
        )

    def _begin_string(self, data: bytes, at: int, quote: int) -> int:
        """Begin the string at *quote*; what is between *at* and there goes through."""
        depth = len(self._closers)
        name = ""
        if depth == self._on_path == len(self._path) and not self._before_key:
            if self._path[-1] in (None, self._key):
                name = f"{len(self.values)}"
            elif self._data_url_key and self._key == self._data_url_key:
                begin = data[quote + 1 : quote + 1 + len(_DATA)]
                if begin == _DATA:
                    name = f"data:{len(self.values)}"
                elif _DATA.startswith(begin):
                    self.skeleton += data[at:quote]
                    self._held = data[quote:]
                    return len(data)
        if name:
            self.skeleton += b'%b"%b"' % (data[at:quote], name.encode())
            self._safe = len(self.skeleton)
            self._value = self.values[name] = Base64Value(self._new_sink)
        else:
            self.skeleton += data[at : quote + 1]
            self._in_string = True
            if self._before_key and depth == self._on_path:
                self._key_at = len(self.skeleton) - 1
        return quote + 1

    def _pass_string(self, data: bytes, at: int) -> int:
        """Let a string through, up to its end."""
        end = _closing_quote(data, at)
        if end < 0:
            stop = _begun_escape(data, at)
            self.skeleton += data[at:stop]
            self._held = data[stop:]
            return len(data)
        self.skeleton += data[at : end + 1]
        self._in_string = False
        if not self._before_key:
            self._safe = len(self.skeleton)
        elif self._key_at is not None:
            self._key = _text(self.skeleton[self._key_at :])
            self._key_at = None
        return end + 1

    def _cut(self, value: Base64Value, data: bytes, at: int) -> int:
        """Decode a value, up to its end."""
        end = data.find(b'"', at)
        stop = end if end >= 0 else len(data)
        text: bytes | memoryview
        if data.find(b"\\", at, stop) < 0:
            text = memoryview(data)[at:stop]
        else:
            end = _closing_quote(data, at)
            stop = end if end >= 0 else _begun_escape(data, at)
            text = _unescape(data[at:stop])
        value.feed(text)
        if end >= 0:
            value.end()
            self._value = None
            return end + 1
        self._held = data[stop:]
        return len(data)


def _closing_quote(data: bytes, start: int) -> int:
    """Return where the string ends that goes on at *start*, -1 if that is not in *data*."""
    end = data.find(b'"', start)
    while end >= 0 and _backslashes(data, start, end) % 2:
        end = data.find(b'"', end + 1)
    return end


def _begun_escape(data: bytes, start: int) -> int:
    """Return where an escape begins that is not complete, the end of *data* if there is none."""
    end = len(data)
    last = data.rfind(b"\\", max(start, end - 5))
    if last < 0 or _backslashes(data, start, last) % 2:
        return end
    is_complete = last + 1 < end and (data[last + 1] != _U or last + 6 <= end)
    return end if is_complete else last


def _backslashes(data: bytes, start: int, end: int) -> int:
    """Count the backslashes right before *end*."""
    first = end
    while first > start and data[first - 1] == _BACKSLASH:
        first -= 1
    return end - first


def _unescape(text: bytes) -> bytes:
    """Resolve JSON escapes; text that is not valid stays as it is, and is no base64."""
    plain = _text(b'"%b"' % text)
    return text if plain is None else plain.encode()


def _text(string: bytes | bytearray) -> str | None:
    """Return what a JSON string says, None if it is not valid."""
    try:
        return msgspec.json.decode(string, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
