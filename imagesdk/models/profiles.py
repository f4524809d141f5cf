"""The habits of each server, as data with its source.

Two axes: a `ModelFamily` says what a model takes, a `ServerProfile` how a server wants to be spoken to.
The family is found by the model's name, the profile by the host of base_url: nothing is ever probed.
"""

from __future__ import annotations

import attrs

from imagesdk.models.families import CLASSIC, FAMILIES, UNKNOWN, ModelFamily

__all__ = ("ServerProfile", "family_of", "limit_group", "profile_for_host", "profile_named")


@attrs.frozen(kw_only=True)
class ServerProfile:
    """How one server, or one kind of server, wants to be spoken to.

    Attributes:
        name: What ``ImageSession(server=…)`` takes.
        source: Where the facts come from.
        hosts: Hosts of base_url that select this profile by themselves.
        images_per_minute: Default of the session's limiter, None for no limit.
        requires_model: True if the server answers no request without a model.
        limits_each_family: True if models have rate limits of their own; those of one line share one.
        default_family: What holds for a request without a model.
    """

    name: str
    source: str
    hosts: tuple[str, ...] = ()
    images_per_minute: float | None = 50.0
    requires_model: bool = False
    limits_each_family: bool = False
    default_family: ModelFamily = CLASSIC


_PROFILES = (
    ServerProfile(
        name="openai",
        source="https://platform.openai.com/docs/api-reference/images",
        hosts=("api.openai.com",),
        requires_model=True,
        # "Rate limit reached for gpt-image-2-codex (for limit gpt-image)": a line of models shares
        # one limit. https://platform.openai.com/docs/guides/rate-limits (read 2026-11-21)
        limits_each_family=True,
        default_family=UNKNOWN,
    ),
    # Servers of the classic contract: default rate limit 50 images a minute.
    # https://platform.openai.com/docs/guides/images (2023, read 2026-11-20)
    ServerProfile(name="classic", source="https://platform.openai.com/docs/guides/images"),
)


def profile_for_host(host: str) -> ServerProfile:
    """Return the profile of the server at *host*: ``"classic"`` for one that is not known."""
    for profile in _PROFILES:
        if host in profile.hosts:
            return profile
    return profile_named("classic")


def profile_named(name: str) -> ServerProfile:
    """Return the profile called *name*.

    Raises:
        ValueError: There is none; the message lists those that exist.
    """
    for profile in _PROFILES:
        if profile.name == name:
            return profile
    known = ", ".join(repr(p.name) for p in _PROFILES)
    raise ValueError(f"server={name!r} is not known; choose one of {known} or a ServerProfile")


def family_of(model: object, profile: ServerProfile) -> ModelFamily:
    """Return the family of *model* on a server: the profile's default for None.

    A prefix that gateways put before the name (``"openai/gpt-image-2"``) does not matter.
    """
    if model is None:
        return profile.default_family
    if not isinstance(model, str):
        return UNKNOWN  # `imagesdk.models.checks` says what is wrong with it
    name = model.rpartition("/")[2]
    for known, family in FAMILIES:
        if name == known or name.startswith(f"{known}-"):
            return family
    return UNKNOWN


def limit_group(model: object, profile: ServerProfile) -> str:
    """Return the name under which the server limits *model* together with others of its line.

    A model that is not known has a limit of its own.
    """
    if model is None:
        return profile.default_family.name
    name = str(model).rpartition("/")[2]
    for line in ("gpt-image-1-mini", "gpt-image", "chatgpt-image", "dall-e-3", "dall-e-2"):
        if name == line or name.startswith(f"{line}-"):
            return line
    return name
