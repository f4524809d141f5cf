from __future__ import annotations

import msgspec
import pytest

from imagesdk.emulator import refusals


def test_envelope() -> None:
    """Every refusal has the four members of the API's error object."""
    assert refusals.missing_parameter("prompt").envelope() == {
        "error": {
            "message": "Missing required parameter: 'prompt'.",
            "type": "invalid_request_error",
            "param": "prompt",
            "code": "missing_required_parameter",
        }
    }


def test_any_text_can_be_encoded() -> None:
    """Lone surrogates, which headers and paths may carry, do not break the answer."""
    refusal = refusals.unknown_parameter("\udcff")
    assert msgspec.json.decode(msgspec.json.encode(refusal.envelope()))["error"]["param"] == "?"


@pytest.mark.parametrize(
    ("key", "shown"),
    [("sk-wrong-key-1234", "sk-wr***1234"), ("short", "***"), ("123456789012", "***")],
)
def test_keys_are_masked(key: str, shown: str) -> None:
    """A refused key is never repeated whole."""
    refusal = refusals.key_wrong(key)
    assert refusal.message.startswith(f"Incorrect API key provided: {shown}. ")
    assert key not in refusal.message


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        (("a",), "Supported value is: 'a'."),
        (("a", "b"), "Supported values are: 'a' and 'b'."),
        (("a", "b", "c"), "Supported values are: 'a', 'b', and 'c'."),
    ],
)
def test_lists_of_values(values: tuple[str, ...], listed: str) -> None:
    """Supported values are listed as the server lists them."""
    assert refusals.unsupported_value("p", "x", values).message.endswith(listed)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "a boolean"),
        (1, "an integer"),
        (1.5, "a decimal number"),
        ("x", "a string"),
        ([], "an array"),
        ({}, "an object"),
        (None, "null"),
        (b"", "a file"),
    ],
)
def test_types_are_named(value: object, kind: str) -> None:
    """The wrong type is named in the server's words."""
    assert f"but got {kind} instead" in refusals.invalid_type("p", "x", value).message


def test_rate_limit_texts() -> None:
    """Both forms of the 429 read as in the quoted logs."""
    assert refusals.limit_reached_classic(50, 50, 1).message.startswith(
        "Rate limit exceeded for images per minute in organization org-emulator. "
        "Limit: 50/1min. Current: 51/1min. Please visit https://"
    )
    gpt = refusals.limit_reached_gpt("gpt-image-2", 50, 50, 1, "12s").message
    assert gpt.startswith(
        "Rate limit reached for gpt-image-2 (for limit gpt-image) in organization org-emulator "
        "on images per min: Limit 50, Used 50, Requested 1. Please try again in 12s. "
    )
    assert "try again" not in refusals.limit_reached_gpt("gpt-image-2", 5, 0, 10, None).message
