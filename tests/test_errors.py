from __future__ import annotations

import copy
import inspect
import pickle
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from imagesdk import errors
from imagesdk.errors import (
    APIError,
    Attempt,
    ConfigurationError,
    ImageSDKError,
    InvalidImageError,
    InvalidRequestError,
    LedgerError,
    ModerationError,
    PartialResultError,
    RequestTimeoutError,
    TransportError,
)

CLASSES = tuple(
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, ImageSDKError)
)

every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)

ATTEMPT = Attempt(
    number=2,
    outcome="failed",
    elapsed=1.5,
    status=503,
    request_id="req_1",
    error="503",
    may_be_billed=True,
)

# A value that is no default for each field of the tree.
SAMPLES: dict[str, Any] = {
    "message": "prompt has 1,001 characters",
    "status": 429,
    "error": {"message": "slow down", "code": "rate_limit_exceeded"},
    "request_id": "req_7",
    "attempts": (ATTEMPT,),
    "may_be_billed": True,
    "retry_after": 12.5,
    "field": "image[1]",
    "value": 1001,
    "limit": 1000,
    "problems": ("one", "two"),
    "phase": "receive",
    "body": b"<html>\x00\xff",
    "limit_bytes": 4096,
    "code": "rate_limit_exceeded",
    "type": "requests",
    "param": "n",
    "headers": {"retry-after": "12"},
    "categories": ("violence", "self-harm"),
    "stage": "output",
    "result": ["an image"],
    "partial": ["an image"],
    "errors": (ImageSDKError("a part failed", status=500),),
    "requested": 4,
    "url": "https://images.example/1.png",
    "expired_at": datetime(2026, 11, 20, 12, 0, tzinfo=UTC),
    "wait": 90.5,
    "max_wait": 30.0,
    "position": 17,
    "line": 3,
    "file": "jobs.jsonl",
}


def sample(cls: type[ImageSDKError]) -> ImageSDKError:
    return cls(**{field.name: SAMPLES[field.name] for field in attrs.fields(cls)})


def state(error: ImageSDKError) -> dict[str, Any]:
    """Return all fields, errors among them as (class, fields), which can be compared."""
    return {
        field.name: [(type(e), state(e)) for e in value] if field.name == "errors" else value
        for field in attrs.fields(type(error))
        for value in [getattr(error, field.name)]
    }


@every_class
def test_errors_pickle(cls: type[ImageSDKError]) -> None:
    """An error comes back from a pickle with its class, its fields, its notes and its text."""
    error = sample(cls)
    error.add_note("attempt 1: 503")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301
        assert type(back) is cls
        assert state(back) == state(error)
        assert back.__notes__ == ["attempt 1: 503"]
        assert (str(back), back.args) == (str(error), error.args)


@every_class
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_errors_copy(cls: type[ImageSDKError], duplicate: Any) -> None:
    """A copy of an error has its class, its fields and its notes."""
    error = sample(cls)
    error.add_note("attempt 1: 503")
    back = duplicate(error)
    assert type(back) is cls
    assert back is not error
    assert state(back) == state(error)
    assert back.__notes__ == error.__notes__


def test_subclasses_of_users_pickle() -> None:
    """A subclass that a user adds, without attrs, keeps its identity and its attributes in a pickle."""
    error = _TheirsError("mine", status=418)
    error.answer = 42
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(back) is _TheirsError
    assert (back.message, back.status, back.answer) == ("mine", 418, 42)


class _TheirsError(APIError):
    answer: int = 0


@every_class
def test_every_error_has_status_and_error(cls: type[ImageSDKError]) -> None:
    """Whatever is raised, ``except ImageSDKError as e: e.status, e.error`` works; both may be None."""
    with pytest.raises(ImageSDKError) as caught:
        raise cls("what was wrong")
    assert (caught.value.status, caught.value.error) == (None, None)
    with pytest.raises(ImageSDKError) as caught:
        raise cls("what was wrong", status=400, error={"code": "x"})
    assert (caught.value.status, caught.value.error) == (400, {"code": "x"})


@every_class
def test_the_text_is_the_message(cls: type[ImageSDKError]) -> None:
    """An error's text, only argument and message are the same, and its repr names its class."""
    error = cls("n is 0; it must be at least 1", status=400)
    assert str(error) == error.message == "n is 0; it must be at least 1"
    assert error.args == (error.message,)
    assert cls(message="by name").args == ("by name",)
    assert repr(error).startswith(f"{cls.__name__}(")
    assert "status=400" in repr(error)


@every_class
def test_only_the_message_is_positional(cls: type[ImageSDKError]) -> None:
    """All fields but the message are keyword-only, so that fields can be added."""
    kinds = [p.kind for p in inspect.signature(cls).parameters.values()]
    assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}


@every_class
def test_every_field_is_documented(cls: type[ImageSDKError]) -> None:
    """Each field that a class adds is described in its docstring."""
    inherited = {a.name for base in cls.__mro__[1:] if attrs.has(base) for a in attrs.fields(base)}
    doc = inspect.getdoc(cls) or ""
    for field in attrs.fields(cls):
        assert field.name in inherited or f"    {field.name}:" in doc


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (ConfigurationError, ValueError),
        (InvalidRequestError, ValueError),
        (InvalidImageError, ValueError),
        (RequestTimeoutError, TimeoutError),
        (RequestTimeoutError, OSError),
    ],
)
def test_builtin_parents(cls: type[ImageSDKError], builtin: type[Exception]) -> None:
    """Errors that Python has a word for can be caught by that word."""
    with pytest.raises(builtin, match=r"^why$"):
        raise cls("why")


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The tree that the module prints is the class hierarchy, builtin parents included, and complete."""
    doc = errors.__doc__ or ""
    block = doc.partition("The tree::\n\n")[2].partition("\n\n")[0]
    printed: dict[str, tuple[str | None, set[str]]] = {}
    above: list[tuple[int, str]] = []
    for line in block.splitlines():
        entry = line.split()[0]
        name, _, builtin = entry.rstrip(")").partition("(")
        indent = len(line) - len(line.lstrip())
        above = [(i, n) for i, n in above if i < indent]
        printed[name] = (above[-1][1] if above else None, {builtin} - {""})
        above.append((indent, name))

    real: dict[str, tuple[str | None, set[str]]] = {}
    for cls in CLASSES:
        ours = [b.__name__ for b in cls.__bases__ if issubclass(b, ImageSDKError)]
        others = {b.__name__ for b in cls.__bases__ if b.__module__ == "builtins"}
        real[cls.__name__] = (ours[0] if ours else None, others - {"Exception"})
    assert printed == real


def test_all_lists_every_class() -> None:
    """``__all__`` is sorted and names every error and `Attempt`."""
    assert set(errors.__all__) == {c.__name__ for c in CLASSES} | {"Attempt"}
    assert list(errors.__all__) == sorted(errors.__all__)


@pytest.mark.parametrize(
    ("error", "field", "default"),
    [
        (TransportError("x"), "phase", "connect"),
        (InvalidRequestError("x"), "problems", ()),
        (ModerationError("x"), "categories", ()),
        (PartialResultError("x"), "errors", ()),
        (LedgerError("x"), "line", None),
        (ImageSDKError("x"), "attempts", ()),
        (ImageSDKError("x"), "may_be_billed", False),
        (ImageSDKError("x"), "retry_after", None),
    ],
)
def test_defaults(error: ImageSDKError, field: str, default: object) -> None:
    """Fields that nobody filled have the empty value of their type."""
    assert getattr(error, field) == default


def test_default_headers_are_not_shared() -> None:
    """Two errors without headers do not share one dictionary."""
    assert APIError("a").headers == {}
    assert APIError("a").headers is not APIError("b").headers


def test_errors_compare_by_identity() -> None:
    """Two errors are the same only if they are one object, and an error can be put in a set."""
    one, other = ImageSDKError("x"), ImageSDKError("x")
    assert one != other
    assert len({one, other, one}) == 2


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("one line", "one line"),
        ("first\r\n  second\tthird\n\n", "first second third "),
        ("\x1b[31mred\x1b]0;title\x07\x9b2J", "�[31mred�]0;title��2J"),
        ("a\u2028b\0", "a b�"),
        ("naïve ネコ 🦊", "naïve ネコ 🦊"),
    ],
)
def test_a_message_is_one_line(said: str, message: str) -> None:
    """Whatever a server says moves no cursor, writes no second line into a log, and is readable."""
    error = ImageSDKError(said)
    assert str(error) == error.message == message
    assert error.args == (message,)
    assert str(pickle.loads(pickle.dumps(error))) == message  # noqa: S301


def test_the_cause_stays_chained() -> None:
    """An error that is raised from another one keeps it as its cause."""
    cause = TransportError("reset", phase="receive")
    with pytest.raises(ImageSDKError) as caught:
        raise errors.AmbiguousError("not known", may_be_billed=True) from cause
    assert caught.value.__cause__ is cause


def test_repr_holds_no_bodies() -> None:
    """What may be long (bodies, headers, results, attempts) is left out of the repr."""
    for cls in CLASSES:
        shown = repr(sample(cls))
        for hidden in ("body=", "headers=", "result=", "attempts="):
            assert hidden not in shown


def test_attempts_are_frozen_values() -> None:
    """An `Attempt` is a value: equal by its fields, hashable, unchangeable, and it pickles."""
    twin = attrs.evolve(ATTEMPT)
    assert twin == ATTEMPT
    assert hash(twin) == hash(ATTEMPT)
    assert pickle.loads(pickle.dumps(ATTEMPT)) == ATTEMPT  # noqa: S301
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ATTEMPT.number = 3  # type: ignore[misc]
    short = Attempt(number=1, outcome="ok", elapsed=0.1)
    assert (short.status, short.request_id, short.error, short.may_be_billed) == (
        None,
        None,
        None,
        False,
    )
