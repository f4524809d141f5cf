from __future__ import annotations

import inspect
import pickle
from typing import Any, get_args

import attrs
import pytest

from imagesdk import events
from imagesdk.events import Event
from imagesdk.limiters.base import Reason

CLASSES = tuple(
    value
    for value in vars(events).values()
    if inspect.isclass(value) and issubclass(value, Event) and value is not Event
)

every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)

SAMPLES: dict[str, Any] = {
    "call": 1,
    "endpoint": "edits",
    "model": "gpt-image-2",
    "cost": 4,
    "position": 2,
    "wait": 30.5,
    "attempt": 1,
    "waited": 1.5,
    "number": 1,
    "outcome": "failed",
    "elapsed": 2.5,
    "status": 503,
    "request_id": "req_1",
    "may_be_billed": True,
    "error": "503",
    "delay": 0.4,
    "reason": "failed",
    "pause": 12.0,
    "retry_after": 11.5,
    "limit": 5.0,
    "message": "Rate limit reached",
    "index": 1,
    "size_bytes": 1_000_000,
    "images": 4,
    "attempts": 2,
    "input_images": 1,
    "size": "1024x1024",
    "quality": None,
    "server_address": "127.0.0.1",
    "server_port": 8000,
    "input_tokens": 20,
    "input_image_tokens": 4,
    "output_tokens": None,
}


def sample(cls: type[Event]) -> Event:
    return cls(**{field.name: SAMPLES[field.name] for field in attrs.fields(cls)})


def test_all_lists_every_event() -> None:
    """``__all__`` is sorted and names every event."""
    assert set(events.__all__) == {c.__name__ for c in CLASSES} | {"Event"}
    assert list(events.__all__) == sorted(events.__all__)


@every_class
def test_events_are_frozen_values(cls: type[Event]) -> None:
    """An event is a value: equal by its fields, hashable, unchangeable, and it pickles."""
    event = sample(cls)
    assert event == sample(cls)
    assert event != attrs.evolve(event, call=2)
    assert len({event, sample(cls)}) == 1
    assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.call = 2  # type: ignore[misc]


@every_class
def test_fields_are_keyword_only_and_required(cls: type[Event]) -> None:
    """Every field has to be given by name, so that none is forgotten and more can be added."""
    parameters = inspect.signature(cls).parameters.values()
    assert {p.kind for p in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    assert {p.default for p in parameters} == {inspect.Parameter.empty}


@every_class
def test_every_field_is_documented(cls: type[Event]) -> None:
    """Each field that an event adds is described in its docstring."""
    common = {a.name for a in attrs.fields(Event)}
    doc = inspect.getdoc(cls) or ""
    for field in attrs.fields(cls):
        assert field.name in common or f"    {field.name}:" in doc


def test_a_step_backwards_explains_itself() -> None:
    """A wait, a pause or a retry says by itself how long, why, and after which exchange."""
    needs = {
        events.Queued: {"position", "wait", "reason"},
        events.Admitted: {"attempt", "waited"},
        events.Throttled: {"attempt", "pause", "retry_after", "limit", "message", "request_id"},
        events.Retrying: {"attempt", "delay", "reason", "message", "request_id", "may_be_billed"},
    }
    for cls, names in needs.items():
        assert names <= {field.name for field in attrs.fields(cls)}


def test_every_reason_to_wait_is_explained() -> None:
    """The reasons for which the limiters let a call wait are those that the event explains."""
    explained = inspect.getdoc(events.Queued) or ""
    assert [reason for reason in get_args(Reason) if f'``"{reason}"``' not in explained] == []


@every_class
def test_events_hold_no_content(cls: type[Event]) -> None:
    """No event has a place for a prompt, an image, a key, a body or headers."""
    names = {a.name for a in attrs.fields(cls)}
    assert not names & {"prompt", "image", "key", "api_key", "body", "headers", "content", "url"}
    assert {"call", "endpoint", "model"} <= names


@every_class
def test_the_module_tells_the_order(cls: type[Event]) -> None:
    """The module's docstring places every event in the life of a call."""
    assert f"`{cls.__name__}`" in (events.__doc__ or "")
