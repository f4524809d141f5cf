from __future__ import annotations

import re
from pathlib import Path

import pytest

from imagesdk.models.families import CLASSIC
from imagesdk.models.profiles import ServerProfile, family_of
from imagesdk.models.servers import PROFILES, profile_for_host, profile_named, why_not_found

every_server = pytest.mark.parametrize("profile", PROFILES, ids=lambda p: p.name)
LOCAL = {"localai", "stable-diffusion.cpp", "sglang", "vllm-omni", "xinference"}
DOCS = Path(__file__).parents[2] / "docs" / "servers.md"


@every_server
def test_every_server_has_a_source(profile: ServerProfile) -> None:
    """The habits of a server come with a link to where they were read, and are explained."""
    assert profile.source.startswith("https://")
    assert profile.notes.endswith((".", "extra_body."))


def test_names_and_hosts_are_unique() -> None:
    """No two profiles can be meant by one name or one host."""
    names = [p.name for p in PROFILES]
    hosts = [host for p in PROFILES for host in p.hosts]
    assert len(set(names)) == len(names)
    assert len(set(hosts)) == len(hosts)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "openai"),
        ("127.0.0.1", "classic"),
        ("images.example", "classic"),
        ("api.openai.com.evil.example", "classic"),
        ("evil-api.openai.com", "classic"),
        ("", "classic"),
        ("my-resource.openai.azure.com", "azure"),
        ("my-resource.services.ai.azure.com", "azure"),
        ("openai.azure.com", "classic"),
        ("evilopenai.azure.com", "classic"),
        ("api.x.ai", "xai"),
        ("api.together.xyz", "together"),
        ("api.siliconflow.cn", "siliconflow"),
    ],
)
def test_profile_for_host(host: str, name: str) -> None:
    """The host alone picks the profile: the whole of it, or all below a domain."""
    assert profile_for_host(host).name == name


def test_profile_named_lists_what_exists() -> None:
    """A name that does not exist is answered with those that do."""
    assert profile_named("openai").hosts == ("api.openai.com",)
    assert ServerProfile.named("xai") is profile_named("xai")
    with pytest.raises(ValueError, match=r"server='opanai' .* 'openai', .* 'classic'"):
        profile_named("opanai")


@every_server
def test_limits_and_timeouts(profile: ServerProfile) -> None:
    """Servers of one's own have no limit and more time: they load models, and bill nothing."""
    assert (profile.images_per_minute is None) is (profile.name in LOCAL)
    assert profile.timeout == (3600.0 if profile.name in LOCAL else 600.0)


@every_server
def test_models_of_other_servers_are_not_taken_for_openais(profile: ServerProfile) -> None:
    """A model called dall-e-2 on a server of one's own is whatever its owner made of it."""
    assert (family_of("dall-e-2", profile) is CLASSIC) is profile.family_by_name
    if not profile.family_by_name:
        assert family_of("dall-e-2", profile).max_n == (profile.max_n or 10)
        assert family_of(7, profile).name == profile.default_family.name


@pytest.mark.parametrize(
    ("server", "endpoint", "model", "silent", "said"),
    [
        ("classic", "variations", None, True, "OpenAI shut dall-e-2 down on 2026-05-12"),
        ("classic", "variations", "m", False, ""),
        ("classic", "generations", "dall-e-3", False, "dall-e-3: OpenAI shut it down"),
        ("litellm", "edits", "openai/gpt-image-1", False, "gpt-image-1: OpenAI shut it down"),
        (
            "openai",
            "edits",
            "gpt-image-1.5-2025-12-16",
            False,
            "announced to shut it down on 2026-12",
        ),
        ("openai", "edits", "gpt-image-2", False, ""),
        ("azure", "generations", "d", False, "model= is the name of your deployment"),
        ("azure", "generations", "dall-e-3", False, "dall-e-3: OpenAI shut it down"),
        ("localai", "generations", "dall-e-3", False, ""),
        ("xinference", "variations", None, True, ""),
    ],
)
def test_why_something_is_not_found(
    server: str,
    endpoint: str,
    model: str | None,
    silent: bool,  # noqa: FBT001
    said: str,
) -> None:
    """What OpenAI no longer serves is named where the server may be OpenAI's, and nowhere else."""
    why = why_not_found(endpoint, model, profile_named(server), silent=silent)  # type: ignore[arg-type]
    assert (said in why) if said else why == ""


# docs/servers.md ------------------------------------------------------------------------------


def row(profile: ServerProfile) -> str:
    """Return the row of the table in docs/servers.md that a profile makes."""
    served = ", ".join(profile.paths)
    images = profile.image_field
    if profile.images_field not in (None, profile.image_field):
        images = f"{images} / {profile.images_field}"
    edits = "-"
    if "edits" in profile.paths:
        kind = "" if profile.mask_edits == "transparent" else " (white is edited)"
        mask = f", {profile.mask_field}{kind}" if profile.mask_field else ", no mask"
        kind = "JSON" if profile.edit_body == "json" else "form"
        edits = f"{kind}: `{images}`{mask}"
    formats = "as asked"
    if profile.response_formats is not None:
        formats = ", ".join(
            name if sent in (name, None) else f"{name} (`{sent}`)"
            for name, sent in profile.response_formats.items()
        )
    size = {"size": "size", "width_height": "width, height", "aspect_ratio": "aspect_ratio"}
    sizes = profile.rename.get("size", size[profile.size_style])
    streams = ", ".join(profile.streams) or "-"
    limit = "off" if profile.images_per_minute is None else f"{profile.images_per_minute:g}"
    most = f"{min(profile.max_n or 10, profile.default_family.max_n)}"
    return (
        f"| [`{profile.name}`]({profile.source}) | {served} | {edits} | {sizes} | {formats} | {most} | "
        f"{streams} | {limit}, {profile.timeout:g} s | {profile.notes} |"
    )


@every_server
def test_the_table_is_what_the_profiles_say(profile: ServerProfile) -> None:
    """docs/servers.md has one row a server, made of its profile."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    assert row(profile) in lines


def test_the_table_has_no_other_rows() -> None:
    """A server that is no longer known is not in the table."""
    rows = re.findall(r"(?m)^\| \[`([^`]+)`\]", DOCS.read_text(encoding="utf-8"))
    assert rows == [profile.name for profile in PROFILES]
