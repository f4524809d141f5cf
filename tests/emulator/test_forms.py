from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given, strategies as st

from imagesdk.emulator.forms import (
    Form,
    UploadedFile,
    media_type,
    parse_json,
    parse_multipart,
    read_references,
)
from imagesdk.emulator.refusals import Refusal

TYPE = "multipart/form-data; boundary=b"


def _body(*parts: str) -> bytes:
    return "".join(f"--b\r\n{part}\r\n" for part in parts).encode() + b"--b--\r\n"


def _text(name: str, value: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'


def _code(result: object) -> tuple[int, str | None, str | None]:
    assert isinstance(result, Refusal)
    return result.status, result.param, result.code


def test_fields_and_files() -> None:
    """Fields come as texts and files with their names, types and exact bytes."""
    file = (
        'Content-Disposition: form-data; name="image"; filename="a.png"\r\n'
        "Content-Type: Image/PNG; x=y\r\n\r\n\r\nbytes\r\n"
    )
    form = parse_multipart(_body(_text("prompt", "a\r\n-- cat"), file), TYPE)
    assert form == Form(
        fields=(("prompt", "a\r\n-- cat"),),
        files=(
            UploadedFile(
                field="image", filename="a.png", content_type="image/png", data=b"\r\nbytes\r\n"
            ),
        ),
    )


@pytest.mark.parametrize(
    "disposition",
    [
        'form-data; name="image"; filename="\N{CAT}.png"',
        "form-data; name=image; filename*=utf-8''%F0%9F%90%88.png",
        "FORM-DATA; NAME=image; FILENAME*=UTF-8''%F0%9F%90%88.png",
    ],
)
def test_spellings_of_names(disposition: str) -> None:
    """Names are read quoted, bare and in RFC 2231 form, as different clients write them."""
    form = parse_multipart(_body(f"content-disposition:{disposition}\r\n\r\nx"), TYPE)
    assert isinstance(form, Form)
    assert (form.files[0].field, form.files[0].filename) == ("image", "\N{CAT}.png")
    assert form.files[0].content_type == "application/octet-stream"


def test_an_unknown_charset_of_a_name_is_harmless() -> None:
    """A file name in a charset that does not exist is kept as it is."""
    part = "Content-Disposition: form-data; name=image; filename*=klingon''a.png\r\n\r\nx"
    form = parse_multipart(_body(part), TYPE)
    assert isinstance(form, Form)
    assert form.files[0].filename == "a.png"


@pytest.mark.parametrize(
    "body",
    [
        b"preamble\r\n--b\r\n" + _text("n", "1").encode() + b"\r\n--b--\r\nepilogue",
        b"--b \t\r\n" + _text("n", "1").encode() + b"\r\n--b--",
    ],
)
def test_what_the_format_allows(body: bytes) -> None:
    """Preamble, epilogue, and blanks after a boundary are allowed."""
    assert parse_multipart(body, TYPE) == Form(fields=(("n", "1"),), files=())


def test_quoted_boundary() -> None:
    """The boundary may be quoted."""
    parsed = parse_multipart(_body(_text("n", "1")), 'multipart/form-data; boundary="b"')
    assert isinstance(parsed, Form)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", TYPE),
        (b"garbage", TYPE),
        (b"--b\r\n", TYPE),
        (b"--b--", "multipart/form-data"),
        (b"--b--", "multipart/form-data; boundary="),
        (_body(_text("n", "1"))[:-6], TYPE),
        (_body("no headers"), TYPE),
        (_body("Content-Type: text/plain\r\n\r\nno name"), TYPE),
        (b"--bx\r\n" + _text("n", "1").encode() + b"\r\n--b--", TYPE),
        (b"--b\r\nContent-Disposition: form-data; name=n\r\n\r\n\xff\r\n--b--", TYPE),
        (_body(*[_text(f"p{index}", "") for index in range(300)]), TYPE),
    ],
)
def test_garbage(body: bytes, content_type: str) -> None:
    """What is no finished form is refused with 400."""
    assert _code(parse_multipart(body, content_type)) == (400, None, None)


@given(st.binary(max_size=200), st.text(max_size=40))
def test_any_bytes_give_a_form_or_a_refusal(data: bytes, parameter: str) -> None:
    """No body and no header makes the parser raise."""
    for body in (data, b"--b\r\n" + data + b"\r\n--b--"):
        for header in (TYPE, f"multipart/form-data; {parameter}"):
            assert isinstance(parse_multipart(body, header), Form | Refusal)


def test_duplicates() -> None:
    """A field that comes twice is refused by name; ``name[]`` may repeat."""
    twice = _body(_text("image", "a"), _text("image", "b"))
    assert _code(parse_multipart(twice, TYPE)) == (400, "image", "duplicate_parameter")
    several = _body(_text("image[]", "a"), _text("image[]", "b"))
    assert isinstance(parse_multipart(several, TYPE), Form)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b'{"a": NaN}', b'{"\xff": 1}', b"[" * 100_000]
)
def test_bad_json(body: bytes) -> None:
    """What is no JSON object is refused with 400."""
    assert _code(parse_json(body)) == (400, None, None)


def test_good_json() -> None:
    """An object is returned as it is."""
    assert parse_json(b'{"n": 2}') == {"n": 2}


def test_media_type() -> None:
    """A type is compared without parameters and in lower case."""
    assert media_type("Application/JSON; charset=utf-8") == "application/json"
    assert media_type("") == ""


def _url(data: bytes, head: str = "data:image/png;base64,") -> str:
    return head + b64encode(data).decode()


def test_references() -> None:
    """Data URLs become files, images first and the mask last."""
    files = read_references(
        {
            "images": [
                {"image_url": _url(b"1")},
                {"image_url": _url(b"2", "data:IMAGE/webp;x=y;base64,")},
            ],
            "mask": {"image_url": _url(b"3")},
        }
    )
    assert not isinstance(files, Refusal)
    assert [(file.field, file.content_type, file.data) for file in files] == [
        ("image", "image/png", b"1"),
        ("image", "image/webp", b"2"),
        ("mask", "image/png", b"3"),
    ]


@pytest.mark.parametrize(
    ("reference", "param", "code"),
    [
        ("x", "images[0]", "invalid_type"),
        ({}, "images[0]", "invalid_value"),
        ({"image_url": "data:", "file_id": "f"}, "images[0]", "invalid_value"),
        ({"url": "data:"}, "images[0]", "invalid_value"),
        ({"file_id": "file-1"}, "images[0]", "image_file_not_found"),
        ({"image_url": 1}, "images[0].image_url", "invalid_type"),
        ({"image_url": "https://a/b"}, "images[0].image_url", "failed_to_download_image"),
        ({"image_url": "ftp://a/b"}, "images[0].image_url", "invalid_image_url"),
        ({"image_url": "data:image/png,x"}, "images[0].image_url", "invalid_image_url"),
        (
            {"image_url": "data:image/png;base64,?"},
            "images[0].image_url",
            "invalid_base64_image",
        ),
        (
            {"image_url": "data:image/png;base64,\N{CAT}"},
            "images[0].image_url",
            "invalid_base64_image",
        ),
    ],
)
def test_bad_references(reference: object, param: str, code: str) -> None:
    """Each reference that leads to no file is refused with its own code."""
    assert _code(read_references({"images": [reference]})) == (400, param, code)


def test_bounds_of_references() -> None:
    """There are 1 to 16 images, and each URL has a maximum length."""
    assert _code(read_references({"images": []}))[1:] == ("images", "missing_required_parameter")
    image = {"image_url": _url(b"1")}
    assert len(read_references({"images": [image] * 16})) == 16  # type: ignore[arg-type]
    refused = _code(read_references({"images": [image] * 17}))
    assert refused[1:] == ("images", "array_above_max_length")
    long = {"image_url": "data:image/png;base64," + "A" * 20_971_520}
    refused = _code(read_references({"images": [long]}))
    assert refused[1:] == ("images[0].image_url", "string_above_max_length")
