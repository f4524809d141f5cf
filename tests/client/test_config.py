from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from typing import Any, cast

import attrs
import pytest

from imagesdk.client.config import (
    DEFAULT_BASE_URL,
    check_extra_headers,
    choose_limiter,
    choose_profile,
    choose_transport,
    origin_of,
    read_endpoint,
    read_settings,
    seconds,
)
from imagesdk.client.session import ImageSession
from imagesdk.errors import ConfigurationError
from imagesdk.limiters.local import ImageLimiter
from imagesdk.limiters.unlimited import NoLimiter
from imagesdk.models.profiles import ServerProfile
from imagesdk.models.requests import GenerateRequest
from imagesdk.models.servers import profile_named
from imagesdk.testing import ScriptedTransport

SECRET = "sk-test-hidden"  # noqa: S105 - not a real one


CLASSIC = profile_named("classic")


def read(**given: Any) -> Any:
    arguments = {"api_key": None, "base_url": None, "organization": None, "project": None}
    return read_endpoint(**(arguments | given))


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not given is read from the variables that the official SDK uses."""
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env:8000/v1/")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-env ")
    endpoint = read()
    assert (endpoint.base_url, endpoint.secret) == ("http://env:8000/v1", SECRET)
    assert dict(endpoint.credentials) == {
        "Authorization": f"Bearer {SECRET}",
        "OpenAI-Organization": "org-env",
        "OpenAI-Project": "proj-env",
    }
    given = read(api_key="k", base_url="http://arg/", organization="o", project="")
    assert dict(given.credentials) == {"Authorization": "Bearer k", "OpenAI-Organization": "o"}
    assert given.base_url == "http://arg"
    assert set(read(api_key="").credentials.keys()) == {"OpenAI-Organization", "OpenAI-Project"}


def test_default_host_needs_a_key() -> None:
    """OpenAI's own host is the default, and needs a key; servers of your own need none."""
    with pytest.raises(ConfigurationError, match="set the environment variable OPENAI_API_KEY"):
        read()
    with pytest.raises(ConfigurationError, match="no API key"):
        read(base_url="https://API.openai.com/v2", api_key=" ")
    endpoint = read(api_key="k")
    assert (endpoint.base_url, endpoint.host) == (DEFAULT_BASE_URL, "api.openai.com")
    assert endpoint.origin == ("https", "api.openai.com", 443)
    assert read(base_url="http://localhost:1/v1").secret == ""


@pytest.mark.parametrize("bad", ["hid\nden", "hid den", "hid\0den", "hidé", "hid\x7fden"])
def test_bad_keys(bad: str) -> None:
    """A key that cannot be sent is refused without being shown."""
    with pytest.raises(ConfigurationError, match="characters that cannot be sent") as caught:
        read(api_key=bad)
    assert "hid" not in str(caught.value)


@pytest.mark.parametrize("name", ["organization", "project"])
def test_bad_organization(name: str) -> None:
    """An organization or project that cannot be sent is refused without being shown."""
    for value in ("hid\r\nX: y", "hid€"):
        with pytest.raises(ConfigurationError, match="cannot be sent") as caught:
            read(base_url="http://a", **{name: value})
        assert "hid" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8000/v1", "http or https, a host, a path"),
        ("ftp://host/v1", "http or https"),
        ("http://", "http or https"),
        ("http:///v1", "http or https"),
        ("http://host:port/v1", "is no URL"),
        ("http://host:99999/v1", "is no URL"),
        ("http://[::1/v1", "is no URL"),
        ("http://ho st/v1", "white space or a control character"),
        ("http://host/v1\r\nX-Evil: 1", "white space or a control character"),
        ("http://user:sk-test-hidden@host/v1", "must not hold a user name or password"),
        ("http://sk-test-hidden@host/v1", "must not hold a user name or password"),
        ("http://user:sk-test-hidden@host:port/v1", "is no URL"),
        ("ftp://user:sk-test-hidden@host/v1", "http or https"),
        ("user:sk-test-hidden@host/v1", "http or https"),
        ("http://host/v1?key=sk-test-hidden", "no query, no fragment"),
        ("http://host/v1#sk-test-hidden", "no query, no fragment"),
        ("host/v1?key=sk-test-hidden", "http or https"),
    ],
)
def test_bad_urls(url: str, words: str) -> None:
    """A base_url that cannot be used is refused, without the secrets that may be in it."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        read(base_url=url)
    assert SECRET not in str(caught.value)


def test_nothing_shows_the_key() -> None:
    """Neither the endpoint nor its parts show the key, and none of them can be pickled."""
    endpoint = read(api_key=SECRET, base_url="http://a")
    for shown in (endpoint, endpoint.credentials, endpoint.secret, [endpoint.secret]):
        assert SECRET not in repr(shown)
        with pytest.raises(TypeError, match="make a session of its own in each process"):
            pickle.dumps(shown)
    assert SECRET[:9] not in repr(endpoint.secret[:9])
    assert SECRET not in f"{endpoint} {endpoint.credentials} {attrs.asdict(endpoint)}"
    assert f"{endpoint.secret}" == SECRET
    assert not isinstance(endpoint.credentials, Mapping | Iterable)  # nobody looks into it


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Host/a", ("https", "host", 443)),
        ("http://host:80/", ("http", "host", 80)),
        ("http://[::1]:8000/", ("http", "::1", 8000)),
        ("relative", ("", "", 0)),
    ],
)
def test_origins(url: str, origin: tuple[str, str, int]) -> None:
    """Scheme, host and port make an origin, with the default port filled in."""
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "a\r\nX-B: b"},
        {"X-A\r\nX-B": "b"},
        {"X-A": "a\0"},
        {"X-A": "€"},
        {"Authorization": "Bearer x"},
        {"aUTHORIZATION": "Bearer x"},
    ],
)
def test_bad_extra_headers(headers: dict[str, str]) -> None:
    """Headers that break the request apart, or replace the key, are refused."""
    with pytest.raises(ConfigurationError) as caught:
        check_extra_headers(headers, CLASSIC)
    assert "Bearer" not in str(caught.value)


def test_good_extra_headers() -> None:
    """Any other header of one line of Latin-1 text may be added."""
    check_extra_headers({"X-Tenant": "café", "api-key": "k"}, CLASSIC)


def test_profiles() -> None:
    """The profile is given, named, or picked by the host alone."""
    own = ServerProfile(name="own", source="here")
    assert choose_profile(own, "api.openai.com") is own
    assert choose_profile("classic", "api.openai.com").name == "classic"
    assert choose_profile(None, "api.openai.com").name == "openai"
    assert choose_profile(None, "localhost").name == "classic"
    with pytest.raises(ConfigurationError, match=r"choose one of 'openai', .* 'classic'"):
        choose_profile("nobody", "localhost")


def test_limiters() -> None:
    """The limiter is given, made from a number or from the profile, or switched off."""
    classic = profile_named("classic")
    own = ImageLimiter(3)
    assert choose_limiter(own, "profile", classic) is own
    assert choose_limiter(None, "profile", classic).max_cost() == 50
    assert choose_limiter(None, 7, classic).max_cost() == 7
    assert isinstance(choose_limiter(None, None, classic), NoLimiter)
    unlimited = ServerProfile(name="own", source="here", images_per_minute=None)
    assert isinstance(choose_limiter(None, "profile", unlimited), NoLimiter)
    for number in (7.0, None, "auto"):
        with pytest.raises(ConfigurationError, match="not both"):
            choose_limiter(own, cast("Any", number), classic)


@pytest.mark.parametrize(("default", "first"), [(50.0, 50), (7.0, 7), (None, 50)])
def test_a_limit_that_follows_the_server(default: float | None, first: int) -> None:
    """With "auto" the limit begins at the profile's, or at 50, and follows the server's word."""
    profile = ServerProfile(name="own", source="here", images_per_minute=default)
    limiter = choose_limiter(None, "auto", profile)
    assert isinstance(limiter, ImageLimiter)
    assert limiter.max_cost() == first
    assert limiter.settings.adopt == "auto"
    fixed = choose_limiter(None, 50.0, profile)
    assert isinstance(fixed, ImageLimiter)
    assert fixed.settings.adopt == "down"


def test_a_word_that_is_no_limit() -> None:
    """Of words only "auto" and "profile" are limits."""
    with pytest.raises(ConfigurationError, match="images_per_minute is 'fast'"):
        choose_limiter(None, cast("Any", "fast"), profile_named("classic"))


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (
            {"retry": 3},
            r"retry is 3; it must be a RetryPolicy, such as RetryPolicy\(max_attempts=3\)",
        ),
        ({"limiter": 50}, "limiter is 50; .* is passed as images_per_minute="),
        ({"client_session": 5}, "client_session is a int; it must be an aiohttp.ClientSession"),
        ({"timeout": "60"}, "timeout is '60'; it must be above 0 seconds"),
    ],
)
def test_an_argument_of_the_wrong_type(argument: dict[str, Any], words: str) -> None:
    """A session that could not make a single call is not made."""
    with pytest.raises(ConfigurationError, match=words):
        ImageSession(base_url="http://server/v1", **argument)


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_bad_seconds(value: float) -> None:
    """A timeout is above 0 seconds, or None."""
    with pytest.raises(ConfigurationError, match=r"timeout is .* above 0 seconds, or None"):
        seconds("timeout", value)


def test_seconds() -> None:
    """Zero is allowed where it makes sense, None everywhere."""
    assert seconds("max_wait", 0, zero=True) == 0
    assert seconds("timeout", None) is None
    assert seconds("timeout", 1.5) == 1.5
    with pytest.raises(ConfigurationError, match="0 or more"):
        seconds("max_wait", -1, zero=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": 0},
        {"max_wait": -1},
        {"validate": "maybe"},
        {"max_concurrency": 0},
        {"images_per_minute": 0},
        {"server": "nobody"},
    ],
)
def test_bad_sessions(arguments: dict[str, Any]) -> None:
    """A session that cannot work is refused when it is made."""
    with pytest.raises(ConfigurationError):
        ImageSession(base_url="http://a/v1", **arguments)


def test_a_header_must_be_text() -> None:
    """A header whose value is no str is refused by its name."""
    with pytest.raises(ConfigurationError, match="'X-Try' has a int"):
        check_extra_headers(cast("Any", {"X-Try": 1}), CLASSIC)


def test_one_transport_at_most() -> None:
    """A transport and an aiohttp session exclude each other; a transport is used as it is."""
    transport = ScriptedTransport([])
    assert choose_transport(transport, None) is transport
    with pytest.raises(ConfigurationError, match="not both"):
        choose_transport(transport, cast("Any", object()))


def test_settings_say_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument wins over the environment, which wins over the default; secrets are not shown."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-short")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:word@a/v1?key=1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_1")
    told = {s.name: (s.value, s.origin) for s in read_settings(project="proj_2")}
    assert told == {
        "api_key": ("… (8 characters)", "OPENAI_API_KEY"),
        "base_url": ("http://***@a/v1?***", "OPENAI_BASE_URL"),
        "organization": (None, "default"),
        "project": ("proj_2", "argument"),
    }
    monkeypatch.delenv("OPENAI_BASE_URL")
    long = {s.name: s.value for s in read_settings(api_key="sk-0123456789abcdefWXYZ")}
    assert long["api_key"] == "sk-…WXYZ (23 characters)"
    assert long["base_url"] == "https://api.openai.com/v1"


# Servers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "url"),
    [
        (None, "https://api.openai.com/v1"),
        ("openai", "https://api.openai.com/v1"),
        ("openai-json", "https://api.openai.com/v1"),
        ("xai", "https://api.x.ai/v1"),
        ("localai", "http://127.0.0.1:8080/v1"),
    ],
)
def test_where_a_server_is(server: str | None, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is where the caller says, else where the environment does, else where its profile does."""
    assert read(server=server, api_key="k").base_url == url
    monkeypatch.setenv("OPENAI_BASE_URL", "http://env/v1")
    endpoint = read(server=server, api_key="k")
    assert (endpoint.base_url, endpoint.profile.name) == ("http://env/v1", server or "classic")
    assert read(server=server, api_key="k", base_url="http://arg/v1").base_url == "http://arg/v1"


def test_a_server_that_could_be_anywhere() -> None:
    """A server whose place nobody knows is refused, and never looked for at OpenAI."""
    mine = ServerProfile(name="mine")
    for server, words in ((mine, "set OPENAI_BASE_URL$"), ("azure", "RESOURCE.openai.azure.com")):
        with pytest.raises(ConfigurationError, match=words):
            read(server=server, api_key="k")
    assert read(server=mine, base_url="http://a/v1").profile is mine


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({}, "sk-openai"),
        ({"server": "openai"}, "sk-openai"),
        ({"server": "xai"}, "xai-key"),
        ({"base_url": "https://api.x.ai/v1"}, "xai-key"),
        ({"server": "xai", "api_key": "given"}, "given"),
        ({"server": "localai"}, ""),
        ({"server": "localai", "base_url": "http://127.0.0.1:8080/v1"}, "sk-openai"),
        ({"server": "together", "base_url": "http://gateway/v1"}, "sk-openai"),
        ({"base_url": "http://127.0.0.1/v1"}, "sk-openai"),
    ],
)
def test_whose_key_goes_where(
    given: dict[str, Any], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI's key and organization go to no place that only another server's profile names."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-openai")
    monkeypatch.setenv("XAI_API_KEY", "xai-key\n")
    endpoint = read(**given)
    assert endpoint.secret == key
    at_a_named_place = "base_url" not in given and given.get("server") not in (None, "openai")
    assert ("OpenAI-Organization" in set(endpoint.credentials.keys())) is not at_a_named_place


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ({"server": "together"}, "TOGETHER_API_KEY"),
        ({"base_url": "https://r.openai.azure.com/openai/v1"}, "AZURE_OPENAI_API_KEY"),
        ({}, "OPENAI_API_KEY"),
    ],
)
def test_hosted_servers_need_a_key(
    given: dict[str, Any], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key a hosted server is not asked; the error names the variable that it is read from."""
    if "server" in given:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    with pytest.raises(ConfigurationError, match=f"set the environment variable {variable}"):
        read(**given)


def test_the_header_of_the_key() -> None:
    """The key goes in the header that the profile names, and callers cannot set that one."""
    azure = read(server="azure", base_url="https://r.openai.azure.com/openai/v1", api_key=SECRET)
    assert dict(azure.credentials) == {"api-key": SECRET}
    assert SECRET not in repr(azure.credentials)
    with pytest.raises(ConfigurationError, match="must not hold API-Key: pass the key as api_key="):
        check_extra_headers({"API-Key": "k"}, azure.profile)


def test_where_requests_go() -> None:
    """Paths and query of the profile make the URL; the model stands in it as one step of the path."""
    azure = read(server="azure-deployments", base_url="http://a/openai", api_key="k")
    request = GenerateRequest("a fox", model="my/model?x")
    assert azure.url_of(request) == (
        "http://a/openai/deployments/my%2Fmodel%3Fx/images/generations"
        "?api-version=2025-04-01-preview"
    )
    assert read(base_url="http://a/v1").url_of(request) == "http://a/v1/images/generations"
