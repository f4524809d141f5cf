"""Faults on demand: what goes wrong with which request, as values, and the order they come in. Pure.

A `Fault` is a JSON object or a text that spells one, such as ``fail=429 times=3 retry_after=2``: the
command line, the header ``x-emulator-fault`` and ``POST /_emulator/faults`` take both. One fault can
hold several things that go wrong with the same request.

Faults with a number of ``times`` are used up one after the other, one a request, in the order they
were given; those without (``times=null``) go with every request beside them. Where two faults want
different things of one request, the counted one holds, and of two without a number the later. A
request that asks for a fault in its own header gets that one alone, and uses none up.
"""

from __future__ import annotations

import math
import random
import re
import shlex
import threading
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta

from imagesdk.emulator.failures import FailureName

__all__ = ("Ending", "Fault", "FaultPlan", "File", "Stage")

Stage = Literal["head", "half", "upload", "charge"]
Ending = Literal["close", "reset", "hang", "end", "error"]
File = Literal["png", "jpeg", "webp", "gif", "html", "half", "empty"]

_PATTERN = re.compile(r"Expected `str` matching regex '.*'(?= - at )", re.DOTALL)
"""What msgspec says to those who read such expressions."""
_Count = Annotated[int, Meta(ge=0)]
_Seconds = Annotated[float, Meta(ge=0)]
_Text = Annotated[str, Meta(max_length=65_536)]
_HeaderText = Annotated[str, Meta(pattern=r"^[^\r\n\0]*\Z", max_length=8_192)]

_IMAGES = "/v1/images/"
_ROUTES: Mapping[str, tuple[str, ...]] = {
    **{name: (_IMAGES + name,) for name in ("generations", "edits", "variations")},
    "images": tuple(_IMAGES + name for name in ("generations", "edits", "variations")),
    "downloads": (_IMAGES + "files/",),
    "all": ("/",),
}
_SELECTION = ("times", "skip", "chance", "on")


class Fault(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What goes wrong with a request. What is None does not.

    Made by `read`, which checks it.

    Attributes:
        times: With how many requests, 1 or more; None for every one until the next reset.
        skip: How many requests that it would meet are let through first.
        chance: With which share of the requests, above 0 and up to 1; drawn from the server's seed.
        on: ``images`` for the three image routes, ``generations``, ``edits``, ``variations``,
            ``downloads`` for pictures at URLs, ``all``, or the beginning of a path.
        latency: Seconds that pass before the work begins.
        stop: The connection ends without an answer: at the ``head`` of the request, when ``half``
            of the upload is read, after the ``upload``, or after the ``charge``: the images were
            made and billed.
        cut: The body of the answer ends after so many bytes.
        events: A stream ends after so many events. Its image is billed all the same.
        how: How *stop*, *cut* and *events* end it: ``close`` the connection (if None), ``reset``
            it, or ``hang`` until the client or the server leaves. *cut* and *events* can also
            ``end`` the answer as if it were whole, and *events* can end with an ``error`` event.
        fail: Answer with a status from 200 to 599, or with a failure by its name.
        charge: Whether the images are made and billed before *fail* answers.
        retry_after: ``Retry-After`` of the answer: seconds, or any text as it is.
        message: Message of the failure.
        code: Code of the failure.
        body: Body of the failure: a text as it is, anything else as JSON.
        headers: Further headers of the answer, whether it is a failure or not.
        images: The answer holds so many images, however many were asked for and billed.
        file: What the files of the answer are, whatever it says they are: ``html`` is a page,
            ``half`` the first half of the right file, ``empty`` no byte.
        bad_base64: Number of the image, from 0, whose base64 is broken.
        expired: Whether the URLs in the answer have expired before it arrives.
        bytes_per_second: The body of the answer drips as slowly as this.
    """

    times: Annotated[int, Meta(ge=1)] | None = 1
    skip: _Count = 0
    chance: Annotated[float, Meta(gt=0, le=1)] = 1.0
    on: Annotated[str, Meta(pattern=f"^({'|'.join(_ROUTES)})$|^/")] = "images"
    latency: _Seconds | None = None
    stop: Stage | None = None
    cut: _Count | None = None
    events: _Count | None = None
    how: Ending | None = None
    fail: Annotated[int, Meta(ge=200, le=599)] | FailureName | None = None
    charge: bool | None = None
    retry_after: float | _HeaderText | None = None
    message: _Text | None = None
    code: _Text | None = None
    body: Any = UNSET
    headers: Mapping[_HeaderText, _HeaderText] | None = None
    images: _Count | None = None
    file: File | None = None
    bad_base64: _Count | None = None
    expired: bool | None = None
    bytes_per_second: Annotated[float, Meta(gt=0)] | None = None

    @classmethod
    def read(cls, given: Fault | str | Mapping[str, Any]) -> Fault:
        """Return the fault that a text or a JSON object spells.

        Args:
            given: Fields by name; or ``name=value`` pairs between spaces, where a value is JSON or
                a plain text, in quotes if it has spaces, and a name alone is true.

        Raises:
            ValueError: It spells none; the message says why.
        """
        if isinstance(given, str):
            given = _read_text(given)
        elif isinstance(given, Fault):
            given = given.to_json()
        try:
            fault = msgspec.convert(given, cls)
        except msgspec.ValidationError as error:
            raise ValueError(_explain(error)) from None
        _check(fault.effects())
        return fault

    def to_json(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    @property
    def spoils_body(self) -> bool:
        """Whether the body of an answer arrives slowly, or not as a whole."""
        return self.cut is not None or self.bytes_per_second is not None

    def is_for(self, path: str) -> bool:
        """Return whether this fault can meet a request to *path*."""
        return path.startswith(_ROUTES.get(self.on, (self.on,)))

    def over(self, other: Fault | None) -> Fault:
        """Return a fault with the effects of both; where they differ, those of *self*."""
        return self if other is None else msgspec.structs.replace(other, **self.effects())

    def effects(self) -> dict[str, Any]:
        """Return the fields that say what goes wrong."""
        return {name: v for name, v in self.to_json().items() if name not in _SELECTION}


def _check(effects: Mapping[str, Any]) -> None:
    """Refuse what goes wrong in no way, or in a way that it cannot."""
    for name, value in effects.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"a fault's {name} must be finite: {value}")
    if not effects.keys() - {"how", "charge"}:
        raise ValueError(
            "nothing goes wrong: name what does, such as fail=429, latency=0.2 or stop=charge"
        )
    if effects.get("how") in {"end", "error"} and not effects.keys() & {"cut", "events"}:
        raise ValueError(f"how={effects['how']} goes with cut or events, and there is neither")


def _read_text(text: str) -> dict[str, Any]:
    """Return the pairs of a text, or the object that it is."""
    if text.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"{text!r} is no fault: {error}") from None
    try:
        pairs = [word.partition("=") for word in shlex.split(text)]
    except ValueError as error:
        raise ValueError(f"{text!r} is no fault: {error}") from None
    return {name: _read_value(value) if equals else True for name, equals, value in pairs}


def _read_value(text: str) -> Any:  # noqa: ANN401  # any JSON value
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _explain(error: msgspec.ValidationError) -> str:
    """Return the words of an error, and what the field at fault can be if it is a choice."""
    choices: Mapping[str, Any] = {"stop": Stage, "how": Ending, "file": File, "fail": FailureName}
    at_fault = str(error).rpartition("$.")[2].rstrip("`")
    text = f"that is no fault: {_PATTERN.sub('Unexpected text', str(error))}"
    if at_fault in choices:
        text += f"; {at_fault} can be {', '.join(get_args(choices[at_fault]))}"
    elif at_fault == "on":
        text += f"; on can be {', '.join(_ROUTES)}, or the beginning of a path such as /v1/models"
    elif at_fault.startswith("headers"):
        text += (
            '; names and values are texts in one line, such as {"x-ratelimit-limit-images": "5"}'
        )
    elif "unknown field" in text:
        text += f"; a fault has {', '.join(Fault.__struct_fields__)}"
    return text


class FaultPlan:
    """The faults that are still to come. Any thread may call it.

    Args:
        rng: Decides about chances.
        faults: Faults to begin with.
    """

    def __init__(self, rng: random.Random, faults: Iterable[Fault] = ()) -> None:
        self._rng = rng
        self._lock = threading.Lock()
        self._entries = list(faults)

    def add(self, fault: Fault) -> None:
        """Plan *fault*, after those that are there."""
        with self._lock:
            self._entries.append(fault)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Plan *faults* and nothing else."""
        with self._lock:
            self._entries = list(faults)

    def pending(self) -> list[Fault]:
        """Return the faults to come, with the ``times`` and ``skip`` that are left."""
        with self._lock:
            return list(self._entries)

    def take(self, path: str) -> Fault | None:
        """Return what goes wrong with a request to *path*, and count it."""
        with self._lock:
            standing: Fault | None = None
            counted: Fault | None = None
            entries, self._entries = self._entries, []
            for fault in entries:
                left: Fault | None = fault
                if not fault.is_for(path) or (counted is not None and fault.times is not None):
                    pass
                elif fault.skip:
                    left = msgspec.structs.replace(fault, skip=fault.skip - 1)
                elif fault.chance < 1 and self._rng.random() >= fault.chance:
                    pass
                elif fault.times is None:
                    standing = fault.over(standing)
                else:
                    counted = fault
                    times = fault.times - 1
                    left = msgspec.structs.replace(fault, times=times) if times else None
                if left is not None:
                    self._entries.append(left)
        return standing if counted is None else counted.over(standing)
