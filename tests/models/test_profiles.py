from __future__ import annotations

from typing import Any

import attrs
import pytest

from imagesdk.errors import ConfigurationError
from imagesdk.models.families import CLASSIC, UNKNOWN
from imagesdk.models.profiles import ENDPOINTS, ServerProfile, bare_name, family_of, limit_group
from imagesdk.models.servers import profile_named

OPENAI = profile_named("openai")
SERVER = profile_named("classic")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-image-1", "GPT Image 1"),
        ("gpt-image-1-mini", "GPT Image 1 mini"),
        ("gpt-image-1.5", "GPT Image 1.5"),
        ("gpt-image-2", "GPT Image 2"),
        ("gpt-image-2-2026-04-21", "GPT Image 2"),
        ("gpt-image-2.5-sunburst", "GPT Image 2.5"),
        ("gpt-image-2.5-sunburst-2026-09-08", "GPT Image 2.5"),
        ("gpt-image-2.5-flare", "GPT Image 2.5"),
        ("gpt-image-2.5-flare-2026-09-08", "GPT Image 2.5"),
        ("gpt-image-2.6-sunburst", "GPT Image 2.6"),
        ("gpt-image-2.6-flare", "GPT Image 2.6"),
        ("chatgpt-image-latest", "ChatGPT Image"),
        ("dall-e-2", "the classic Images API"),
        ("dall-e-3", "dall-e-3"),
        ("openai/gpt-image-2", "GPT Image 2"),
        ("azure/eastus/gpt-image-1-mini-2025-10-06", "GPT Image 1 mini"),
        ("gpt-image-3", "a GPT Image model that this version does not know"),
        ("gpt-image-3-2027-01-01", "a GPT Image model that this version does not know"),
        ("gpt-image-2.7-flare", "a GPT Image model that this version does not know"),
        ("gpt-image-20", "a GPT Image model that this version does not know"),
        ("dall-e-4", "a model that this version does not know"),
        ("dall-e-33", "a model that this version does not know"),
        ("my-gpt-image-2", "a model that this version does not know"),
        ("gpt-image-2/tuned", "a model that this version does not know"),
        ("flux-1-schnell", "a model that this version does not know"),
        ("", "a model that this version does not know"),
    ],
)
def test_family_of(model: str, name: str) -> None:
    """The family is found by the model's name, whatever date follows it or gateway stands before it."""
    assert family_of(model, OPENAI).name == name
    assert family_of(model, SERVER).name == name


def test_family_without_a_model() -> None:
    """Without a model the profile's default holds: classic, and nothing on OpenAI's own host."""
    assert family_of(None, SERVER) == attrs.evolve(
        CLASSIC, name="the classic Images API without model="
    )
    assert family_of(None, OPENAI) is UNKNOWN
    mine = ServerProfile(name="mine", source="me", default_family=UNKNOWN)
    assert family_of(None, mine) is UNKNOWN


@pytest.mark.parametrize(
    ("model", "group"),
    [
        ("gpt-image-1", "gpt-image"),
        ("gpt-image-2", "gpt-image"),
        ("gpt-image-2.5-flare-2026-09-08", "gpt-image"),
        ("gpt-image-3", "gpt-image"),
        ("openai/gpt-image-2", "gpt-image"),
        ("gpt-image-1-mini", "gpt-image-1-mini"),
        ("gpt-image-1-mini-2025-10-06", "gpt-image-1-mini"),
        ("chatgpt-image-latest", "chatgpt-image"),
        ("dall-e-3", "dall-e-3"),
        ("dall-e-2", "dall-e-2"),
        ("flux-1-schnell", "flux-1-schnell"),
        ("my-gpt-image-2", "my-gpt-image-2"),
        (7, "7"),
    ],
)
def test_what_is_limited_together(model: object, group: str) -> None:
    """Models of one line share a limit, whatever date or gateway; an unknown one has its own."""
    assert limit_group(model, OPENAI) == group


def test_what_is_limited_without_a_model() -> None:
    """Calls that name no model share the limit of the profile's default."""
    assert limit_group(None, SERVER) == limit_group(None, SERVER) == SERVER.default_family.name
    assert limit_group(None, OPENAI) == UNKNOWN.name


def test_who_limits_each_family() -> None:
    """OpenAI limits each family of models by itself; a classic server has one limit."""
    assert OPENAI.limits_each_family
    assert not SERVER.limits_each_family


def test_openai_requires_a_model() -> None:
    """OpenAI's own host answers no request without a model; classic servers do."""
    assert OPENAI.requires_model
    assert not SERVER.requires_model
    assert (OPENAI.images_per_minute, SERVER.images_per_minute) == (50.0, 50.0)


def test_a_server_with_a_lower_limit() -> None:
    """A server that takes fewer images than the model splits sooner; one that takes more does not."""
    four, many = (ServerProfile(name="s", max_n=n) for n in (4, 100))
    assert family_of("gpt-image-2", four).max_n == 4
    assert family_of("dall-e-3", four).max_n == 1
    assert family_of("gpt-image-2", many) is family_of("gpt-image-2", SERVER)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-image-2", "gpt-image-2"),
        ("openai/gpt-image-2-2026-04-21", "gpt-image-2"),
        ("gpt-image-1.5", "gpt-image-1.5"),
        (None, "None"),
    ],
)
def test_bare_name(model: object, name: str) -> None:
    """A gateway's prefix and a snapshot's date are no part of a model's name."""
    assert bare_name(model) == name


# Making one -----------------------------------------------------------------------------------


def test_what_is_left_out_is_the_classic_api() -> None:
    """A name is all that a profile needs: the rest is as with a classic server."""
    mine = ServerProfile(name="mine")
    assert mine.is_standard
    assert mine.paths == {e: f"images/{e}" for e in ENDPOINTS}
    assert attrs.evolve(SERVER, name="mine", source="", notes="") == mine


@pytest.mark.parametrize(
    "given",
    [
        {"size_style": "aspect_ratio"},
        {"response_formats": {}},
        {"defaults": {"edits": {"n": 1}}},
        {"rename": {"n": "count"}},
    ],
)
def test_what_needs_translation(given: dict[str, Any]) -> None:
    """A profile whose requests need a translation knows it once, also when it is changed."""
    assert not ServerProfile(name="mine", **given).is_standard
    assert not attrs.evolve(SERVER, **given).is_standard
    assert attrs.evolve(ServerProfile.named("xai"), size_style="size").is_standard


@pytest.mark.parametrize(
    ("given", "field", "limit"),
    [
        ({"name": " "}, "name", "some text"),
        ({"hosts": "api.x.ai"}, "hosts", "a tuple, each of it a host"),
        ({"hosts": ("https://api.x.ai",)}, "hosts", "a host in lower case, without a port"),
        ({"hosts": ("API.x.ai",)}, "hosts", "a host in lower case"),
        ({"base_url": "api.x.ai/v1"}, "base_url", "a URL"),
        ({"base_url": "https://api.x.ai/v1/"}, "base_url", "a URL"),
        ({"paths": {"generate": "x"}}, "paths", "'generations', 'edits', 'variations'"),
        ({"paths": {"edits": "/images/edits"}}, "paths", "without a slash in front"),
        ({"paths": {"edits": "images/edits/"}}, "paths", "or at the end"),
        ({"paths": {"edits": "a?b=c"}}, "paths", "paths"),
        ({"paths": {"edits": "{deployment}/edits"}}, "paths", "{model} is the only placeholder"),
        ({"paths": {"edits": 1}}, "paths", "paths"),
        ({"query": {"api-version": 1}}, "query", "a mapping of str to str"),
        ({"query": "a=b"}, "query", "a mapping of str to str"),
        ({"auth_header": "api key"}, "auth_header", "the name of a header"),
        ({"auth_header": ""}, "auth_header", "the name of a header"),
        ({"auth_scheme": "Bearer "}, "auth_scheme", "a word, or ''"),
        ({"key_variable": "MY KEY"}, "key_variable", "the name of a variable"),
        ({"max_n": 0}, "max_n", "a whole number from 1 up, or None"),
        ({"max_n": True}, "max_n", "a whole number from 1 up, or None"),
        ({"max_images": 1.5}, "max_images", "a whole number from 1 up, or None"),
        ({"size_style": "sizes"}, "size_style", "'size', 'width_height', 'aspect_ratio'"),
        ({"aspect_ratios": ("3x2",)}, "aspect_ratios", "a ratio such as '3:2'"),
        ({"response_formats": ("url",)}, "response_formats", "a mapping of formats"),
        ({"response_formats": {"url": 1}}, "response_formats", "a mapping of formats"),
        ({"defaults": {"images": {}}}, "defaults", "'generations', 'edits', 'variations'"),
        ({"defaults": {"edits": ["n"]}}, "defaults", "to fields"),
        ({"rename": {"n": ""}}, "rename", "a mapping of str to str"),
        ({"edit_body": "form"}, "edit_body", "one of 'multipart', 'json'"),
        ({"image_field": None}, "image_field", "the name of a field"),
        ({"images_field": "a b"}, "images_field", "the name of a field, or None"),
        ({"mask_edits": "black"}, "mask_edits", "one of 'transparent', 'white'"),
        ({"list_key": ""}, "list_key", "the name of a field"),
        ({"streams": ("edit",)}, "streams", "a tuple of some of 'generations'"),
        ({"streams": "edits"}, "streams", "a tuple of some of 'generations'"),
        ({"stream_events": "sse"}, "stream_events", "one of 'named', 'answers'"),
        ({"images_per_minute": 0}, "images_per_minute", "a number above 0, or None"),
        ({"timeout": -1.0}, "timeout", "a number above 0, or None"),
        ({"timeout": "60"}, "timeout", "a number above 0, or None"),
        ({"gone": ["dall-e-2"]}, "gone", "a mapping of str to str"),
    ],
)
def test_a_value_that_makes_no_sense(given: dict[str, Any], field: str, limit: str) -> None:
    """A profile with a mistake in it is refused when it is made: which field, what, and what instead."""
    with pytest.raises(ConfigurationError) as caught:
        ServerProfile(**({"name": "mine"} | given))
    message = str(caught.value)
    assert message.startswith(f"ServerProfile: {field} is {given[field]!r}; it must be ")
    assert limit in message
