"""Rules for single parameters: what one value may be, and how a form field spells it."""

from __future__ import annotations

import re
from typing import Protocol

import attrs

from imagesdk.emulator.refusals import (
    Refusal,
    above_maximum,
    below_minimum,
    invalid_type,
    invalid_value,
    string_too_long,
    unsupported_value,
)

__all__ = ("Choice", "Flag", "Integer", "Opaque", "Rule", "Size", "Text", "Upload", "parse_size")

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_SIZE = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")


class Rule(Protocol):
    """What one parameter may be."""

    def from_text(self, text: str) -> object:
        """Return the value that a form field spells; a text that spells none stays a text."""
        ...

    def check(self, name: str, value: object) -> Refusal | None:
        """Refuse *value*, or return None. A null never gets here: it means "not given"."""
        ...


@attrs.frozen
class Text:
    """A string of *minimum* to *maximum* characters."""

    minimum: int = 0
    maximum: int | None = None

    def from_text(self, text: str) -> object:
        """Return the text."""
        return text

    def check(self, name: str, value: object) -> Refusal | None:
        """Refuse what is no string, too short or too long."""
        if not isinstance(value, str):
            return invalid_type(name, "a string", value)
        if len(value) < self.minimum:
            return Refusal(
                message=(
                    f"Invalid '{name}': empty string. Expected a string with minimum length "
                    f"{self.minimum}, but got an empty string instead."
                ),
                param=name,
                code="empty_string",
            )
        if self.maximum is not None and len(value) > self.maximum:
            return string_too_long(name, self.maximum, len(value))
        return None


@attrs.frozen
class Integer:
    """A whole number from *minimum* to *maximum*."""

    minimum: int
    maximum: int | None = None

    def from_text(self, text: str) -> object:
        """Return the number that decimal digits spell."""
        return int(text) if _INTEGER.fullmatch(text) else text

    def check(self, name: str, value: object) -> Refusal | None:
        """Refuse what is no integer, too small or too large."""
        if not isinstance(value, int) or isinstance(value, bool):
            return invalid_type(name, "an integer", value)
        if value < self.minimum:
            return below_minimum(name, self.minimum, value)
        if self.maximum is not None and value > self.maximum:
            return above_maximum(name, self.maximum, value)
        return None


@attrs.frozen
class Choice:
    """One string of a list."""

    values: tuple[str, ...]

    def from_text(self, text: str) -> object:
        """Return the text."""
        return text

    def check(self, name: str, value: object) -> Refusal | None:
        """Refuse what is no string or not in the list."""
        if not isinstance(value, str):
            return invalid_type(name, "a string", value)
        return None if value in self.values else unsupported_value(name, value, self.values)


@attrs.frozen
class Flag:
    """True or false."""

    def from_text(self, text: str) -> object:
        """Return the truth value that "true" or "false" spells."""
        return {"true": True, "false": False}.get(text, text)

    def check(self, name: str, value: object) -> Refusal | None:
        """Refuse what is no boolean."""
        return None if isinstance(value, bool) else invalid_type(name, "a boolean", value)


@attrs.frozen
class Opaque:
    """An object or array that somebody else looks into."""

    kind: type[list[object] | dict[str, object]]

    def from_text(self, text: str) -> object:
        """Return the text, which is then refused."""
        return text

    def check(self, name: str, value: object) -> Refusal | None:
        """Refuse a value of another JSON type."""
        if isinstance(value, self.kind):
            return None
        return invalid_type(name, "an array" if self.kind is list else "an object", value)


@attrs.frozen
class Upload:
    """One uploaded file, or several in fields named ``name[]`` if *several* is set."""

    several: bool = False

    def from_text(self, text: str) -> object:
        """Return the text, which is then refused."""
        return text

    def check(self, name: str, value: object) -> Refusal | None:
        """Refuse every value: files travel apart from the values."""
        return invalid_type(name, "a file", value)


@attrs.frozen
class Size:
    """A size from a list or, if *free*, any size within the pixel and edge limits."""

    # shared/reference/images-api.md section 3.2, read 2026-11-20: W and H divisible by 16, ratio
    # 1:3 to 3:1, longest edge 3840, 655,360 to 8,294,400 pixels
    named: tuple[str, ...]
    free: bool = False

    def from_text(self, text: str) -> object:
        """Return the text."""
        return text

    def check(self, name: str, value: object) -> Refusal | None:
        """Refuse what is no string, not in the list or outside the limits."""
        if not isinstance(value, str):
            return invalid_type(name, "a string", value)
        if value in self.named:
            return None
        size = parse_size(value)
        if not self.free or size is None:
            return unsupported_value(name, value, self.named)
        problem = _size_problem(*size)
        return invalid_value(name, f"Invalid size '{value}'. {problem}") if problem else None


def parse_size(text: str) -> tuple[int, int] | None:
    """Return width and height of ``WxH``, or None if *text* is not of that form."""
    match = _SIZE.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def _size_problem(width: int, height: int) -> str | None:
    """Say which limit a free size breaks, or return None."""
    if width % 16 or height % 16:
        return "Width and height must both be divisible by 16."
    if max(width, height) > 3840:
        return "The longest edge must be at most 3840 pixels."
    if max(width, height) > 3 * min(width, height):
        return "The aspect ratio must be between 1:3 and 3:1."
    pixels = width * height
    if pixels < 655_360:
        return f"Requested resolution is below the current minimum of 655360 pixels: {pixels}."
    if pixels > 8_294_400:
        return f"Requested resolution exceeds the current limit of 8294400 pixels: {pixels}."
    return None
