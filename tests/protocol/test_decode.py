from __future__ import annotations

import base64
import binascii
import io
import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings, strategies as st

from imagesdk.errors import (
    APIError,
    BadRequestError,
    ImageSDKError,
    ModerationError,
    PayloadTooLargeError,
    ProtocolError,
    QuotaExceededError,
    ResponseInterruptedError,
    ServerError,
)
from imagesdk.protocol.decode import Answer, AnswerDecoder, AnswerItem
from imagesdk.protocol.parts import MemorySink

HEADERS = {"x-request-id": "req_42", "content-type": "application/json"}
SECRET = "sk-proj-SECRETKEY-0123456789abcdef"  # noqa: S105
KIB = 1024
IMAGE = b"\x89PNG\r\n\x1a\n and so on"
B64 = base64.b64encode(IMAGE).decode()


def decode_answer(
    status: int, headers: Mapping[str, str], body: bytes | bytearray, **options: Any
) -> Answer:
    """Decode a body that arrives whole, in pieces, and is long: the result is the same."""
    size = max(1, len(body) // 100)
    in_pieces = [body[at : at + size] for at in range(0, len(body), size)]
    first, *others = (
        outcome(AnswerDecoder(status, headers, **options), pieces, is_long=is_long)
        for pieces in ([body], in_pieces)
        for is_long in (False, True)
    )
    assert [*map(seen, others)] == [seen(first)] * 3
    if isinstance(first, ImageSDKError):
        raise first
    return first


def outcome(
    decoder: AnswerDecoder,
    pieces: Sequence[bytes | bytearray],
    interrupted: ImageSDKError | None = None,
    *,
    is_long: bool = False,
) -> Answer | ImageSDKError:
    try:
        for piece in pieces:
            decoder.feed(piece)
        if is_long and decoder._reader is None:
            decoder._begin()  # as from 64 KiB on
        return decoder.finish(interrupted)
    except ImageSDKError as error:
        return error


def seen(result: Answer | ImageSDKError) -> object:
    """Return all that can be seen of a result."""
    if isinstance(result, Answer):
        items = [shown(item) for item in result.items]
        rest = attrs.evolve(result, items=(), broken=())
        return items, rest, [seen(error) for error in result.broken]
    return type(result), {**vars(result), "args": result.args}


def shown(item: AnswerItem) -> tuple[object, ...]:
    return item.content, item.url, item.revised_prompt, item.extra


def image(content: bytes, **fields: Any) -> AnswerItem:
    """Return an item with an image in memory."""
    part = MemorySink()
    part.write(content)
    return AnswerItem(part=part, **fields)


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
    assert [*map(shown, answer.items)] == [(IMAGE, None, "a red fox", {})]
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
        ({"url": None, "b64_json": B64}, image(IMAGE)),
        ({"url": "", "b64_json": B64}, image(IMAGE)),
        ({"url": "u", "b64_json": ""}, AnswerItem(url="u")),
        ({"url": "u", "b64_json": B64}, image(IMAGE)),
        ({"url": f"data:image/png;base64,{B64}"}, image(IMAGE)),
        ({"b64_json": f"data:image/png;base64,{B64}"}, image(IMAGE)),
        ({"url": "/v1/images/1/content"}, AnswerItem(url="/v1/images/1/content")),
        ({"url": "u", "revised_prompt": None}, AnswerItem(url="u")),
        ({"url": "u", "revised_prompt": 5}, AnswerItem(url="u")),
        ({"url": "u", "revised_prompt": ""}, AnswerItem(url="u", revised_prompt="")),
        ({"url": "u", "index": 0}, AnswerItem(url="u", extra={"index": 0})),
        (
            {"b64_json": B64, "respect_moderation": True},
            image(IMAGE, extra={"respect_moderation": True}),
        ),
    ],
)
def test_items_of_many_servers(item: object, expected: AnswerItem) -> None:
    """Both keys with one of them null, data URLs, relative URLs, unknown keys: all are images."""
    assert [*map(shown, decode({"data": [item]}).items)] == [shown(expected)]


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
        decode_answer(200, {}, body[:-5])
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
        pytest.param({"data": [{"b64_json": B64[:-1]}]}, "ends after 3 of the 4", id="b64_cut"),
        pytest.param({"data": [{"url": "data:image/png,"}]}, "empty b64_json", id="dataurl_empty"),
        pytest.param({"data": [{"b64_json": "data:"}]}, "empty b64_json", id="dataurl_nothing"),
        pytest.param(b'{"created":1,"data":[{"b64_json":"iVBO', "is no JSON", id="json_cut"),
        pytest.param(b"", "is no JSON", id="empty200"),
        pytest.param(b"<html><title>Login</title></html>", "is no JSON", id="html"),
        pytest.param(b"\xff\xfe\x00", "is no JSON", id="binary"),
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
@example("AAAA=")
@example("====")
def test_agrees_with_base64_about_what_is_none(encoded: str) -> None:
    """A text is an image exactly if base64 of the standard library takes it, strictly but for line breaks."""
    packed = "".join(encoded.split())
    try:
        expected = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        expected = b""
    if len(packed) % 4:  # Python 3.11 takes too much padding, as in "AAAA="
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


# Answers that end early -----------------------------------------------------------------------

LOST = ResponseInterruptedError("the connection broke", phase="receive")


class Sink:
    """Records what became of an image."""

    def __init__(self) -> None:
        self.content = b""
        self.state = "open"

    def write(self, piece: bytes) -> None:
        assert self.state == "open"
        self.content += piece

    def finish(self) -> None:
        assert self.state == "open"
        self.state = "finished"

    def discard(self) -> None:
        self.state = "discarded"


class Sinks(list[Sink]):
    """Makes sinks and remembers them."""

    def __call__(self) -> Sink:
        self.append(Sink())
        return self[-1]

    def check(self, result: Answer | ImageSDKError) -> None:
        """Each sink is finished and in the answer, or it is discarded."""
        items = result.items if isinstance(result, Answer) else ()
        kept = [item.part for item in items if item.part is not None]
        assert [sink for sink in self if sink.state != "discarded"] == kept
        assert {sink.state for sink in self} <= {"finished", "discarded"}


def run(
    wire: bytes,
    interrupted: ImageSDKError | None = None,
    headers: Mapping[str, str] = HEADERS,
    *,
    is_long: bool = True,
    size: int = 7,
) -> tuple[Answer | ImageSDKError, Sinks]:
    sinks = Sinks()
    decoder = AnswerDecoder(200, headers, new_sink=sinks)
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    result = outcome(decoder, pieces, interrupted, is_long=is_long)
    sinks.check(result)
    decoder.discard()  # what was returned stays
    sinks.check(result)
    return result, sinks


WHOLE = {
    "created": 1,
    "data": [{"b64_json": B64}, {"revised_prompt": "p", "b64_json": B64}, {"url": "u"}],
    "usage": {"total_tokens": 4160},
}


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("interrupted", [None, LOST])
def test_truncation_at_every_byte(is_long: bool, interrupted: ImageSDKError | None) -> None:  # noqa: FBT001
    """An answer cut anywhere: complete images are kept, the next is named, and no half stays."""
    wire = json.dumps(WHOLE).encode()
    quote = f'{B64}"'.encode()
    ends = [wire.index(quote) + len(quote), wire.rindex(quote) + len(quote), wire.index(b'"u"') + 3]
    end_of_data = wire.index(b"]") + 1
    for end in range(len(wire)):
        result, _ = run(wire[:end], interrupted, is_long=is_long)
        complete = sum(end >= other for other in ends)
        if not complete:
            if interrupted is not None:
                assert result is interrupted
                continue
            assert isinstance(result, ProtocolError)
            assert "is no JSON" in str(result)
            assert result.body == wire[:end]
            assert result.may_be_billed
            assert ("data[0] is " in str(result)) == (end >= wire.index(b"[") + 1)
            continue
        assert isinstance(result, Answer)
        assert result.created == 1
        assert len(result.items) == complete
        parts = [getattr(item.part, "content", None) for item in result.items]
        assert parts == [IMAGE, IMAGE, None][:complete]
        if end >= end_of_data:
            assert result.broken == ()
            continue
        (broken,) = result.broken
        assert str(broken).startswith(f"data[{complete}] is ")
        assert ("the connection broke" if interrupted else "is no JSON") in str(broken)


def test_the_error_of_a_half_image_says_how_much_arrived() -> None:
    """The error of an image that is cut off names it, counts its bytes and says why."""
    wire = json.dumps({"data": [{"b64_json": B64}, {"b64_json": B64 * 1000}]}).encode()
    result, sinks = run(wire[:-10_000], LOST, size=1000)
    assert isinstance(result, Answer)
    assert [str(error).partition(" (HTTP")[0] for error in result.broken] == [
        f"data[1] is cut off after {len(sinks[1].content):,} bytes: the connection broke"
    ]
    assert len(sinks[1].content) > 10_000


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ('{"data":[', "data[0] is missing: the server's answer (application/json) is no JSON"),
        ('{"data":[{', "data[0] is cut off before its image: the server's answer"),
        ('{"data":[{"b64_json":"QUJD', "data[0] is cut off after 3 bytes: the server's answer"),
        ('{"data":[{"b64_json":"@@@@', "data[0] has a b64_json that is no base64"),
        ('{"data":[{"b64_json":"@@@@"},{"b64_json":"QUJ', "data[0] has a b64_json that is no"),
        ('{"data":[{"b64_json":"', "data[0] is cut off"),
        ('{"data":[{"url":"data:image/png;base64,QUJD', "data[0] is cut off after 3 bytes"),
        ('{"data":[null,', "data[0] is null, not an object"),
        ('{"data":{"b64_json":"QUJD"', "The server's answer (application/json) is no JSON"),
        ('{"error":{"message":"boom"}', "The server's answer (application/json) is no JSON"),
        ('{"data":[{"b64_json":"QUJD"}]} x', "The server's answer (application/json) is no JSON"),
        ('{"data":[{"b64_json":"QUJD"},,', "The server's answer (application/json) is no JSON"),
        ('{"data":[{"b64_json":"QUJD"', None),
        ('{"data":[{"url":"u","b64_json":"QUJD', None),
        ('{"data":[{"url":"data:image/png;base64,QUJD"', None),
    ],
)
def test_early_ends(wire: str, message: str | None) -> None:
    """What is wrong with an answer that ends early is said of the image that it hits."""
    for is_long in (False, True):
        result, _ = run(wire.encode(), is_long=is_long)
        if message is None:
            assert isinstance(result, Answer)
            assert len(result.items) == 1
        else:
            assert str(result).startswith(message)


def test_a_url_stands_in_for_a_half_image() -> None:
    """An image that is cut off is taken from the URL before it."""
    result, sinks = run(b'{"data":[{"url":"u","b64_json":"QUJDREVG', LOST)
    assert isinstance(result, Answer)
    assert result.items == (AnswerItem(url="u"),)
    assert len(sinks) == 1


def test_an_interruption_after_the_end_is_none() -> None:
    """A connection that breaks behind a complete answer spoils nothing."""
    result, _ = run(json.dumps(WHOLE).encode(), LOST, is_long=False)
    assert isinstance(result, Answer)
    assert (len(result.items), result.broken) == (3, ())
    result, _ = run(b'{"error":{"message":"boom"}}', LOST)
    assert type(result) is BadRequestError


# Long answers and sinks -----------------------------------------------------------------------


def test_a_long_answer_is_streamed() -> None:
    """Images reach their sinks while they arrive, and the head of the answer is all that is kept."""
    content = bytes(range(256)) * 4096
    encoded = base64.b64encode(content).decode()
    wire = json.dumps({"data": [{"b64_json": encoded}, {"b64_json": encoded[:-7]}]}).encode()
    sinks = Sinks()
    decoder = AnswerDecoder(200, HEADERS, new_sink=sinks)
    for at in range(0, len(wire) // 4, 10_000):
        decoder.feed(wire[at : at + 10_000])
    assert len(sinks) == 1
    assert sinks[0].content == content[: len(sinks[0].content)]
    assert len(sinks[0].content) > len(content) // 3
    assert len(decoder._head) == 64 * KIB
    decoder.discard()
    assert sinks[0].state == "discarded"
    result, sinks = run(wire, is_long=False, size=10_000)
    assert isinstance(result, Answer)
    assert [sink.content == content for sink in sinks] == [True, False]
    assert str(result.broken[0]).startswith("data[1] has a b64_json that is no base64")
    assert result.broken[0].body == wire[: 64 * KIB]


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize(
    "item",
    [
        '{"b64_json":"QUJD","url":"data:,REVG"}',
        '{"b64_json":"REVG","b64_json":"QUJD"}',
        '{"b64_json":"","url":"data:,QUJD"}',
        '{"b64_json":"QUJD"},{"b64_json":"@"}',
        r'{"url":"d\u0061ta:0"},{"b64_json":"QUJD"},{"url":"d\u0061ta:,/"}',
    ],
)
def test_images_that_are_not_used_are_discarded(item: str, is_long: bool) -> None:  # noqa: FBT001
    """Of what stands twice one image is kept; the sinks of the other and of broken ones are not."""
    result, _ = run(f'{{"data":[{item}]}}'.encode(), is_long=is_long)
    assert isinstance(result, Answer)
    assert [item.part.content for item in result.items] == [b"ABC"]  # type: ignore[union-attr]


@pytest.mark.parametrize("is_long", [False, True])
def test_two_equal_images_have_a_sink_each(is_long: bool) -> None:  # noqa: FBT001
    """Images that are the same are still two."""
    result, sinks = run(b'{"data":[{"b64_json":"QUJD"},{"b64_json":"QUJD"}]}', is_long=is_long)
    assert isinstance(result, Answer)
    assert [item.part for item in result.items] == list(sinks)
    assert len(sinks) == 2
    assert result.items[0].content is None  # it is where the sink has put it


def test_a_sink_that_fails_leaves_nothing() -> None:
    """An error of a sink passes, and the images before it are discarded."""
    sinks = Sinks()

    def new_sink() -> Sink:
        if sinks:
            raise OSError("disk full")
        return sinks()

    decoder = AnswerDecoder(200, {}, new_sink=new_sink)
    decoder.feed(b'{"data":[{"b64_json":"QUJD"},{"b64_json":"QUJD"}]}')
    with pytest.raises(OSError, match="disk full"):
        decoder.finish()
    assert [sink.state for sink in sinks] == ["discarded"]


def test_too_much_beside_the_images() -> None:
    """What is not image is bounded; the error is that of the answer, and images before it stay."""
    wire = b'{"data":[{"b64_json":"QUJD"}],"x":"' + b"x" * 9 * 10**6
    sinks = Sinks()
    decoder = AnswerDecoder(200, {**HEADERS, "x-request-id": SECRET}, new_sink=sinks, secret=SECRET)
    decoder.feed(wire[: 70 * KIB])
    with pytest.raises(PayloadTooLargeError) as caught:
        decoder.feed(wire[70 * KIB :])
    error = caught.value
    assert (error.status, error.request_id, error.may_be_billed) == (200, "***", True)
    assert error.body == wire[: 64 * KIB]
    answer = decoder.finish(error)
    assert len(answer.items) == 1
    sinks.check(answer)


# Answers that are no JSON ---------------------------------------------------------------------


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", None])
def test_an_image_as_it_is(kind: str | None, is_long: bool, size: int) -> None:  # noqa: FBT001
    """A body that is an image is one item, streamed to its sink."""
    content = IMAGE + bytes(100) * size
    headers = {"content-type": kind} if kind else {}
    result, sinks = run(content, headers=headers, is_long=is_long, size=len(content) // 50)
    assert isinstance(result, Answer)
    assert sinks[0].content == content
    assert (len(result.items), result.created, result.broken) == (1, None, ())
    result, _ = run(content, LOST, headers, size=len(content) // 50)
    assert result is LOST


@pytest.mark.parametrize("is_long", [False, True])
def test_images_in_an_archive(is_long: bool) -> None:  # noqa: FBT001
    """A zip archive is an answer with its images; one that is broken is named."""
    headers = {"content-type": "application/zip"}
    wire = archive(a=IMAGE, b=IMAGE + b"b", c=b"text")
    result, _ = run(wire, headers=headers, is_long=is_long)
    assert isinstance(result, Answer)
    assert [item.part.content for item in result.items] == [IMAGE, IMAGE + b"b"]  # type: ignore[union-attr]
    spoilt = wire.replace(IMAGE + b"b", IMAGE + b"c")
    result, _ = run(spoilt, headers=headers, is_long=is_long)
    assert isinstance(result, Answer)
    assert [str(error).partition(":")[0] for error in result.broken] == [
        "data[1] cannot be unpacked"
    ]
    result, _ = run(spoilt.replace(IMAGE, IMAGE[:-1] + b"x"), headers=headers, is_long=is_long)
    assert str(result).startswith("data[0] cannot be unpacked")
    result, _ = run(wire, LOST, headers, is_long=is_long)
    assert result is LOST


@pytest.mark.parametrize(
    ("wire", "kind", "message"),
    [
        (b"", "image/png", "The server's answer (image/png) is empty"),
        (b"", "application/zip", "The server's answer (application/zip) is no zip archive: File"),
        (archive(a=IMAGE)[:-9], "application/zip", "The server's answer (application/zip) is no"),
        (archive(a=b"text"), "application/zip", "The server's answer holds no images: a zip arch"),
        (b"{", "image/png", "The server's answer (image/png) is no JSON"),
    ],
)
def test_no_image_in_the_bytes(wire: bytes, kind: str, message: str) -> None:
    """Bytes in which there is no image are a ProtocolError that keeps them."""
    result, _ = run(wire, headers={"content-type": kind}, is_long=False)
    assert type(result) is ProtocolError
    assert str(result).startswith(message)
    assert result.body == wire


def test_json_under_a_wrong_name() -> None:
    """JSON is read as such, also if the server calls it an image."""
    wire = json.dumps({"data": [{"b64_json": B64}]}).encode()
    result, sinks = run(wire, headers={"content-type": "image/png"}, is_long=False)
    assert isinstance(result, Answer)
    assert sinks[0].content == IMAGE


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


# Other servers' answers -----------------------------------------------------------------------


def test_a_list_under_another_name() -> None:
    """Images are read, cut out and named in errors where the server's profile says that they are."""
    body = json.dumps({"images": [{"b64_json": B64}, {"url": "u"}, {}], "seed": 7}).encode()
    answer = decode_answer(200, HEADERS, body, list_key="images")
    assert [(item.content, item.url) for item in answer.items] == [(IMAGE, None), (None, "u")]
    assert answer.extra == {"seed": 7}
    assert [str(error).partition(" (")[0] for error in answer.broken] == [
        "images[2] has neither b64_json nor url"
    ]
    with pytest.raises(ProtocolError, match="holds no images: no images"):
        decode_answer(200, HEADERS, b'{"data":[]}', list_key="images")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"block_reason": "violence", "data": []}, "held the result back (violence)"),
        ({"block_reason": "violence"}, "held the result back (violence)"),
        ({"data": [{"url": None, "respect_moderation": False}]}, "held the result back (HTTP 200)"),
    ],
)
def test_a_result_that_was_held_back(body: dict[str, Any], said: str) -> None:
    """xAI's answer without an image is a moderation, which may be billed, and no broken answer."""
    with pytest.raises(ModerationError) as caught:
        decode_answer(200, HEADERS, json.dumps(body).encode(), secret=SECRET)
    assert said in str(caught.value)
    assert (caught.value.stage, caught.value.may_be_billed) == ("output", True)
    assert caught.value.request_id == "req_42"


def test_one_of_two_was_held_back() -> None:
    """The image that is there is kept, and the error of the other says why it is not."""
    items = [{"b64_json": B64, "respect_moderation": True}, {"respect_moderation": False}]
    answer = decode_answer(200, HEADERS, json.dumps({"data": items}).encode())
    assert [item.content for item in answer.items] == [IMAGE]
    (error,) = answer.broken
    assert str(error).startswith("data[1] was held back by the server's moderation")


def test_an_answer_of_very_many_items_is_not_read_to_its_end() -> None:
    """Each broken item costs an exception, with a part of the body: a few MB would become GB."""
    items = [{"b64_json": B64}, *[{}] * 100_000]
    answer = decode_answer(200, HEADERS, json.dumps({"data": items}).encode())
    assert [item.content for item in answer.items] == [IMAGE]
    assert len(answer.broken) == 1000
    assert "data holds 100,001 items; no more than 1,000 are read" in str(answer.broken[-1])


@pytest.mark.parametrize(
    ("body", "prompt", "created"),
    [
        pytest.param(
            '{"data": [{"b64_json": "%s", "revised_prompt": "\\ud800 fox"}]}',
            "\ufffd fox",
            None,
            id="half a pair",
        ),
        pytest.param(
            '{"created": 1e400, "data": [{"b64_json": "%s"}]}', None, None, id="no bounds"
        ),
        pytest.param(
            '{"created": 1' + "0" * 9999 + ', "data": [{"b64_json": "%s"}]}',
            None,
            None,
            id="digits",
        ),
        pytest.param(
            '{"created": NaN, "data": [{"b64_json": "%s"}]}', None, None, id="not a number"
        ),
        pytest.param('\ufeff{"created": 7, "data": [{"b64_json": "%s"}]}', None, 7, id="mark"),
    ],
)
def test_odd_fields_beside_an_image_cost_it_nothing(
    body: str, prompt: str | None, created: int | None
) -> None:
    """An image is paid for whatever stands beside it; what cannot be written anywhere is replaced."""
    answer = decode_answer(200, HEADERS, (body % B64).encode())
    assert answer.items[0].content == IMAGE
    assert answer.items[0].revised_prompt == prompt
    assert answer.created == created
