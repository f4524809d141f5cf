from __future__ import annotations

import base64
import binascii
import json
import pickle
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from imagesdk.errors import (
    APIError,
    ImageSDKError,
    ModerationError,
    ProtocolError,
    QuotaExceededError,
    ServerError,
)
from imagesdk.protocol.decode import Answer, AnswerItem, decode_answer

HEADERS = {"x-request-id": "req_42", "content-type": "application/json"}
SECRET = "sk-proj-SECRETKEY-0123456789abcdef"  # noqa: S105
KIB = 1024
IMAGE = b"\x89PNG\r\n\x1a\n and so on"
B64 = base64.b64encode(IMAGE).decode()


def decode(body: object) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_answer(200, HEADERS, data, secret=SECRET)


def refused(body: object, **options: Any) -> ImageSDKError:
    """Return the error, and check what holds for each error about a paid answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    arguments: dict[str, Any] = {"headers": HEADERS, "secret": SECRET, **options}
    with pytest.raises(ImageSDKError) as caught:
        decode_answer(200, arguments["headers"], data, secret=arguments["secret"])
    error = caught.value
    assert error.may_be_billed
    assert error.request_id == "req_42"
    assert error.status == 200
    if isinstance(error, ProtocolError):
        assert len(error.body) <= 64 * KIB
        assert error.body == data[: 64 * KIB].replace(SECRET.encode(), b"***")
        assert error.__cause__ is None
    for shown in (str(error), repr(error), str(error.error), pickle.dumps(error).decode("latin-1")):
        assert SECRET not in shown
    return error


# Good answers ---------------------------------------------------------------------------------


def test_answer_of_the_reference() -> None:
    """The answer in the API reference, two URLs, is read as it stands there."""
    answer = decode(
        {"created": 1589478378, "data": [{"url": "https://a/1"}, {"url": "https://a/2"}]}
    )
    assert answer == Answer(
        created=1589478378,
        items=(AnswerItem(url="https://a/1"), AnswerItem(url="https://a/2")),
        headers=HEADERS,
    )


def test_base64_answer() -> None:
    """A b64_json image arrives decoded."""
    answer = decode({"created": 1, "data": [{"b64_json": B64, "revised_prompt": "a red fox"}]})
    assert answer.items == (AnswerItem(content=IMAGE, revised_prompt="a red fox"),)
    assert answer.broken == ()


def test_answer_of_gpt_image() -> None:
    """What GPT Image says beside the images is kept by name."""
    fields = {
        "background": "opaque",
        "output_format": "png",
        "quality": "high",
        "size": "1024x1024",
        "usage": {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210},
    }
    answer = decode({"created": 1, "data": [{"b64_json": B64}], **fields})
    assert answer.fields == fields
    assert answer.extra == {}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"url": "u", "b64_json": None}, AnswerItem(url="u")),
        ({"url": None, "b64_json": B64}, AnswerItem(content=IMAGE)),
        ({"url": "", "b64_json": B64}, AnswerItem(content=IMAGE)),
        ({"url": "u", "b64_json": ""}, AnswerItem(url="u")),
        ({"url": "u", "b64_json": B64}, AnswerItem(content=IMAGE)),
        ({"url": f"data:image/png;base64,{B64}"}, AnswerItem(content=IMAGE)),
        ({"b64_json": f"data:image/png;base64,{B64}"}, AnswerItem(content=IMAGE)),
        ({"url": "/v1/images/1/content"}, AnswerItem(url="/v1/images/1/content")),
        ({"url": "u", "revised_prompt": None}, AnswerItem(url="u")),
        ({"url": "u", "revised_prompt": 5}, AnswerItem(url="u")),
        ({"url": "u", "revised_prompt": ""}, AnswerItem(url="u", revised_prompt="")),
        ({"url": "u", "index": 0}, AnswerItem(url="u", extra={"index": 0})),
        (
            {"b64_json": B64, "respect_moderation": True},
            AnswerItem(content=IMAGE, extra={"respect_moderation": True}),
        ),
    ],
)
def test_items_of_many_servers(item: object, expected: AnswerItem) -> None:
    """Both keys with one of them null, data URLs, relative URLs, unknown keys: all are images."""
    assert decode({"data": [item]}).items == (expected,)


@pytest.mark.parametrize(
    ("created", "expected"),
    [(1, 1), (1.9, 1), (0, 0), (None, None), ("today", None), ([], None), ({}, None)],
)
def test_created(created: object, expected: int | None) -> None:
    """The time is a number or not said: it never spoils an answer with images."""
    assert decode({"created": created, "data": [{"url": "u"}]}).created == expected


def test_without_created() -> None:
    """Some servers send no time at all."""
    assert decode({"data": [{"url": "u"}]}).created is None


def test_unknown_keys_are_kept() -> None:
    """What this version does not know is kept, for the answer and for each image."""
    answer = decode({"data": [{"url": "u", "seed": 7}], "id": "x", "timings": {"a": 1}, "n": None})
    assert answer.extra == {"id": "x", "timings": {"a": 1}, "n": None}
    assert answer.items[0].extra == {"seed": 7}


def test_null_fields_are_not_said() -> None:
    """Fields that are null count as not said; an error that is null is none."""
    answer = decode({"data": [{"url": "u"}], "usage": None, "size": None, "error": None})
    assert answer.fields == {}


def test_error_beside_images_is_kept() -> None:
    """Images that were paid for are not thrown away because of an error beside them."""
    answer = decode({"data": [{"url": "u"}], "error": {"message": "slow"}})
    assert answer.items == (AnswerItem(url="u"),)
    assert answer.extra == {"error": {"message": "slow"}}


def test_bytearray() -> None:
    """The body may be a bytearray, as it is filled while it arrives."""
    body = bytearray(json.dumps({"data": [{"b64_json": B64}]}).encode())
    assert decode_answer(200, {}, body).items[0].content == IMAGE
    with pytest.raises(ProtocolError) as caught:
        decode_answer(200, {}, body[:-3])
    assert type(caught.value.body) is bytes


# Broken answers: each fault that was measured against the official SDK -------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({"created": 1, "data": []}, "holds no images: an empty list", id="empty"),
        pytest.param({"created": 1}, "holds no images: no data", id="nodata"),
        pytest.param({"created": 1, "data": None}, "holds no images: no data", id="nulldata"),
        pytest.param([], "holds no images: an empty list", id="list-empty"),
        pytest.param([{"url": "u"}], "holds no images: a list", id="list"),
        pytest.param(b"null", "holds no images: null", id="null"),
        pytest.param("some text", "holds no images: a string", id="str"),
        pytest.param(b"true", "holds no images: True", id="bool"),
        pytest.param(b"17", "holds no images: 17", id="number"),
        pytest.param({"data": {"url": "u"}}, "holds no images: an object", id="dataobj"),
        pytest.param({"data": "u"}, "holds no images: a string", id="datastr"),
        pytest.param({"data": 0}, "holds no images: 0", id="datazero"),
        pytest.param({"data": [None]}, r"data\[0\] is null, not an object", id="itemnull"),
        pytest.param({"data": ["u"]}, r"data\[0\] is a string, not an object", id="itemstr"),
        pytest.param({"data": [{}]}, r"data\[0\] has neither b64_json nor url", id="nokeys"),
        pytest.param({"data": [{"b64_json": None}]}, "has neither b64_json nor url", id="nullkey"),
        pytest.param({"data": [{"b64_json": 5, "url": []}]}, "has neither", id="wrongtypes"),
        pytest.param({"data": [{"url": {"href": "u"}}]}, "has neither", id="urlobj"),
        pytest.param({"data": [{"b64_json": "@@@@"}]}, r"data\[0\] .* no base64", id="bad_b64"),
        pytest.param({"data": [{"b64_json": B64[:-1]}]}, "no base64", id="b64_cut"),
        pytest.param({"data": [{"url": "data:image/png,"}]}, "empty b64_json", id="dataurl_empty"),
        pytest.param({"data": [{"b64_json": "data:"}]}, "empty b64_json", id="dataurl_nothing"),
        pytest.param(b'{"created":1,"data":[{"b64_json":"iVBO', "is no JSON", id="json_cut"),
        pytest.param(b"", "is no JSON", id="empty200"),
        pytest.param(b"<html><title>Login</title></html>", "is no JSON", id="html"),
        pytest.param(b"\xff\xfe\x00", "is no JSON", id="binary"),
        pytest.param(b'{"created":1e999,"data":[{"url":"u"}]}', "is no JSON", id="infinite"),
        pytest.param(b"[" * 100_000, "is no JSON", id="deep"),
        pytest.param(b'{"data":[{"url":"u"}]} and more', "is no JSON", id="trailing"),
    ],
)
def test_broken_answers(body: object, message: str) -> None:
    """An answer without an image is a ProtocolError that says why and keeps what arrived."""
    error = refused(body)
    assert type(error) is ProtocolError
    with pytest.raises(ProtocolError, match=message):
        raise error
    assert "(HTTP 200). The call may have been billed; the first " in str(error)
    assert f"{min(len(error.body), 64 * KIB):,} bytes are in .body" in str(error)


def test_html_says_its_type() -> None:
    """A page of a proxy is recognised by its content type; a missing one is said to be missing."""
    page = b"<html>" + b"x" * 500_000
    error = refused(page, headers={**HEADERS, "content-type": "text/html"})
    assert "The server's answer (text/html) is no JSON" in str(error)
    assert len(str(error)) < 400
    error = refused(page, headers={"x-request-id": "req_42"})
    assert "(no content type)" in str(error)


@pytest.mark.parametrize(
    ("body", "cls"),
    [
        ({"error": {"message": "boom", "type": "server_error"}}, APIError),
        ({"error": {"message": "boom"}, "data": None}, APIError),
        ({"error": {"message": "boom"}, "data": []}, APIError),
        ({"error": {"message": "boom", "code": "moderation_blocked"}}, ModerationError),
        ({"error": {"message": "boom", "code": "credit_balance_exhausted"}}, QuotaExceededError),
        ({"error": "boom"}, APIError),
        ({"error": "code", "message": "boom"}, APIError),
    ],
)
def test_error_with_200(body: object, cls: type[APIError]) -> None:
    """An error object is an error whatever the status says, and may have been billed."""
    error = refused(body)
    assert isinstance(error, cls)
    assert str(error).startswith("boom (HTTP 200")
    assert error.error


@pytest.mark.parametrize("nothing", [None, "", {}, [], False])
def test_an_empty_error_is_none(nothing: object) -> None:
    """An error that is empty does not hide that there is no image."""
    assert type(refused({"error": nothing})) is ProtocolError
    assert decode({"error": nothing, "data": [{"url": "u"}]}).items


def test_one_broken_image_of_several() -> None:
    """A broken image is named by its place, and the good ones are delivered."""
    answer = decode(
        {"data": [{"b64_json": B64}, {"b64_json": "@"}, {"url": "u"}, None, {"b64_json": ""}]}
    )
    assert [(i.content, i.url) for i in answer.items] == [(IMAGE, None), (None, "u")]
    assert [str(e).partition(" ")[0] for e in answer.broken] == ["data[1]", "data[3]", "data[4]"]
    assert all(e.may_be_billed and e.request_id == "req_42" for e in answer.broken)


def test_first_broken_image_is_raised_if_all_are() -> None:
    """If no image is good the first reason is raised."""
    assert str(refused({"data": [{"b64_json": "@"}, {}]})).startswith("data[0] has a b64_json")


@pytest.mark.parametrize("size", [64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 10**6])
def test_the_body_is_bounded(size: int) -> None:
    """An error keeps the first 64 KiB of the answer and says how much it has."""
    error = refused(b"x" * size)
    assert isinstance(error, ProtocolError)
    assert len(error.body) == min(size, 64 * KIB)
    assert f"the first {len(error.body):,} bytes" in str(error)


def test_the_key_is_blotted_out() -> None:
    """A key that the server echoes anywhere in a broken answer is in no part of the error."""
    headers = {"x-request-id": "req_42", "content-type": f"text/html; key={SECRET}"}
    error = refused(f"<html>{SECRET}</html>".encode(), headers=headers)
    assert isinstance(error, ProtocolError)
    assert error.body == b"<html>***</html>"
    assert "text/html; key=***" in str(error)
    error = refused({"error": {"message": f"bad key {SECRET}", "code": SECRET}})
    assert str(error) == "bad key *** (HTTP 200 ***)"
    with pytest.raises(ProtocolError) as caught:
        decode_answer(200, {"x-request-id": f"a{SECRET}"}, b"", secret=SECRET)
    assert caught.value.request_id == "a***"


@pytest.mark.parametrize("visible", range(1, len(SECRET)))
def test_the_cut_leaves_no_half_of_the_key(visible: int) -> None:
    """Where the 64 KiB end within the key, its first half is left out too."""
    body = b"@" * (64 * KIB - visible) + SECRET.encode() + b"@"
    with pytest.raises(ProtocolError) as caught:
        decode_answer(200, {}, body, secret=SECRET)
    assert caught.value.body == b"@" * (64 * KIB - visible)


# Oracles --------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
urls = st.builds("https://images.example/{}".format, text)
items = st.fixed_dictionaries(
    {},
    optional={
        "b64_json": st.none() | st.binary(min_size=1, max_size=60).map(base64.b64encode),
        "url": st.none() | urls,
        "revised_prompt": st.none() | text,
        "seed": st.integers(0, 2**63 - 1),
    },
)
bodies = st.fixed_dictionaries(
    {"data": st.lists(items, min_size=1, max_size=4)},
    optional={
        "created": st.none() | st.integers(0, 2**40),
        "usage": st.dictionaries(text, st.integers(0, 2**40), max_size=3),
        "size": st.sampled_from(["1024x1024", None]),
        "unknown": st.lists(st.integers(0, 2**70), max_size=2),
    },
)


@settings(deadline=None, max_examples=100)
@given(bodies, st.booleans(), st.sampled_from([None, 1]))
def test_agrees_with_json_and_base64(
    body: dict[str, Any],
    ascii_only: bool,  # noqa: FBT001
    indent: int | None,
) -> None:
    """What is read from an answer is what json and base64 of the standard library read."""

    def plain(value: object) -> object:
        return value.decode() if isinstance(value, bytes) else value

    data = [{k: plain(v) for k, v in item.items()} for item in body["data"]]
    wire = json.dumps({**body, "data": data}, ensure_ascii=ascii_only, indent=indent)
    good = [item for item in data if item.get("b64_json") or item.get("url")]
    try:
        answer = decode_answer(200, {}, wire.encode())
    except ProtocolError:
        assert good == []
        return
    assert len(answer.items) == len(good)
    assert len(answer.broken) == len(data) - len(good)
    for item, sent in zip(answer.items, good, strict=True):
        encoded = sent.get("b64_json")
        assert item.content == (base64.b64decode(str(encoded)) if encoded else None)
        assert item.url == (None if encoded else sent["url"])
        assert item.revised_prompt == sent.get("revised_prompt")
        assert item.extra == {k: v for k, v in sent.items() if k == "seed"}
    assert answer.created == body.get("created")
    assert answer.fields == {k: body[k] for k in ("usage", "size") if body.get(k) is not None}
    assert answer.extra == {k: body[k] for k in ("unknown",) if k in body}


@settings(deadline=None, max_examples=150)
@given(st.text(st.sampled_from("AQgw+/=-_ \n@é"), min_size=1, max_size=12))
@example("QUJD\n")
@example("QQ=")
@example("====")
def test_agrees_with_base64_about_what_is_none(encoded: str) -> None:
    """A text is an image exactly if base64 of the standard library takes it, strictly but for line breaks."""
    try:
        expected = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        expected = b""
    body = json.dumps({"data": [{"b64_json": encoded}]}).encode()
    try:
        content = decode_answer(200, {}, body).items[0].content
    except ProtocolError as error:
        assert "b64_json" in str(error)  # noqa: PT017
        content = b""
    assert content == expected


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*("data", "error", "b64_json", "url", "created", "message", "code", "detail")]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(anything | st.binary(max_size=30))
def test_anything_gives_an_answer_or_a_typed_error(body: object) -> None:
    """Whatever arrives: images, a ProtocolError or an APIError, and nothing else."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        answer = decode_answer(200, HEADERS, data, secret=SECRET)
    except (ProtocolError, APIError) as error:
        assert error.may_be_billed  # noqa: PT017
    else:
        assert answer.items
        assert all((i.content is None) != (i.url is None) for i in answer.items)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_truncation_is_a_protocol_error(end: int) -> None:
    """An answer that is cut anywhere is a ProtocolError that keeps all that arrived."""
    wire = json.dumps({"created": 1, "data": [{"b64_json": B64}, {"url": "u"}]}).encode()
    cut = wire[: end % len(wire)]
    with pytest.raises(ProtocolError) as caught:
        decode_answer(200, HEADERS, cut)
    assert caught.value.body == cut


def test_a_url_stands_in_for_broken_base64() -> None:
    """An image whose b64_json is broken is taken from the URL beside it."""
    body = json.dumps({"data": [{"b64_json": "!", "url": "http://server/a.png"}]}).encode()
    (item,) = decode_answer(200, {}, body).items
    assert (item.content, item.url) == (None, "http://server/a.png")


def test_an_error_object_with_status_200_keeps_its_class() -> None:
    """A server error that hides behind status 200 is a ServerError, may be billed and is not retried."""
    body = b'{"error": {"message": "boom", "type": "server_error", "code": null, "param": null}}'
    with pytest.raises(ServerError) as caught:
        decode_answer(200, {}, body)
    assert caught.value.may_be_billed
