from __future__ import annotations

import pytest

from imagesdk.models import profiles
from imagesdk.models.families import CLASSIC, UNKNOWN
from imagesdk.models.profiles import (
    ServerProfile,
    family_of,
    limit_group,
    profile_for_host,
    profile_named,
)

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
    assert family_of(None, SERVER) is CLASSIC
    assert family_of(None, OPENAI) is UNKNOWN
    mine = ServerProfile(name="mine", source="me", default_family=UNKNOWN)
    assert family_of(None, mine) is UNKNOWN


def test_every_server_has_a_source() -> None:
    """So do the habits of a server."""
    assert all(p.source.startswith("https://") for p in profiles._PROFILES)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "openai"),
        ("127.0.0.1", "classic"),
        ("images.example", "classic"),
        ("api.openai.com.evil.example", "classic"),
        ("evil-api.openai.com", "classic"),
        ("", "classic"),
    ],
)
def test_profile_for_host(host: str, name: str) -> None:
    """The host alone picks the profile, and it has to be the whole host."""
    assert profile_for_host(host).name == name


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
    assert limit_group(None, SERVER) == limit_group(None, SERVER) == CLASSIC.name
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


def test_profile_named_lists_what_exists() -> None:
    """A name that does not exist is answered with those that do."""
    assert profile_named("openai").hosts == ("api.openai.com",)
    with pytest.raises(ValueError, match=r"server='opanai' .* 'openai', 'classic'"):
        profile_named("opanai")
