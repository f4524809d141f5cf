from __future__ import annotations

import base64
import binascii
import itertools
import json
import string
import tracemalloc
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings, strategies as st

from imagesdk.errors import PayloadTooLargeError
from imagesdk.protocol.b64filter import Base64Filter, Base64Value

IMAGE = bytes(range(256)) * 3
B64 = base64.b64encode(IMAGE).decode()


class Sink:
    """Records what became of an image."""

    def __init__(self) -> None:
        self.content = b""
        self.state = "open"

    def write(self, piece: bytes) -> None:
        assert type(piece) is bytes
        assert piece
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


def pieces(wire: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({cut % (len(wire) + 1) for cut in cuts} | {0, len(wire)})
    return [wire[a:b] for a, b in itertools.pairwise(ends)]


def feed(scan: Base64Filter, wire: bytes, cuts: Sequence[int] = ()) -> None:
    for piece in pieces(wire, cuts):
        scan.feed(piece)


def run(
    wire: bytes, cuts: Sequence[int] = (), **options: Any
) -> tuple[Any, dict[str, bytes | str], Base64Filter]:
    """Return the skeleton, and each value as its bytes or as what is wrong with it."""
    sinks = Sinks()
    scan = Base64Filter(sinks, **options)
    feed(scan, wire, cuts)
    values: dict[str, bytes | str] = {}
    for name, value in scan.values.items():
        assert value.ended
        if value.error is None:
            assert isinstance(value.sink, Sink)
            assert value.sink.state == "finished"
            assert value.size == len(value.sink.content)
            values[name] = value.sink.content
        else:
            assert value.sink is None
            values[name] = value.error
    kept = sum(isinstance(value, bytes) for value in values.values())
    assert [sink.state for sink in sinks].count("finished") == kept
    assert {sink.state for sink in sinks} <= {"finished", "discarded"}
    return msgspec.json.decode(scan.skeleton), values, scan


def put_back(skeleton: Any, values: dict[str, bytes | str]) -> Any:
    """Return the skeleton with the images in their places."""
    if isinstance(skeleton, dict) and isinstance(skeleton.get("data"), list):
        data = [
            {**item, "b64_json": values[item["b64_json"]]}
            if isinstance(item, dict) and isinstance(item.get("b64_json"), str)
            else item
            for item in skeleton["data"]
        ]
        return {**skeleton, "data": data}
    return skeleton


def decoded(body: Any) -> Any:
    """Do with json and base64 what the filter does."""
    if not (isinstance(body, dict) and isinstance(body.get("data"), list)):
        return body
    data = []
    for item in body["data"]:
        encoded = item.get("b64_json") if isinstance(item, dict) else None
        if not isinstance(encoded, str):
            data.append(item)
            continue
        text = encoded.partition(",")[2] if encoded.startswith("data:") else encoded
        try:
            content: bytes | str = pure(text) or "has an empty b64_json"
        except ValueError:
            content = "has a b64_json that is no base64"
        data.append({**item, "b64_json": content})
    return {**body, "data": data}


def pure(text: str) -> bytes:
    """Decode base64 as RFC 4648 has it: Python 3.11 takes too much padding, as in ``AAAA=``."""
    packed = text.translate(dict.fromkeys(map(ord, string.whitespace)))
    content = base64.b64decode(packed, validate=True)
    if len(packed) % 4:
        raise binascii.Error("padding")
    return content


def shortened(body: Any) -> Any:
    """Leave only the class of each error."""
    if isinstance(body, dict) and isinstance(body.get("data"), list):
        for item in body["data"]:
            if isinstance(item, dict) and isinstance(item.get("b64_json"), str):
                item["b64_json"] = item["b64_json"].partition(":")[0]
    return body


# Oracle ---------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', "\\", '\\"', "b64_json", "data:", '{"b64_json":"QUJD"}', "\u2028", "é" * 3]
)
encoded = (
    st.binary(max_size=40).map(lambda b: base64.b64encode(b).decode())
    | st.binary(max_size=40).map(lambda b: base64.encodebytes(b).decode())
    | st.binary(max_size=9).map(lambda b: f"data:image/png;base64,{base64.b64encode(b).decode()}")
    | st.text(st.sampled_from('AQgw+/=-_ \n@é"\\d:,'), max_size=12)
    | st.sampled_from(["", "data", "data:", "dat", "AAAA=", "AA==AAAA", "AA==\n", "AA=\n="])
)
keys = st.sampled_from(["data", "b64_json", "url", "error", "x"]) | text
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | text | encoded,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
item = st.dictionaries(keys, anything, max_size=3) | st.fixed_dictionaries(
    {"b64_json": encoded | anything}, optional={"url": text, "x": anything}
)
body = anything | st.fixed_dictionaries(
    {"data": st.lists(item | anything, max_size=4)}, optional={"x": anything, "b64_json": encoded}
)


def written(value: Any, ascii_only: bool, indent: int | None, escapes: set[str]) -> bytes:  # noqa: FBT001
    """Write JSON as some server may: with escapes that are not needed, also in keys."""
    wire = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    for character in escapes:  # "_" occurs in strings only
        wire = wire.replace(character, "\\/" if character == "/" else f"\\u{ord(character):04x}")
    return wire.encode()


@settings(deadline=None, max_examples=400)
@given(
    body,
    st.booleans(),
    st.sampled_from([None, 0, 3]),
    st.sets(st.sampled_from("/_=+QZ")),
    st.lists(st.integers(0, 2000), max_size=12) | st.just(range(2000)),
)
@example({"data": [{"b64_json": "\u2028"}]}, False, None, set(), [])  # noqa: FBT003
def test_any_split_agrees_with_json_and_base64(
    value: Any,
    ascii_only: bool,  # noqa: FBT001
    indent: int | None,
    escapes: set[str],
    cuts: Sequence[int],
) -> None:
    """However the input is written and wherever it is split, the result is that of json and base64."""
    wire = written(value, ascii_only, indent, escapes)
    skeleton, values, _ = run(wire, cuts)
    assert shortened(put_back(skeleton, values)) == decoded(json.loads(wire))


@settings(deadline=None, max_examples=200)
@given(encoded | st.text(max_size=12), st.lists(st.integers(0, 60), max_size=8))
def test_a_value_agrees_with_base64(value: str, cuts: Sequence[int]) -> None:
    """Text fed in any pieces is decoded exactly if base64 takes the whole, but for white space."""
    sinks = Sinks()
    part = Base64Value(sinks)
    for piece in pieces(value.encode("utf-8", "replace"), cuts):
        part.feed(memoryview(piece))
    part.end()
    try:
        content = pure(value.partition(",")[2] if value.startswith("data:") else value)
    except ValueError:
        content = b""
    assert part.ended
    assert part.empty == (not value)
    assert (part.error is None) == bool(content)
    assert [sink.content for sink in sinks if sink.state == "finished"] == [content] * bool(content)
    assert "open" not in {sink.state for sink in sinks}


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60) | body.map(lambda value: json.dumps(value).encode()), st.data())
def test_broken_text_goes_through_unchanged(wire: bytes, data: st.DataObject) -> None:
    """What is no JSON, or is cut off, is never made into JSON, and nothing is raised."""
    end = data.draw(st.integers(0, len(wire)))
    scan = Base64Filter(Sinks())
    feed(scan, wire[:end], data.draw(st.lists(st.integers(0, 60), max_size=5)))
    if not scan.values:
        assert scan.skeleton == wire[: len(scan.skeleton)]
        assert end - len(scan.skeleton) <= 6
    scan.discard()
    assert all(value.sink is None for value in scan.values.values())


# One by one -----------------------------------------------------------------------------------


def items_of(wire: bytes, cuts: Sequence[int] = (), **options: Any) -> list[Any]:
    skeleton, values, _ = run(wire, cuts, **options)
    items: list[Any] = put_back(skeleton, values)["data"]
    return items


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64, 1000])
def test_several_images_in_pieces(size: int) -> None:
    """Several images, beside other keys and in any order, come whole out of pieces of any size."""
    wire = json.dumps(
        {
            "created": 1,
            "data": [
                {"b64_json": B64, "revised_prompt": 'a "fox" \\'},
                {"url": "u", "b64_json": None},
                {"url": "data:x", "b64_json": B64[: -4 * 10]},
            ],
            "usage": {"data": [{"b64_json": "not cut"}]},
        },
        indent=2,
    ).encode()
    skeleton, values, scan = run(wire, range(0, len(wire), size))
    assert skeleton["data"][0] == {"b64_json": "0", "revised_prompt": 'a "fox" \\'}
    assert skeleton["data"][1] == {"url": "u", "b64_json": None}
    assert skeleton["data"][2] == {"url": "data:x", "b64_json": "1"}
    assert skeleton["usage"] == {"data": [{"b64_json": "not cut"}]}
    assert values == {"0": IMAGE, "1": IMAGE[:-30]}
    assert len(scan.skeleton) < 400


@pytest.mark.parametrize(
    "wire",
    [
        b'{"b64_json":"QUJD"}',
        b'["b64_json","QUJD"]',
        b'{"data":{"b64_json":"QUJD"}}',
        b'{"data":[["b64_json","QUJD"]]}',
        b'{"data":[[{"b64_json":"QUJD"}]]}',
        b'{"data":[{"x":{"b64_json":"QUJD"}}]}',
        b'{"data":[{"b64_json":["QUJD"]}]}',
        b'{"data":[{"b64_json":{"b64_json":"QUJD"}}]}',
        b'{"data":[{"x":"b64_json","y":"QUJD"}]}',
        b'{"data":[{"b64_json":5,"x":"QUJD"}]}',
        b'{"data":[{"b64_json":null},{"x":"QUJD"}]}',
        b'{"data":[{"b64_json":{}},"QUJD"]}',
        b'{"x":[{"b64_json":"QUJD"}]}',
        b'{"x":"{\\"data\\":[{\\"b64_json\\":\\"QUJD\\"}]}"}',
        b'[{"data":[{"b64_json":"QUJD"}]}]',
        b'{"data":[{"B64_JSON":"QUJD"}]}',
        b'"QUJD"',
    ],
)
def test_other_places_are_left_alone(wire: bytes) -> None:
    """A b64_json that is not that of an image goes through, and so does one that is no string."""
    for cuts in ((), range(200)):
        skeleton, values, scan = run(wire, cuts)
        assert values == {}
        assert scan.skeleton == wire
        assert skeleton == json.loads(wire)


def test_a_value_after_a_nested_one() -> None:
    """Objects and lists beside the image do not hide it."""
    wire = b'{"a":{"b":[1,{"c":2}]},"data":[{"x":[{}],"y":{"data":[]},"b64_json":"QUJD"},[],{"b64_json":"QUJD"}]}'
    items = items_of(wire)
    assert [item["b64_json"] for item in (items[0], items[2])] == [b"ABC", b"ABC"]


@pytest.mark.parametrize(
    "wire",
    [
        rb'{"d\u0061ta":[{"b64\u005fjson":"QUJD"}]}',
        b' \r\n\t{ "data" :\n[ {\t"b64_json"\r:\n"QUJD" } ] } ',
        rb'{"data":[{"b64_json":"\u0051UJ\u0044"}]}',
        rb'{"data":[{"b64_json":"QU\nJD\r\n"}]}',
        rb'{"data":[{"b64_json":"QU\tJD\f\u000a\u000b "}]}',
        b'{"data":[{"b64_json":"data:image/png;base64,QUJD"}]}',
        rb'{"data":[{"b64_json":"d\u0061ta:image\/png;base64,QUJD"}]}',
        rb'{"data":[{"b64_json":"data:;name=\\\",QUJD"}]}'.replace(rb"\\", b""),
        '{"data":[{"é\U0001f98a":"é\U0001f98a","b64_json":"QUJD"}]}'.encode(),
    ],
)
def test_unusual_writing(wire: bytes) -> None:
    """Escapes in keys and values, white space anywhere and a data URL: all are the same image."""
    for cuts in ((), range(200), range(0, 200, 3)):
        assert items_of(wire, cuts)[0]["b64_json"] == b"ABC"


def test_slashes_may_be_escaped() -> None:
    r"""``\/`` and ``\u002f`` are slashes."""
    content = b"\xff" * 300
    plain = base64.b64encode(content)
    for slash in (rb"\/", rb"\u002f", rb"\u002F"):
        wire = b'{"data":[{"b64_json":"%b"}]}' % plain.replace(b"/", slash)
        for size in (1, 2, 5, 6, 7, 100):
            assert items_of(wire, range(0, len(wire), size))[0]["b64_json"] == content


@pytest.mark.parametrize("width", [1, 4, 63, 64, 76])
def test_lines(width: int) -> None:
    """Base64 wrapped in lines of any width is decoded."""
    wrapped = r"\n".join(B64[at : at + width] for at in range(0, len(B64), width))
    wire = f'{{"data":[{{"b64_json":"{wrapped}"}}]}}'.encode()
    for size in (1, 3, 100, len(wire)):
        assert items_of(wire, range(0, len(wire), size))[0]["b64_json"] == IMAGE


@pytest.mark.parametrize(
    "value",
    [
        "@@@@",
        "QUJ",
        "Q",
        "QUJD=",
        "QQ==QUJD",
        "QQ==Q",
        "Q=Q=",
        "====",
        "QU-_",
        "QUJDé",
        r"QUJD\\n",
        r"QUJD\\",
        r"QU\"JD",
        r"QUJD\b",
        r"QUJD\u00e9",
        r"QUJD\ud800",
        r"\\/QUJ",
        r"QUJD\\\"",
        r"QUJD\u2028",
    ],
)
def test_what_is_no_base64_spoils_one_image(value: str) -> None:
    """A broken value is recorded with its reason, its sink is discarded, and the scan goes on."""
    wire = f'{{"data":[{{"b64_json":"{value}"}},{{"b64_json":"QUJD"}}]}}'.encode()
    for cuts in ((), range(200)):
        broken, good = (item["b64_json"] for item in items_of(wire, cuts))
        assert good == b"ABC"
        assert broken.startswith("has a b64_json that is no base64: ")


@pytest.mark.parametrize("value", [r"\n", " ", "data:", "data:image/png;base64,", "data:,"])
def test_nothing_is_no_image(value: str) -> None:
    """A value without a byte is an error, and makes no sink."""
    wire = f'{{"data":[{{"b64_json":"{value}"}}]}}'.encode()
    assert items_of(wire) == [{"b64_json": "has an empty b64_json"}]


@pytest.mark.parametrize("key", [rb"b64_json\q", b"b64_json\xff", rb"b64_json\ud800", b"\n"])
def test_a_key_that_is_no_text_is_none(key: bytes) -> None:
    """A key that no JSON parser takes is not that of an image: the parser refuses the skeleton."""
    scan = Base64Filter(Sinks())
    wire = b'{"data":[{"%b":"QUJD"}]}' % key
    scan.feed(wire)
    assert scan.skeleton == wire
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        msgspec.json.decode(scan.skeleton)


def test_an_empty_value_is_told_apart() -> None:
    """An empty string is how some servers say that there is no image."""
    scan = Base64Filter(Sinks())
    scan.feed(b'{"data":[{"b64_json":""},{"b64_json":"QUJD"}]}')
    assert [value.empty for value in scan.values.values()] == [True, False]


def test_the_last_of_two_equal_keys_wins() -> None:
    """Of two equal keys the last counts, as for any JSON parser; the first is there to be discarded."""
    skeleton, values, _ = run(b'{"data":[{"b64_json":"QUJD","b64_json":"REVG"}]}')
    assert skeleton == {"data": [{"b64_json": "1"}]}
    assert values == {"0": b"ABC", "1": b"DEF"}


def test_a_name_that_is_forged_is_not_in_the_way() -> None:
    """A server cannot write the name of a value where values are cut: its own text is cut there."""
    skeleton, values, _ = run(b'{"data":[{"b64_json":"QUJD"},{"b64_json":"0"}]}')
    assert [item["b64_json"] for item in skeleton["data"]] == ["0", "1"]
    assert values["0"] == b"ABC"


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        (("b64_json",), b'{"type":"x","b64_json":"QUJD","data":[{"b64_json":"no"}]}'),
        (("images", None), b'{"images":["QUJD"],"b64_json":"no"}'),
        ((None, "image"), b'[{"image":"QUJD"},["no"]]'),
        (("a", "b", "c"), b'{"a":{"b":{"c":"QUJD","d":"no"},"c":"no"}}'),
    ],
)
def test_other_paths(path: tuple[str | None, ...], wire: bytes) -> None:
    """The path is a parameter: events of a stream carry their image at the top."""
    for cuts in ((), range(100)):
        _, values, scan = run(wire, cuts, path=path)
        assert values == {"0": b"ABC"}
        assert scan.skeleton == wire.replace(b"QUJD", b"0")


def test_data_urls_beside_the_path() -> None:
    """The value of another key is cut if it is a data URL, and only then."""
    wire = b'{"data":[{"url":"data:image/png;base64,QUJD"},{"url":"https://a"},{"url":"dat"},{"url":""},{"url":"data:"}]}'
    for cuts in ((), range(200), range(0, 200, 2)):
        skeleton, values, _ = run(wire, cuts, data_url_key="url")
        urls = [item["url"] for item in skeleton["data"]]
        assert urls == ["data:0", "https://a", "dat", "", "data:1"]
        assert values == {"data:0": b"ABC", "data:1": "has an empty b64_json"}
        skeleton, values, _ = run(wire, cuts)
        assert skeleton == json.loads(wire)


# Ends and limits ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "closed", "depth"),
    [
        (b'{"created":17', {}, 1),
        (b'{"created":17,"x', {"created": 17}, 1),
        (b'{"a":tru', {}, 1),
        (b'{"a":"b"', {"a": "b"}, 1),
        (b'{"a":"b', {}, 1),
        (b'{"a":"b\\', {}, 1),
        (b'{"a":"b","c"', {"a": "b"}, 1),
        (b'{"a":"b","c":', {"a": "b"}, 1),
        (b'{"data":[', {"data": []}, 2),
        (b'{"data":[{', {"data": [{}]}, 3),
        (b'{"data":[{"b64_json":"QU', {"data": [{"b64_json": "0"}]}, 3),
        (b'{"data":[{"b64_json":"QUJD\\', {"data": [{"b64_json": "0"}]}, 3),
        (b'{"data":[{"b64_json":"QUJD"', {"data": [{"b64_json": "0"}]}, 3),
        (b'{"data":[{"b64_json":"QUJD"}', {"data": [{"b64_json": "0"}]}, 2),
        (b'{"data":[{"b64_json":"QUJD"},', {"data": [{"b64_json": "0"}]}, 2),
        (b'{"data":[{"b64_json":"QUJD"}]', {"data": [{"b64_json": "0"}]}, 1),
        (b'{"data":[{"x":{"y":[1,2', {"data": [{"x": {"y": [1]}}]}, 3),
    ],
)
def test_an_early_end_is_closed(wire: bytes, closed: object, depth: int) -> None:
    """An input that ends early can be closed: what is complete of it stays, and nothing half."""
    for cuts in ((), range(60)):
        scan = Base64Filter(Sinks())
        feed(scan, wire, cuts)
        text = scan.closed()
        assert text is not None
        assert json.loads(text) == closed
        assert scan.depth == depth


@settings(deadline=None, max_examples=100)
@given(body, st.integers(0, 2000))
def test_every_beginning_can_be_closed(value: Any, end: int) -> None:
    """The beginning of any list or object is closed to JSON again."""
    wire = json.dumps(value).encode()
    scan = Base64Filter(Sinks())
    scan.feed(wire[: end % len(wire)])
    text = scan.closed()
    if text is not None:
        assert isinstance(json.loads(text), dict | list)


@pytest.mark.parametrize("wire", [b"", b"  ", b'{"a":1}', b'"abc', b"17", b"[]]]"])
def test_without_an_open_bracket_nothing_is_closed(wire: bytes) -> None:
    """Text in which no bracket is open does not end too early in a way that can be mended."""
    scan = Base64Filter(Sinks())
    scan.feed(wire)
    assert scan.closed() is None


def test_a_value_that_is_cut_off_is_known() -> None:
    """A value without its end is not ended: its sink waits to be discarded."""
    sinks = Sinks()
    scan = Base64Filter(sinks)
    scan.feed(b'{"data":[{"b64_json":"QUJDRE')
    (value,) = scan.values.values()
    assert (value.ended, value.error, value.size) == (False, None, 3)
    assert sinks[0].state == "open"
    scan.discard()
    scan.discard()
    assert sinks[0].state == "discarded"


@pytest.mark.parametrize(
    "wire", [b'{"' + b"x" * 1001, b"[" * 1001, b" " * 1001, b'{"data":[{"b64_json":"QUJD"}' * 50]
)
def test_the_skeleton_is_bounded(wire: bytes) -> None:
    """A server cannot fill the memory with what is no image."""
    for cuts in ((), range(0, 2000, 100)):
        scan = Base64Filter(Sinks(), max_skeleton_bytes=1000)
        with pytest.raises(PayloadTooLargeError, match="more than 1,000 bytes beside") as caught:
            feed(scan, wire, cuts)
        assert caught.value.limit_bytes == 1000
        assert caught.value.may_be_billed


def test_the_number_of_images_is_bounded() -> None:
    """A server cannot open files without end."""
    scan = Base64Filter(Sinks())
    scan.feed(b'{"data":[' + b'{"b64_json":""},' * 1000)
    with pytest.raises(PayloadTooLargeError, match="more than 1,000 images"):
        scan.feed(b'{"b64_json":""},')


def test_only_a_piece_is_in_memory() -> None:
    """However large an image is, no more than a few pieces of it are held, as text or as bytes."""

    class Nowhere(Sink):
        def write(self, piece: bytes) -> None:
            pass

    piece = b"QUJD" * 16 * 1024
    scan = Base64Filter(Nowhere)
    scan.feed(b'{"data":[{"b64_json":"Q')  # so that no piece begins with a group of four
    scan.feed(piece)
    tracemalloc.start()
    try:
        for _ in range(100):
            scan.feed(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert scan.values["0"].size > 4_000_000
    assert peak < 4 * len(piece)


def test_images_do_not_count_as_skeleton() -> None:
    """An image of any size passes: only what is beside it is bounded."""
    scan = Base64Filter(Sinks(), max_skeleton_bytes=100)
    scan.feed(b'{"data":[{"b64_json":"')
    for _ in range(100):
        scan.feed(b"QUJD" * 250)
    scan.feed(bytearray(b'"}]}'))
    assert scan.values["0"].size == 75_000
    assert msgspec.json.decode(scan.skeleton) == {"data": [{"b64_json": "0"}]}
