from __future__ import annotations

import pytest

from imagesdk.emulator.rules import (
    Choice,
    Flag,
    Integer,
    Opaque,
    Rule,
    Size,
    Text,
    Upload,
    parse_size,
)


def _code(rule: Rule, value: object) -> str | None:
    refusal = rule.check("p", value)
    if refusal is None:
        return None
    assert (refusal.status, refusal.type, refusal.param) == (400, "invalid_request_error", "p")
    return refusal.code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "empty_string"),
        ("a", None),
        ("\N{CAT}" * 10, None),
        ("a" * 11, "string_above_max_length"),
        (1, "invalid_type"),
    ],
)
def test_text(value: object, code: str | None) -> None:
    """A text is counted in characters, its bounds included."""
    assert _code(Text(1, 10), value) == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, "integer_below_min_value"),
        (1, None),
        (10, None),
        (11, "integer_above_max_value"),
        (True, "invalid_type"),
        (2.0, "invalid_type"),
        ("2", "invalid_type"),
        ([2], "invalid_type"),
    ],
)
def test_integer(value: object, code: str | None) -> None:
    """An integer is an integer: no boolean, no 2.0, no text."""
    assert _code(Integer(1, 10), value) == code


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2), ("-3", -3), ("02", 2), ("2.0", "2.0"), (" 2", " 2"), ("", ""), ("²", "²")],
)
def test_integer_in_a_form(text: str, value: object) -> None:
    """Decimal digits in a form field are a number; everything else stays a text."""
    assert Integer(1).from_text(text) == value


def test_a_form_field_of_many_digits_is_harmless() -> None:
    """A number too long for Python to print is refused like any other text."""
    assert _code(Integer(1, 10), Integer(1, 10).from_text("9" * 5000)) == "invalid_type"


@pytest.mark.parametrize(
    ("value", "code"), [("a", None), ("A", "invalid_value"), (1, "invalid_type")]
)
def test_choice(value: object, code: str | None) -> None:
    """A choice is one of the list, letter for letter."""
    assert _code(Choice(("a", "b")), value) == code


def test_choice_names_what_is_supported() -> None:
    """The message lists the supported values as the server does."""
    refusal = Choice(("url", "b64_json")).check("response_format", "x")
    assert refusal is not None
    assert refusal.message == "Invalid value: 'x'. Supported values are: 'url' and 'b64_json'."


@pytest.mark.parametrize(("text", "code"), [("true", None), ("false", None), ("1", "invalid_type")])
def test_flag(text: str, code: str | None) -> None:
    """A flag in a form is spelled true or false."""
    assert _code(Flag(), Flag().from_text(text)) == code


def test_opaque_and_upload() -> None:
    """Objects, arrays and files cannot be spelled as a text."""
    assert _code(Opaque(list), []) is None
    assert _code(Opaque(list), Opaque(list).from_text("[]")) == "invalid_type"
    assert _code(Opaque(dict), []) == "invalid_type"
    assert _code(Upload(), Upload().from_text("x")) == "invalid_type"


@pytest.mark.parametrize(
    "value", ["auto", "1024x1024", "1536x864", "3840x2160", "2160x3840", "1024x640"]
)
def test_free_sizes_within_the_limits(value: str) -> None:
    """Free sizes reach from 655,360 to 8,294,400 pixels."""
    assert _code(Size(("auto", "1024x1024"), free=True), value) is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("1000x1024", "divisible by 16"),
        ("3856x1600", "longest edge"),
        ("2400x784", "aspect ratio"),
        ("1008x640", "below the current minimum"),
        ("3840x2176", "exceeds the current limit"),
    ],
)
def test_free_sizes_beyond_the_limits(value: str, problem: str) -> None:
    """Each limit of free sizes is enforced and named."""
    refusal = Size(("auto",), free=True).check("size", value)
    assert refusal is not None
    assert problem in refusal.message
    assert refusal.param == "size"


@pytest.mark.parametrize(
    "value", ["", "1024", "0x1024", "-16x16", "1024X1024", "1024x1024 ", "\uff19x\uff19", 1024]
)
def test_what_is_no_size(value: object) -> None:
    """Only WIDTHxHEIGHT in plain digits is a size."""
    assert _code(Size(("auto",), free=True), value) is not None


def test_named_sizes_only() -> None:
    """A family without free sizes takes the listed ones alone."""
    size = Size(("256x256",))
    assert _code(size, "256x256") is None
    assert _code(size, "1536x864") == "invalid_value"
    assert size.from_text("256x256") == "256x256"


def test_parse_size() -> None:
    """A size is read as width and height."""
    assert parse_size("1536x864") == (1536, 864)
    assert parse_size("auto") is None
