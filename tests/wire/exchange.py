"""Read the exchanges with servers that stand in this folder, one file each.

A file begins with lines ``name: value``. ``source`` says where the exchange comes from, and with which
commit or day, ``made`` whether it was ``recorded`` or made ``by hand`` from that source; ``call`` and ``with``
are the call of a session, ``gives`` is what the caller gets. Then come the heads and bodies: lines of a
head begin with ``> `` (sent) or ``< `` (received), and after an empty line follows the body. Lines of forms
end with CRLF, whatever the file's own end with. ``{{png}}`` and so on stand for bytes: see `Pictures`.
"""

from __future__ import annotations

import base64
import json
import re
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import attrs
from PIL import Image

__all__ = ("Case", "Exchange", "Pictures", "read_case")

_MARK = re.compile(r"\{\{(\w+)(:base64)?\}\}")


@attrs.frozen
class Pictures:
    """The pictures of the exchanges: ``{{png}}`` is one, ``{{png:base64}}`` the same as text."""

    bytes_of: dict[str, bytes]

    @classmethod
    def make(cls) -> Pictures:
        """Make one of each kind, and a zip archive of two."""
        pictures = {"png": _picture("RGBA", "PNG"), "other_png": _picture("RGB", "PNG")}
        pictures["jpeg"] = _picture("RGB", "JPEG")
        archive = BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as files:
            files.writestr("image_0.png", pictures["png"])
            files.writestr("image_1.png", pictures["other_png"])
        return cls(pictures | {"zip": archive.getvalue()})

    def fill(self, text: str, **words: str) -> bytes:
        """Return *text* as bytes, with what its marks stand for."""
        filled = bytearray()
        at = 0
        for match in _MARK.finditer(text):
            filled += text[at : match.start()].encode()
            name, as_text = match.groups()
            found = words[name].encode() if name in words else self.bytes_of[name]
            filled += base64.b64encode(found) if as_text else found
            at = match.end()
        return bytes(filled + text[at:].encode())

    def arguments(self, value: Any) -> Any:
        """Return *value* with pictures where marks are."""
        match value:
            case str() if found := _MARK.fullmatch(value):
                return self.bytes_of[found[1]]
            case list():
                return [self.arguments(item) for item in value]
            case dict():
                return {name: self.arguments(item) for name, item in value.items()}
            case _:
                return value


def _picture(mode: str, kind: str) -> bytes:
    buffer = BytesIO()
    Image.new(mode, (16, 16)).save(buffer, kind)
    return buffer.getvalue()


@attrs.frozen
class Exchange:
    """One request and its answer, as a file has them: first lines, headers, bodies."""

    request_line: str
    request_headers: dict[str, str]
    request_body: str
    status: int
    answer_headers: dict[str, str]
    answer_body: str


@attrs.frozen
class Case:
    """One file: what it says of itself, and its exchanges."""

    server: str
    name: str
    said: dict[str, str]
    exchanges: tuple[Exchange, ...]

    def json(self, name: str) -> Any:
        """Return one of the lines at the top as data, ``{}`` without one."""
        return json.loads(self.said.get(name, "{}"))


def read_case(path: Path) -> Case:
    """Read one file."""
    text = path.read_text(encoding="utf-8")
    top, *parts = re.split(r"(?m)^(?=[<>] )", text)
    said = dict(line.split(": ", 1) for line in top.strip().splitlines())
    blocks: list[tuple[str, list[str], str]] = []  # direction, head, body
    for part in parts:
        line, _, rest = part.partition("\n")
        if not blocks or blocks[-1][2] or blocks[-1][0] != line[0]:
            blocks.append((line[0], [], ""))
        direction, head, _ = blocks[-1]
        head.append(line[2:])
        if rest:
            blocks[-1] = (direction, head, rest)
    exchanges = [
        _exchange(*request[1:], *answer[1:])
        for request, answer in zip(blocks[::2], blocks[1::2], strict=True)
    ]
    return Case(path.parent.name, path.stem, said, tuple(exchanges))


def _exchange(
    sent: list[str], request_body: str, received: list[str], answer_body: str
) -> Exchange:
    body = _body(request_body)
    headers = _headers(sent[1:])
    if headers.get("content-type", "").startswith("multipart/"):
        body = body.replace("\n", "\r\n") + "\r\n"
    answer_headers = _headers(received[1:])
    answer = _body(answer_body)
    if answer_headers.get("content-type", "").startswith("text/event-stream"):
        answer += "\n\n"
    return Exchange(sent[0], headers, body, int(received[0]), answer_headers, answer)


def _body(text: str) -> str:
    """Return a body without the empty lines around it."""
    return text.strip("\n")


def _headers(lines: list[str]) -> dict[str, str]:
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
