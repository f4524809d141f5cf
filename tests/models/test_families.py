from __future__ import annotations

import attrs
import pytest

from imagesdk.models.families import (
    CLASSIC,
    FAMILIES as NAMED,
    UNKNOWN,
    Choice,
    IntRange,
    ModelFamily,
)
from imagesdk.models.profiles import family_of
from imagesdk.models.requests import EditRequest, GenerateRequest, VariationRequest
from imagesdk.models.servers import profile_named

OPENAI = profile_named("openai")
FAMILIES = tuple({f.name: f for _, f in NAMED}.values())

every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)


@every_family
def test_every_family_has_a_source(family: ModelFamily) -> None:
    """Limits come with a link to the page that they were read from."""
    assert family.source.startswith("https://")


def test_unknown_models_have_no_rules() -> None:
    """About a model that this version does not know the server decides."""
    left_open = ModelFamily(name=UNKNOWN.name, source=UNKNOWN.source)
    assert left_open == UNKNOWN
    newer = family_of("gpt-image-3", OPENAI)
    assert newer == ModelFamily(name=newer.name, source=newer.source, sends_response_format=False)


@every_family
def test_rules_are_about_fields_that_exist(family: ModelFamily) -> None:
    """A rule for a field that no request has would never be looked at."""
    requests = {
        "generations": GenerateRequest,
        "edits": EditRequest,
        "variations": VariationRequest,
    }
    for endpoint, rules in (family.params or {}).items():
        names = {a.name for a in attrs.fields(requests[endpoint])}
        assert set(rules) - names <= ({"safety_identifier"} if endpoint == "variations" else set())
        for rule in rules.values():
            match rule:
                case Choice(values):
                    assert values
                    assert len(set(values)) == len(values)
                case IntRange(low, high):
                    assert low < high


@pytest.mark.parametrize(
    ("model", "endpoints"),
    [
        ("dall-e-2", {"generations", "edits", "variations"}),
        ("dall-e-3", {"generations"}),
        ("gpt-image-1", {"generations", "edits"}),
        ("gpt-image-2.6-flare", {"generations", "edits"}),
    ],
)
def test_endpoints_of_a_family(model: str, endpoints: set[str]) -> None:
    """A family says which endpoints serve it: variations are the classic API's alone."""
    params = family_of(model, OPENAI).params
    assert params is not None
    assert set(params) == endpoints


def test_only_gpt_image_refuses_response_format() -> None:
    """The GPT Image line refuses response_format, known or not; the others take it."""
    refusing = {f.name for f in FAMILIES if not f.sends_response_format}
    assert refusing == {f.name for f in FAMILIES} - {CLASSIC.name, "dall-e-3"}
