"""Read a session's settings: arguments first, then the environment.

The only module that reads environment variables, with the names that the official SDK uses:
``OPENAI_API_KEY``, ``OPENAI_BASE_URL``, ``OPENAI_ORG_ID``, ``OPENAI_PROJECT_ID``.
https://github.com/openai/openai-python (read 2026-11-20). Before ``OPENAI_API_KEY`` comes the variable that a
server's own SDK reads, where its profile names one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NoReturn, SupportsIndex
from urllib.parse import quote, urlencode, urlsplit

import attrs

from imagesdk.errors import ConfigurationError
from imagesdk.limiters.base import Limiter
from imagesdk.limiters.local import ImageLimiter
from imagesdk.limiters.unlimited import NoLimiter
from imagesdk.models.profiles import ServerProfile
from imagesdk.models.requests import ImageRequest
from imagesdk.models.servers import profile_for_host, profile_named
from imagesdk.retry import RetryPolicy
from imagesdk.transport.base import Transport

if TYPE_CHECKING:
    import aiohttp

    from imagesdk.limiters._redis import RedisLimiter

__all__ = (
    "DEFAULT_BASE_URL",
    "FIRST_GUESS",
    "Endpoint",
    "Hidden",
    "HiddenText",
    "Setting",
    "check_extra_headers",
    "choose_limiter",
    "choose_policy",
    "choose_profile",
    "choose_transport",
    "hide_key",
    "origin_of",
    "read_endpoint",
    "read_settings",
    "seconds",
    "shared_limiter",
)

DEFAULT_BASE_URL = "https://api.openai.com/v1"
FIRST_GUESS = 50.0
"""Images a minute with which "auto" begins where the server has no default."""
_VARIABLES = {
    "api_key": "OPENAI_API_KEY",
    "base_url": "OPENAI_BASE_URL",
    "organization": "OPENAI_ORG_ID",
    "project": "OPENAI_PROJECT_ID",
}
_MASKED_CHARS = 20
"""Of a shorter key nothing is shown."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SECRETS_IN_URL = re.compile(r"(?<=//)[^/]*(?=@)|^[^/]*(?=@)|(?<=[?#]).*", re.DOTALL)
"""User and password, query and fragment: messages do not show them."""


class Hidden:
    """Headers that hold a secret: they can be sent, and nothing shows them.

    It is no Mapping: error trackers show locals by repr, but look into dicts and lists.
    """

    __slots__ = ("_headers",)

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._headers = dict(headers or {})

    def keys(self) -> Collection[str]:
        """Return the names."""
        return self._headers.keys()

    def __getitem__(self, name: str) -> str:
        return self._headers[name]

    def __repr__(self) -> str:
        return f"<{len(self._headers)} hidden headers>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("hidden headers are not pickled: make a session of its own in each process")


class HiddenText(str):
    """A secret: it is sent like any text, and a traceback with locals does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} hidden characters>"

    def __getitem__(self, index: SupportsIndex | slice) -> HiddenText:
        return HiddenText(super().__getitem__(index))  # of long texts only the begin is shown

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled: make a session of its own in each process")


def hide_key(api_key: object) -> HiddenText:
    """Return a key, without white space around it, so that no traceback shows it from here on.

    Raises:
        ConfigurationError: It is no str.
    """
    if not isinstance(api_key, str):
        kind = type(api_key).__name__
        del api_key
        raise ConfigurationError(f"api_key is a {kind}; it must be a str")
    return HiddenText(api_key.strip())  # a key that is read from a file ends with a line break


def _urls(endpoint: Endpoint) -> Mapping[str, str]:
    profile = endpoint.profile
    query = f"?{urlencode(profile.query)}" if profile.query else ""
    return {name: f"{endpoint.base_url}/{path}{query}" for name, path in profile.paths.items()}


@attrs.frozen(kw_only=True)
class Endpoint:
    """A server and the credentials for it.

    Attributes:
        base_url: Without a slash at its end.
        credentials: Headers that go to the origin of base_url and nowhere else.
        secret: The API key, ``""`` without one: for blotting it out of what the server sends.
        profile: How the server wants to be spoken to.
    """

    base_url: str
    credentials: Hidden
    secret: str = attrs.field(repr=False)
    profile: ServerProfile = attrs.field(repr=False)
    _urls: Mapping[str, str] = attrs.field(
        init=False, repr=False, default=attrs.Factory(_urls, takes_self=True)
    )

    def url_of(self, request: ImageRequest) -> str:
        """Return where a request goes."""
        url = self._urls[request.endpoint]
        return url.replace("{model}", quote(str(request.model), safe="")) if "{" in url else url

    @property
    def host(self) -> str:
        """Host of base_url."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port of base_url."""
        return origin_of(self.base_url)


def origin_of(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of *url*: two URLs have the same origin if all three agree.

    Raises:
        ValueError: The URL has no valid port.
    """
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port


@attrs.frozen(kw_only=True)
class Setting:
    """A setting as a session would find it, fit to be shown.

    Attributes:
        name: Of the argument.
        value: Of a key only its begin, end and length; None if there is none.
        origin: ``"argument"``, the environment variable, or ``"default"``.
    """

    name: str
    value: str | None
    origin: str


def read_settings(
    *, server: ServerProfile | str | None = None, **given: str | None
) -> tuple[Setting, ...]:
    """Return where each setting of `read_endpoint` comes from, without checking it.

    Args:
        server: A profile or its name, None for what the host of base_url selects.
        given: The other arguments; None and those left out are looked up in the environment.

    Raises:
        ConfigurationError: There is no profile of that name.
    """
    place = _find(server, given.get("base_url"))
    variables: dict[str, tuple[str, ...]] = {name: () for name in _VARIABLES}  # noqa: C420
    variables["base_url"] = ("OPENAI_BASE_URL",)
    variables["api_key"] = place.key_variables
    if place.is_for_openai:
        variables |= {name: (_VARIABLES[name],) for name in ("organization", "project")}
    found = []
    for name in _VARIABLES:
        value, origin = given.get(name), "argument"
        for variable in () if value else variables[name]:
            if value := os.environ.get(variable, "").strip():
                origin = variable
                break
        if not value:
            value, origin = place.url if name == "base_url" else None, "default"
        if value is not None and name == "api_key":
            value = _masked(value)
        elif value is not None:
            value = _SECRETS_IN_URL.sub("***", value) if name == "base_url" else value
        found.append(Setting(name=name, value=value, origin=origin))
    return tuple(found)


def _masked(key: str) -> str:
    """Show so much of a key that its owner knows which one it is."""
    shown = f"{key[:3]}…{key[-4:]}" if len(key) >= _MASKED_CHARS else "…"
    return f"{shown} ({len(key)} characters)"


def read_endpoint(
    *,
    api_key: str | None,
    base_url: str | None,
    organization: str | None,
    project: str | None,
    server: ServerProfile | str | None = None,
) -> Endpoint:
    """Fill what is None from the environment, and check it.

    ``OPENAI_API_KEY`` goes where the caller or the environment says that the server is, never to a place
    that only the profile of another server names; nor do organization and project from the environment.

    Raises:
        ConfigurationError: A value cannot be used; the message never shows the key.
    """
    place = _find(server, base_url)
    profile = place.profile
    if place.url is None:
        raise ConfigurationError(
            f"server={profile.name!r} does not say where the server is: pass base_url=, or set "
            f"OPENAI_BASE_URL. {profile.not_found}".rstrip(". ")
        )
    url = _checked_url(place.url)
    key = _environment_key(place.key_variables) if api_key is None else hide_key(api_key)
    _check_key(key)
    known = profile_for_host(_host_of(url))
    if not key and known.hosts:
        variable = known.key_variable or "OPENAI_API_KEY"
        raise ConfigurationError(
            f"no API key: pass api_key= or set the environment variable {variable}. "
            "To try things without one, use the emulator: imagesdk serve, or --emulator"
        )
    headers: dict[str, str] = {}
    if key:
        headers[profile.auth_header] = f"{profile.auth_scheme} {key}".strip()
    for header, value, variable in (
        ("OpenAI-Organization", organization, "OPENAI_ORG_ID"),
        ("OpenAI-Project", project, "OPENAI_PROJECT_ID"),
    ):
        found = os.environ.get(variable, "") if place.is_for_openai else ""
        chosen = (found if value is None else value).strip()
        if chosen:
            headers[header] = _check_header(header, chosen)
    return Endpoint(base_url=url, credentials=Hidden(headers), secret=key, profile=profile)


def _environment_key(variables: Iterable[str]) -> HiddenText:
    """Return the first key that is set, in a frame of its own: that one fails nowhere."""
    for variable in variables:
        if key := os.environ.get(variable, "").strip():
            return HiddenText(key)
    return HiddenText()


@attrs.frozen(kw_only=True)
class _Place:
    """Where a server is, and what of the environment is for it.

    Attributes:
        url: Not checked; None if nobody says it.
        profile: How it is spoken to.
        key_variables: Where its key is looked for, in this order.
        is_for_openai: Whether the variables that are named after OpenAI are for this server.
    """

    url: str | None
    profile: ServerProfile
    key_variables: tuple[str, ...]
    is_for_openai: bool


def _find(server: ServerProfile | str | None, base_url: str | None) -> _Place:
    said = base_url or os.environ.get("OPENAI_BASE_URL")
    named = None if server is None else choose_profile(server, "")
    url = said or (named or profile_named("openai")).base_url
    profile = named or profile_for_host(_host_of(url or ""))
    own = (profile.key_variable,) if profile.key_variable else ()
    variables = (*own, "OPENAI_API_KEY") if said else own
    return _Place(
        url=url,
        profile=profile,
        key_variables=variables,
        is_for_openai="OPENAI_API_KEY" in variables,
    )


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # `_checked_url` says what is wrong with it
        return ""


def _check_header(name: str, value: str) -> str:
    """Return *value* if it can be sent as a header.

    Raises:
        ConfigurationError: It or its name would break the request apart; the message does not show it.
    """
    for text in (name, value):
        if not isinstance(text, str):
            raise ConfigurationError(
                f"the header {name!r} has a {type(value).__name__}; names and values must be str"
            )
        bad = any(ord(c) < 32 or ord(c) == 127 for c in text if c != "\t")
        if bad or not text.isprintable() or not _is_latin_1(text):
            raise ConfigurationError(
                f"the header {name.encode('ascii', 'replace').decode()!r} holds a line break or "
                "another character that cannot be sent; headers are one line of Latin-1 text"
            )
    return value


def check_extra_headers(headers: Mapping[str, str], profile: ServerProfile) -> None:
    """Check headers that a caller adds to a request.

    Raises:
        ConfigurationError: One cannot be sent, or is the credentials' own.
    """
    for name, value in headers.items():
        _check_header(name, value)
        if name.lower() in ("authorization", profile.auth_header.lower()):
            raise ConfigurationError(
                f"extra_headers must not hold {name}: pass the key as api_key="
            )


def _is_latin_1(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _check_key(key: HiddenText) -> None:
    """Refuse what cannot be sent."""
    if not key.isascii() or not all(33 <= ord(c) <= 126 for c in key):
        raise ConfigurationError(
            f"api_key holds characters that cannot be sent ({len(key)} characters; it must be "
            "printable ASCII without spaces): check how it was copied"
        )


def _checked_url(url: str) -> str:
    url = url.strip().rstrip("/")
    shown = _SECRETS_IN_URL.sub("***", url)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigurationError(f"base_url {shown!r} is no URL: check host and port") from None
    if any(c.isspace() or not c.isprintable() for c in url):  # urlsplit drops some of them
        raise ConfigurationError(f"base_url {shown!r} holds white space or a control character")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(
            f"base_url is {shown!r}; it must be like {DEFAULT_BASE_URL!r}: http or https, a host, a path"
        )
    if parts.username or parts.password:
        raise ConfigurationError("base_url must not hold a user name or password: use api_key=")
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f"base_url {shown!r} must end with its path: no query, no fragment"
        )
    return url


def choose_profile(server: ServerProfile | str | None, host: str) -> ServerProfile:
    """Return the profile that was given, or named, or that the host selects.

    Raises:
        ConfigurationError: There is none of that name.
    """
    if server is None:
        return profile_for_host(host)
    if isinstance(server, ServerProfile):
        return server
    return profile_named(server)


def choose_limiter(
    limiter: Limiter | None,
    images_per_minute: float | Literal["profile", "auto"] | None,
    profile: ServerProfile,
) -> Limiter:
    """Return the limiter that was given, or make one.

    ``"profile"`` is the server's default, ``"auto"`` begins there (with 50 where the server has none)
    and follows what the server names in both directions.

    Raises:
        ConfigurationError: Both were given, the number is out of range, or the limiter is none.
    """
    if limiter is not None:
        if not callable(getattr(limiter, "ticket", None)):
            raise ConfigurationError(
                f"limiter is {limiter!r}; it must be an ImageLimiter or a RedisLimiter. A number of images "
                "is passed as images_per_minute="
            )
        if images_per_minute != "profile":
            raise ConfigurationError("pass limiter= or images_per_minute=, not both")
        return limiter
    if images_per_minute == "profile":
        images_per_minute = profile.images_per_minute
    if images_per_minute == "auto":
        return ImageLimiter(profile.images_per_minute or FIRST_GUESS, adopt="auto")
    if images_per_minute is None:
        return NoLimiter()
    return ImageLimiter(images_per_minute)


def choose_policy(retry: RetryPolicy | None) -> RetryPolicy:
    """Return the retry policy that was given, or the default.

    Raises:
        ConfigurationError: It is none.
    """
    if retry is None:
        return RetryPolicy()
    if not isinstance(retry, RetryPolicy):
        raise ConfigurationError(
            f"retry is {retry!r}; it must be a RetryPolicy, such as RetryPolicy(max_attempts=3)"
        )
    return retry


def shared_limiter(
    url: str, images_per_minute: float | Literal["profile", "auto"] | None, profile: ServerProfile
) -> RedisLimiter:
    """Return the limiter in a Redis that several processes share; for the caller to close.

    Raises:
        ConfigurationError: There is no number to share, the URL cannot be used, or redis is missing.
    """
    from imagesdk.limiters._redis import RedisLimiter

    if images_per_minute is None:
        raise ConfigurationError("there is no limit for a Redis to hold: images_per_minute is off")
    known = profile.images_per_minute or FIRST_GUESS
    return RedisLimiter(
        url,
        known if isinstance(images_per_minute, str) else images_per_minute,
        adopt="auto" if images_per_minute == "auto" else "down",
    )


def choose_transport(
    transport: Transport | None, client_session: aiohttp.ClientSession | None
) -> Transport:
    """Return the transport that was given, or one over aiohttp, which is imported only then.

    Raises:
        ConfigurationError: Both were given.
    """
    if transport is not None and client_session is not None:
        raise ConfigurationError("pass transport= or client_session=, not both")
    if transport is not None:
        return transport
    from imagesdk.transport._aiohttp import AiohttpTransport

    return AiohttpTransport(client_session)


def seconds(name: str, value: float | None, *, zero: bool = False) -> float | None:
    """Return *value* if it is a time that can be waited.

    Raises:
        ConfigurationError: It is no number, negative, or 0 where that makes no sense.
    """
    if value is None:
        return None
    number = isinstance(value, int | float)
    if not number or not (value > 0 or (zero and value == 0)):
        least = "0 or more" if zero else "above 0"
        raise ConfigurationError(f"{name} is {value!r}; it must be {least} seconds, or None")
    return value
