from __future__ import annotations

from typing import get_args

import pytest

from imagesdk.models import choices
from imagesdk.models.families import FAMILIES, UNKNOWN, Choice, ModelFamily
from imagesdk.models.profiles import family_of
from imagesdk.models.servers import profile_named

FIELDS = {
    "quality": choices.Quality,
    "background": choices.Background,
    "output_format": choices.OutputFormat,
    "response_format": choices.ResponseFormat,
    "style": choices.Style,
    "moderation": choices.Moderation,
    "input_fidelity": choices.InputFidelity,
    "complexity": choices.Complexity,
}


def offered(alias: object) -> list[str]:
    """Return the values that an editor offers."""
    literal, anything = get_args(alias)
    assert anything is str
    return list(get_args(literal))


def families() -> list[ModelFamily]:
    return [family for _, family in FAMILIES]


def test_all_lists_every_alias() -> None:
    """``__all__`` is what can be imported."""
    assert {alias for alias in vars(choices) if alias[0].isupper()} - {"Literal", "TypeAlias"} == {
        *choices.__all__
    }


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_offered_is_what_some_model_takes(field: str) -> None:
    """An editor offers the values of all families' rules, no more and no fewer, each once."""
    taken = {
        value
        for family in families()
        for params in (family.params or {}).values()
        if isinstance(rule := params.get(field), Choice)
        for value in rule.values
    }
    assert sorted(offered(FIELDS[field])) == sorted(taken)


def test_the_sizes_that_are_offered() -> None:
    """An editor offers the sizes that some family takes by name."""
    taken = {name for family in families() if family.size for name in family.size.names}
    assert sorted(offered(choices.Size)) == sorted(taken)


@pytest.mark.parametrize("model", offered(choices.Model))
def test_every_model_that_is_offered_is_known(model: str) -> None:
    """A model that an editor offers has rules of its own."""
    family = family_of(model, profile_named("openai"))
    assert family is not UNKNOWN
    assert family.params
