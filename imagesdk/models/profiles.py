"""How servers want to be spoken to: the record of one server's habits, and how it is found.

Two axes: a `ModelFamily` says what a model takes, a `ServerProfile` how a server wants to be spoken to.
The family is found by the model's name, the profile by its own name or by the host of base_url:
nothing is ever probed. The servers that are known by name are in `imagesdk.models.servers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, cast

import attrs

from imagesdk.errors import ConfigurationError
from imagesdk.models.families import FAMILIES, NO_MODEL, UNKNOWN, ModelFamily
from imagesdk.models.requests import Endpoint

__all__ = ("ENDPOINTS", "ServerProfile", "bare_name", "family_of", "limit_group")

ENDPOINTS: tuple[Endpoint, ...] = ("generations", "edits", "variations")

_Validator: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HOST = re.compile(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:]+\]")
_PATH = re.compile(r"(?:[A-Za-z0-9._~%-]|\{model\})+(?:/(?:[A-Za-z0-9._~%-]|\{model\})+)*")
_RATIO = re.compile(r"\d+(\.\d+)?:\d+(\.\d+)?")
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def _refuse(attribute: attrs.Attribute[Any], value: object, limit: str) -> ConfigurationError:
    return ConfigurationError(f"ServerProfile: {attribute.name} is {value!r}; it must be {limit}")


def _text(pattern: re.Pattern[str], limit: str, *, optional: bool = False) -> _Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if optional and value is None:
            return
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise _refuse(attribute, value, limit)

    return check


def _each(pattern: re.Pattern[str], limit: str) -> _Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, str) or not all(
            isinstance(item, str) and pattern.fullmatch(item)
            for item in cast("tuple[object, ...]", value)
        ):
            raise _refuse(attribute, value, f"a tuple, each of it {limit}")

    return check


def _one_of(*choices: str) -> _Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in choices:
            raise _refuse(attribute, value, f"one of {', '.join(map(repr, choices))}")

    return check


def _mapping(
    of_key: Callable[[Any], bool], of_value: Callable[[Any], bool], limit: str
) -> _Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, Mapping) or not all(
            of_key(key) and of_value(item) for key, item in value.items()
        ):
            raise _refuse(attribute, value, limit)

    return check


def _number(*, whole: bool) -> _Validator:
    limit = "a whole number from 1 up, or None" if whole else "a number above 0, or None"

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        kinds = int if whole else int | float
        good = isinstance(value, kinds) and not isinstance(value, bool) and value > 0
        if value is not None and not good:
            raise _refuse(attribute, value, limit)

    return check


def _endpoints(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple) or not set(value) <= set(ENDPOINTS):
        raise _refuse(attribute, value, f"a tuple of some of {', '.join(map(repr, ENDPOINTS))}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_endpoint(value: object) -> bool:
    return value in ENDPOINTS


_WORD = _text(re.compile(r"[\w.\[\]-]+"), "the name of a field, such as 'image' or 'image[]'")
_WORD_OR_NONE = _text(re.compile(r"[\w.\[\]-]+"), "the name of a field, or None", optional=True)
_TEXTS = _mapping(_is_text, _is_text, "a mapping of str to str")


def _is_standard(profile: ServerProfile) -> bool:
    plain = profile.size_style == "size" and profile.response_formats is None
    return plain and not profile.defaults and not profile.rename


@attrs.frozen(kw_only=True)
class ServerProfile:
    """How one server, or one kind of server, wants to be spoken to.

    What is left out is as with the classic API. A known one with a little of it changed is
    ``attrs.evolve(ServerProfile.named("xai"), images_per_minute=60)``.

    Attributes:
        name: For messages; what ``ImageSession(server=…)`` takes, if it is a known one.
        source: Where the facts come from.
        hosts: Hosts of base_url that select a known profile; with a dot in front all hosts below.
        base_url: Where the server is, if neither base_url nor ``OPENAI_BASE_URL`` says so; None where
            that must be said.
        paths: Path of each endpoint that is served, below base_url. ``{model}`` stands for the model.
        query: Query of each request.
        auth_header: Header that carries the key.
        auth_scheme: Word before the key in that header, ``""`` for none.
        key_variable: Environment variable of the key, before ``OPENAI_API_KEY``; None for no other one.
        requires_model: True if the server answers no request without a model.
        default_family: What holds for a request without a model.
        family_by_name: False if a model's name says nothing here: default_family holds for all.
        max_n: Most images of one request, None for what the model allows; more are split.
        max_images: Most input images of an edit, None for what the model allows.
        size_style: How ``size`` is sent: ``"size"`` as it is, ``"width_height"`` as the two numbers width
            and height, ``"aspect_ratio"`` as the ratio of the two.
        aspect_ratios: The ratios that the server takes, such as ``"3:2"``; empty for any.
        response_formats: What ``"url"`` and ``"b64_json"`` are called here: those that are offered. None as
            a value: it need not be said. None for the whole: sent as it is.
        defaults: For each endpoint, fields that are sent if the request has none.
        rename: What the server calls fields: ``{"n": "batch_size"}``.
        edit_body: ``"multipart"``, or ``"json"`` with images as data URLs; then http(s) URLs and
            ``"file_id:…"`` are image inputs, too.
        image_field: Field of one input image.
        images_field: Field of several, None if there can be only one. In JSON a list, and so is that
            of one image if both names are the same.
        mask_field: Field of the mask, None if the server takes none of ours.
        mask_edits: Where a mask lets the image be edited: where it is ``"transparent"``, or ``"white"``.
        url_key: In JSON: key of the object that holds an image's URL, None for the URL alone.
        list_key: Where the list of images is in an answer.
        streams: Endpoints whose answers can be streamed.
        stream_events: ``"named"`` events as OpenAI sends them, or ``"answers"``: the completed image comes
            in an event that is a whole answer.
        images_per_minute: Default of the session's limiter, None for no limit.
        limits_each_family: True if models have rate limits of their own; those of one line share one.
        timeout: Default of the session's timeout in seconds, None for any time.
        gone: Endpoints and models that the server no longer has: what happened, and the way out.
        not_found: What to try when the server answers 404.
        notes: What else a user should know.
        is_standard: True if a request's fields need no translation.

    Raises:
        ConfigurationError: A value makes no sense; the message says which, and what is allowed.

    Example:
        >>> import asyncio
        >>> from imagesdk import ImageSession, ServerProfile
        >>> mine = ServerProfile(
        ...     name="my gateway",
        ...     paths={"generations": "images/generations"},  # no edits, no variations
        ...     query={"region": "eu"},
        ...     response_formats={"b64_json": "b64_json"},  # it sends no URLs,
        ...     defaults={"generations": {"response_format": "b64_json"}},  # and must be told so
        ...     max_n=4,  # more are split
        ...     images_per_minute=None,
        ... )
        >>> async def main():
        ...     async with ImageSession(server=mine, base_url=url, api_key=key) as images:
        ...         result = await images.generate("a white siamese cat", n=6, size="256x256")
        ...         return [image.mime_type for image in result.data]
        >>> asyncio.run(main()) == ["image/png"] * 6
        True
    """

    name: str = attrs.field(validator=_text(re.compile(r".*\S.*"), "some text"))
    source: str = ""
    hosts: tuple[str, ...] = attrs.field(
        default=(), validator=_each(_HOST, "a host in lower case, without a port")
    )
    base_url: str | None = attrs.field(
        default=None, validator=_text(re.compile(r"https?://\S+[^/\s]"), "a URL", optional=True)
    )
    paths: Mapping[Endpoint, str] = attrs.field(
        factory=lambda: {endpoint: f"images/{endpoint}" for endpoint in ENDPOINTS},
        validator=_mapping(
            _is_endpoint,
            lambda path: isinstance(path, str) and bool(_PATH.fullmatch(path)),
            "a mapping of 'generations', 'edits', 'variations' to paths without a slash in front or at "
            "the end; {model} is the only placeholder",
        ),
    )
    query: Mapping[str, str] = attrs.field(factory=dict, validator=_TEXTS)
    auth_header: str = attrs.field(
        default="Authorization", validator=_text(_TOKEN, "the name of a header")
    )
    auth_scheme: str = attrs.field(
        default="Bearer", validator=_text(re.compile(r"[!-~]*"), "a word, or ''")
    )
    key_variable: str | None = attrs.field(
        default=None,
        validator=_text(re.compile(r"[A-Za-z_]\w*"), "the name of a variable", optional=True),
    )
    requires_model: bool = False
    default_family: ModelFamily = NO_MODEL
    family_by_name: bool = True
    max_n: int | None = attrs.field(default=None, validator=_number(whole=True))
    max_images: int | None = attrs.field(default=None, validator=_number(whole=True))
    size_style: Literal["size", "width_height", "aspect_ratio"] = attrs.field(
        default="size", validator=_one_of("size", "width_height", "aspect_ratio")
    )
    aspect_ratios: tuple[str, ...] = attrs.field(
        default=(), validator=_each(_RATIO, "a ratio such as '3:2'")
    )
    response_formats: Mapping[str, str | None] | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(
            _mapping(
                _is_text,
                lambda name: name is None or _is_text(name),
                "a mapping of formats such as 'b64_json' to what the server calls them",
            )
        ),
    )
    defaults: Mapping[Endpoint, Mapping[str, Any]] = attrs.field(
        factory=dict,
        validator=_mapping(
            _is_endpoint,
            lambda fields: isinstance(fields, Mapping),
            "a mapping of 'generations', 'edits', 'variations' to fields",
        ),
    )
    rename: Mapping[str, str] = attrs.field(factory=dict, validator=_TEXTS)
    edit_body: Literal["multipart", "json"] = attrs.field(
        default="multipart", validator=_one_of("multipart", "json")
    )
    image_field: str = attrs.field(default="image", validator=_WORD)
    images_field: str | None = attrs.field(default="image[]", validator=_WORD_OR_NONE)
    mask_field: str | None = attrs.field(default="mask", validator=_WORD_OR_NONE)
    mask_edits: Literal["transparent", "white"] = attrs.field(
        default="transparent", validator=_one_of("transparent", "white")
    )
    url_key: str | None = attrs.field(default="image_url", validator=_WORD_OR_NONE)
    list_key: str = attrs.field(default="data", validator=_WORD)
    streams: tuple[Endpoint, ...] = attrs.field(
        default=("generations", "edits"), validator=_endpoints
    )
    stream_events: Literal["named", "answers"] = attrs.field(
        default="named", validator=_one_of("named", "answers")
    )
    images_per_minute: float | None = attrs.field(default=50.0, validator=_number(whole=False))
    limits_each_family: bool = False
    timeout: float | None = attrs.field(default=600.0, validator=_number(whole=False))
    gone: Mapping[str, str] = attrs.field(factory=dict, validator=_TEXTS)
    not_found: str = ""
    notes: str = ""
    is_standard: bool = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_is_standard, takes_self=True)
    )

    @classmethod
    def named(cls, name: str) -> ServerProfile:
        """Return the known profile called *name*, for example to change a little of it.

        Raises:
            ConfigurationError: There is none; the message lists those that exist.
        """
        from imagesdk.models.servers import profile_named  # it is made of these

        return profile_named(name)


def family_of(model: object, profile: ServerProfile) -> ModelFamily:
    """Return the family of *model* on a server: the profile's default for None.

    A prefix that gateways put before the name (``"openai/gpt-image-2"``) does not matter.
    """
    family = _family_of(model, profile)
    if profile.max_n is not None and profile.max_n < family.max_n:
        return attrs.evolve(family, max_n=profile.max_n)
    return family


def _family_of(model: object, profile: ServerProfile) -> ModelFamily:
    if model is None or not profile.family_by_name:
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


def bare_name(model: object) -> str:
    """Return a model's name without a gateway's prefix and the date of a snapshot."""
    return _SNAPSHOT.sub("", str(model).rpartition("/")[2])
