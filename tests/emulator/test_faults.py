from __future__ import annotations

import random
from typing import Any

import pytest

from imagesdk.emulator.faults import Fault, FaultPlan

IMAGES = "/v1/images/generations"


def plan(*faults: str) -> FaultPlan:
    return FaultPlan(random.Random(1), [Fault.read(fault) for fault in faults])  # noqa: S311


def effects(made: FaultPlan, path: str = IMAGES) -> dict[str, Any]:
    fault = made.take(path)
    return {} if fault is None else fault.effects()


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("fail=429 times=3 retry_after=2", {"fail": 429, "times": 3, "retry_after": 2.0}),
        ("stop=charge how=reset", {"stop": "charge", "how": "reset"}),
        ("fail=quota times=null", {"fail": "quota", "times": None}),
        ("expired", {"expired": True}),
        ("fail=429 retry_after=nan", {"fail": 429, "retry_after": "nan"}),
        ("fail=200 charge body=null", {"fail": 200, "charge": True, "body": None}),
        ("fail=502 body='<html> two words'", {"fail": 502, "body": "<html> two words"}),
        ('fail=400 headers=\'{"a": "b"}\'', {"fail": 400, "headers": {"a": "b"}}),
        (' {"latency": 0.5, "on": "/v1/files"}', {"latency": 0.5, "on": "/v1/files"}),
        ("latency=0", {"latency": 0.0}),
    ],
)
def test_a_text_spells_a_fault(text: str, fields: dict[str, Any]) -> None:
    """Pairs, words and JSON give the fault they name, which is written as the same JSON again."""
    fault = Fault.read(text)
    assert fault.to_json() == fields
    assert Fault.read(fault) == Fault.read(fields) == fault


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "nothing goes wrong: name what does"),
        ("times=2 charge", "nothing goes wrong"),
        ("fail=429 tims=2", "unknown field `tims`; a fault has times, skip"),
        ("stop=chrge", "'chrge' - at `.*`; stop can be head, half, upload, charge"),
        ("fail=quotta", "fail can be rate_limit, slow_down"),
        ("fail=600", "<= 599"),
        ("fail=429 times=0", ">= 1"),
        (
            "fail=429 on=image",
            r"Unexpected text - at `\$\.on`; on can be generations, edits, .* a path such as /",
        ),
        ("latency=-1", ">= 0"),
        ("latency=0.1 chance=1.5", "<= 1"),
        ("fail=500 how=end", "how=end goes with cut or events"),
        ("fail=500 body='", "No closing quotation"),
        ('{"fail": 500', "is no fault"),
        ({"latency": float("inf")}, "latency must be finite"),
        ({"latency": float("nan")}, ">= 0"),
        (
            {"fail": 500, "headers": {"a": "b\r\nc: d"}},
            r"no fault: Unexpected text - at .* one line, such",
        ),
        (
            {"fail": 500, "headers": {"a\n": "b"}},
            r"no fault: Unexpected text - at .* one line, such",
        ),
        ('{"body":' + "[" * 100_000, "is no fault"),
        ("fail=500 retry_after='a\nb'", "retry_after"),
        ({"fail": True}, "fail"),
        ([], "Expected `object`"),
    ],
)
def test_what_is_no_fault_is_refused_with_a_reason(given: Any, message: str) -> None:
    """The message names the field, what it got, and what it can be."""
    with pytest.raises(ValueError, match=message):
        Fault.read(given)


def test_counted_faults_come_one_after_the_other() -> None:
    """Each is used up before the next, one a request, and then nothing goes wrong."""
    made = plan("fail=500 times=2", "stop=upload")
    assert [effects(made) for _ in range(4)] == [
        {"fail": 500},
        {"fail": 500},
        {"stop": "upload"},
        {},
    ]
    assert made.pending() == []


def test_standing_faults_go_with_every_request() -> None:
    """They add up, the later holds over the earlier, and a counted one over both."""
    made = plan("latency=1 fail=500 times=null", "latency=2 times=null", "fail=429")
    assert effects(made) == {"latency": 2.0, "fail": 429}
    assert effects(made) == {"latency": 2.0, "fail": 500}


def test_some_requests_are_let_through_first() -> None:
    """``skip`` counts only the requests that the fault could meet."""
    made = plan("fail=500 skip=2 on=edits")
    assert [effects(made), effects(made, "/v1/images/edits")] == [{}, {}]
    assert made.pending()[0].skip == 1
    assert [effects(made, "/v1/images/edits") for _ in range(3)] == [{}, {"fail": 500}, {}]


def test_a_fault_that_waits_lets_the_next_one_go_first() -> None:
    """What does not meet a request leaves it to the faults after it."""
    made = plan("fail=500 on=edits", "fail=400")
    assert effects(made) == {"fail": 400}
    assert effects(made, "/v1/images/edits") == {"fail": 500}


@pytest.mark.parametrize(
    ("on", "met"),
    [
        ("images", {"/v1/images/generations", "/v1/images/edits", "/v1/images/variations"}),
        ("variations", {"/v1/images/variations"}),
        ("downloads", {"/v1/images/files/a.png"}),
        ("/v1/mod", {"/v1/models"}),
    ],
)
def test_a_fault_is_for_some_routes(on: str, met: set[str]) -> None:
    """``on`` names routes, or the beginning of a path."""
    paths = [f"/v1/images/{end}" for end in ("generations", "edits", "variations", "files/a.png")]
    fault = Fault.read({"fail": 500, "on": on})
    assert {path for path in [*paths, "/v1/models"] if fault.is_for(path)} == met
    everywhere = Fault.read("fail=500 on=all")
    assert all(everywhere.is_for(path) for path in [*paths, "/v1/models"])


def test_a_chance_meets_its_share_and_the_same_each_time() -> None:
    """Three of ten requests fail, and the same ones with the same seed."""
    first, again = (plan("fail=500 chance=0.3 times=null") for _ in range(2))
    drawn = [bool(effects(first)) for _ in range(1000)]
    assert drawn == [bool(effects(again)) for _ in range(1000)]
    assert sum(drawn) == pytest.approx(300, rel=0.15)


def test_a_plan_can_be_replaced() -> None:
    """Nothing of what was planned is left."""
    made = plan("fail=500")
    made.replace([Fault.read("fail=400")])
    assert effects(made) == {"fail": 400}


def test_the_effects_of_two_faults() -> None:
    """A body of null is an effect like any other."""
    over = Fault.read("fail=200 body=null").over(Fault.read("fail=500 code=x"))
    assert over.effects() == {"fail": 200, "body": None, "code": "x"}
    assert over.over(None) is over
