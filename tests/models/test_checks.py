from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import attrs
import pytest

from imagesdk.models.checks import Problem, check, check_inputs, check_stream, check_total
from imagesdk.models.families import CLASSIC, ImageRule, MaskRule, ModelFamily
from imagesdk.models.profiles import family_of
from imagesdk.models.requests import (
    EditRequest,
    GenerateRequest,
    ImageInfo,
    ImageRequest,
    InputInfos,
    StreamOptions,
    VariationRequest,
)
from imagesdk.models.servers import profile_named

MIB = 1024 * 1024
SERVER = profile_named("classic")
NO_INPUTS = InputInfos()
PNG = b"the checks look at InputInfos alone"

GPT_1, GPT_1_MINI, GPT_15 = "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5"
GPT_2, GPT_25, GPT_26 = "gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.6-flare"
GPT_LATEST, GPT_3 = "chatgpt-image-latest", "gpt-image-3"
GPT = (GPT_1, GPT_1_MINI, GPT_15, GPT_LATEST, GPT_2, GPT_25, GPT_26)
FREE_SIZES = (GPT_2, GPT_25, GPT_26)


def picture(
    width: int = 512,
    height: int = 512,
    *,
    kind: str = "png",
    alpha: bool = True,
    size_bytes: int = 1000,
) -> ImageInfo:
    return ImageInfo(
        format=kind, width=width, height=height, has_alpha=alpha, size_bytes=size_bytes
    )


def problems(request: ImageRequest, inputs: InputInfos = NO_INPUTS) -> list[Problem]:
    """Check *request*, and that each problem's message names the field, the value and the limit."""
    found = check(request, family_of(request.model, SERVER), inputs)
    for problem in found:
        assert problem.field in problem.message
        assert says(problem.message, problem.limit, str(problem.limit))
        assert says(problem.message, problem.value, repr(problem.value)[:77])
    return found


def says(message: str, value: object, text: str) -> bool:
    return text in message or (f"{value:,}" if isinstance(value, int) else str(value)) in message


def fields(request: ImageRequest, inputs: InputInfos = NO_INPUTS) -> list[str]:
    return [problem.field for problem in problems(request, inputs)]


def generate(model: str | None, **arguments: Any) -> list[str]:
    return fields(GenerateRequest("a fox", model=model, **arguments))


def edit(
    model: str | None,
    *images: ImageInfo,
    mask: ImageInfo | None = None,
    markup: ImageInfo | None = None,
    **arguments: Any,
) -> list[str]:
    inputs = InputInfos(images=images or (picture(),), mask=mask, markup=markup)
    return fields(EditRequest(PNG, "a fox", model=model, **arguments), inputs)


# Prompts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "length", "good"),
    [
        (None, 0, False),
        (None, 1, True),
        (None, 999, True),
        (None, 1000, True),
        (None, 1001, False),
        ("dall-e-2", 1000, True),
        ("dall-e-2", 1001, False),
        ("dall-e-3", 4000, True),
        ("dall-e-3", 4001, False),
        (GPT_1, 32_000, True),
        (GPT_1, 32_001, False),
        (GPT_26, 32_000, True),
        (GPT_26, 32_001, False),
        (GPT_3, 32_001, True),
        (GPT_3, 0, False),
        ("flux", 100_000, True),
        ("flux", 0, False),
    ],
)
def test_prompt_length(model: str | None, length: int, good: bool) -> None:  # noqa: FBT001
    """A prompt has 1 to as many characters as its family takes, counted in characters, not bytes."""
    expected = [] if good else ["prompt"]
    for letter in ("a", "é", "狐", "\N{FOX FACE}"):
        assert fields(GenerateRequest(letter * length, model=model)) == expected
        if model != "dall-e-3":
            assert fields(EditRequest(PNG, letter * length, model=model)) == expected


def test_long_prompt_is_measured_not_repeated() -> None:
    """The error about a prompt that is too long has its length, not the prompt."""
    (problem,) = problems(GenerateRequest("x" * 1001))
    assert (problem.value, problem.limit) == (1001, 1000)
    assert problem.message == (
        "prompt has 1,001 characters; the classic Images API without model= takes 1 to 1,000 characters: "
        "shorten it"
    )


@pytest.mark.parametrize("model", [None, "dall-e-3", GPT_2, GPT_3, "flux"])
@pytest.mark.parametrize("prompt", ["", " ", "\n\t\r", "\N{IDEOGRAPHIC SPACE}"])
def test_blank_prompt(model: str | None, prompt: str) -> None:
    """A prompt of nothing but white space describes nothing."""
    assert fields(GenerateRequest(prompt, model=model)) == ["prompt"]


@pytest.mark.parametrize("prompt", [None, 5, b"a fox", ["a fox"], True])
def test_prompt_is_text(prompt: Any) -> None:
    """A prompt is a str."""
    assert fields(GenerateRequest(prompt)) == ["prompt"]


@pytest.mark.parametrize("prompt", ["\ud83d", "a \udc8a fox", "\ude00\ud83d"])
@pytest.mark.parametrize("model", [None, GPT_2, "flux"])
def test_prompt_is_whole_characters(model: str | None, prompt: str) -> None:
    """Half a surrogate pair cannot be sent as UTF-8, and is said before anything is sent."""
    (problem,) = problems(GenerateRequest(prompt, model=model))
    assert problem.field == "prompt"
    problem.message.encode()


# n --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "most"), [(None, 10), ("dall-e-2", 10), ("dall-e-3", 1), (GPT_1, 10), (GPT_26, 10)]
)
def test_n(model: str | None, most: int) -> None:
    """A request carries 1 to 10 images, one for dall-e-3."""
    for n in (1, most - 1 or 1, most):
        assert generate(model, n=n) == []
    for n in (-1, 0, most + 1, 2**70):
        assert generate(model, n=n) == ["n"]


@pytest.mark.parametrize("n", [True, False, "2", 1.0, 2.5, [1], float("nan")])
def test_n_is_a_whole_number(n: Any) -> None:
    """A bool, a text and a float are no number of images."""
    assert generate(None, n=n) == ["n"]
    assert [p.field for p in check_total(n)] == ["n"]


@pytest.mark.parametrize(
    ("n", "good"),
    [
        (None, True),
        (0, False),
        (-1, False),
        (1, True),
        (10, True),
        (11, True),
        (100_000, True),
        (100_001, False),
    ],
)
def test_total(n: int | None, good: bool) -> None:  # noqa: FBT001
    """The total of a call is a number from 1 to 100,000: it is split, or the server's default."""
    found = check_total(n)
    assert [p.field for p in found] == ([] if good else ["n"])
    assert all(str(n) in p.message for p in found)


# Sizes ----------------------------------------------------------------------------------------

CLASSIC_SIZES = ("256x256", "512x512", "1024x1024")
DALL_E_3_SIZES = ("1024x1024", "1792x1024", "1024x1792")
GPT_SIZES = ("auto", "1024x1024", "1536x1024", "1024x1536")
NO_SIZES: tuple[Any, ...] = (
    *("", "1024", "1024x", "1024X1024", "1024x1024 ", " 1024x1024", "1024×1024", "01024x1024"),  # noqa: RUF001
    *("0x0", "-16x16", "16x-16", "1024x1024\n", "1024.0x1024", "9999999x16", "Auto", "1\u0660x16"),
    *(1024, True, ("1024", "1024"), ["1024x1024"]),
)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (None, CLASSIC_SIZES),
        ("dall-e-2", CLASSIC_SIZES),
        ("dall-e-3", DALL_E_3_SIZES),
        *((model, GPT_SIZES) for model in GPT),
    ],
)
def test_named_sizes(model: str | None, names: tuple[str, ...]) -> None:
    """Each family takes its sizes, and no other unless it takes free ones."""
    others = {*CLASSIC_SIZES, *DALL_E_3_SIZES, *GPT_SIZES} - set(names)
    assert [size for size in names if generate(model, size=size)] == []
    if model not in FREE_SIZES:
        for size in (*others, *NO_SIZES, "1040x1040"):
            (problem,) = problems(GenerateRequest("a fox", model=model, size=size))
            assert problem.limit == ", ".join(names)
            assert f"; it must be one of {problem.limit} (" in problem.message


@pytest.mark.parametrize("model", FREE_SIZES)
@pytest.mark.parametrize(
    ("size", "limit"),
    [
        ("1040x1040", None),
        ("1032x1024", "divisible by 16 (the nearest is 1040x1024)"),
        ("1024x1031", "divisible by 16 (the nearest is 1024x1024)"),
        ("1x1024", "divisible by 16"),
        ("1792x1024", None),
        ("2304x768", None),  # exactly 3:1
        ("768x2304", None),
        ("2320x768", "a ratio between 1:3 and 3:1"),
        ("768x2320", "a ratio between 1:3 and 3:1"),
        ("3840x2160", None),  # 3,840 is the longest edge, 8,294,400 the most pixels
        ("2160x3840", None),
        ("3840x1280", None),
        ("3856x2144", "edges of at most 3840 pixels"),
        ("2144x3856", "edges of at most 3840 pixels"),
        ("1024x640", None),  # 655,360 pixels, the least
        ("576x1136", "655,360 to 8,294,400 pixels (this is 654,336)"),
        ("256x256", "655,360 to 8,294,400 pixels (this is 65,536)"),
        ("2880x2880", None),  # 8,294,400 pixels
        ("2368x3504", "655,360 to 8,294,400 pixels (this is 8,297,472)"),
        *((size, "auto, 1024x1024, 1536x1024, 1024x1536 or WIDTHxHEIGHT") for size in NO_SIZES),
    ],
)
def test_free_sizes(model: str, size: Any, limit: str | None) -> None:
    """GPT Image 2 and later take any size within bounds, and the bound that is broken is named."""
    found = problems(GenerateRequest("a fox", model=model, size=size))
    assert [p.field for p in found] == ([] if limit is None else ["size"])
    assert all(str(p.limit).endswith(str(limit)) for p in found)


@pytest.mark.parametrize("size", ["7x7", "auto", "", 5])
def test_sizes_of_unknown_models(size: Any) -> None:
    """About sizes of a model that is not known the server decides."""
    assert generate(GPT_3, size=size) == []
    assert generate("flux", size=size) == []


# Other fields ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [None, "dall-e-2", "dall-e-3"])
def test_response_format(model: str | None) -> None:
    """Classic servers send URLs or base64, and nothing else by that name."""
    for good in ("url", "b64_json", None):
        assert generate(model, response_format=good) == []
    for bad in ("base64", "URL", "", 1):
        assert generate(model, response_format=bad) == ["response_format"]


@pytest.mark.parametrize("model", [*GPT, GPT_3])
def test_response_format_of_gpt_image(model: str) -> None:
    """GPT Image always sends base64: asking for it is no mistake, asking for a URL is one."""
    assert generate(model, response_format="b64_json") == []
    (problem,) = problems(GenerateRequest("a fox", model=model, response_format="url"))
    assert (problem.field, problem.limit) == ("response_format", "b64_json")
    assert "image.save()" in problem.message
    assert generate(model, response_format="base64") == (
        [] if model == GPT_3 else ["response_format"]
    )


QUALITIES = ("low", "medium", "high", "auto", "xhigh", "max", "standard", "hd", "", 1)


@pytest.mark.parametrize(
    ("model", "good"),
    [
        (None, set()),
        ("dall-e-2", set()),
        ("dall-e-3", {"standard", "hd"}),
        *((m, {"low", "medium", "high", "auto"}) for m in (*GPT[:4], GPT_2)),
        *((m, {"low", "medium", "high", "auto", "xhigh", "max"}) for m in (GPT_25, GPT_26)),
        (GPT_3, set(QUALITIES)),
        ("flux", set(QUALITIES)),
    ],
)
def test_quality(model: str | None, good: set[Any]) -> None:
    """Each family has its qualities; xhigh and max are those of 2.5 and 2.6 alone."""
    assert {q for q in QUALITIES if not generate(model, quality=q)} == good
    assert set().union(*(generate(model, quality=q) for q in QUALITIES)) <= {"quality"}


# The fields that only some models take, with a value that these take.
TAKEN_BY: Mapping[str, tuple[Any, tuple[str | None, ...]]] = {
    "style": ("vivid", ("dall-e-3",)),
    "background": ("opaque", GPT),
    "moderation": ("low", GPT),
    "output_format": ("webp", GPT),
    "complexity": ("low", (GPT_26,)),
    "safety_identifier": ("u1", GPT),
    "user": ("u1", (None, "dall-e-2", "dall-e-3", *GPT)),
}


@pytest.mark.parametrize("name", TAKEN_BY)
@pytest.mark.parametrize("model", [None, "dall-e-2", "dall-e-3", *GPT])
def test_who_takes_what(name: str, model: str | None) -> None:
    """A field that the family does not take is refused, with the way around it."""
    value, takers = TAKEN_BY[name]
    found = problems(GenerateRequest("a fox", model=model, **{name: value}))
    assert [p.field for p in found] == ([] if model in takers else [name])
    assert all("pass it in extra_body" in p.message for p in found)


@pytest.mark.parametrize("model", [None, "dall-e-2", "dall-e-3", *GPT, GPT_3, "flux"])
def test_extra_body_is_not_checked(model: str | None) -> None:
    """What is passed in extra_body or extra_headers is the user's own business."""
    extras = {"extra_body": {"seed": 1, "n": 99}, "extra_headers": {"X-A": "1"}}
    assert generate(model, **extras) == []


@pytest.mark.parametrize(
    ("name", "model", "good", "bad"),
    [
        ("style", "dall-e-3", ("vivid", "natural"), ("bright", "", 1)),
        ("background", GPT_1, ("transparent", "opaque", "auto"), ("none", "", 1)),
        ("moderation", GPT_1, ("low", "auto"), ("high", "off", "")),
        ("complexity", GPT_26, ("low", "medium", "high"), ("auto", "", 1)),
        ("output_format", GPT_1, ("png", "webp", "jpeg"), ("gif", "jpg", "PNG", "", 1)),
    ],
)
def test_choices(name: str, model: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    """A choice takes the values of the document and no others."""
    for value in good:
        assert generate(model, **{name: value}) == []
    for value in bad:
        assert generate(model, **{name: value}) == [name]


@pytest.mark.parametrize("output", ["png", "webp", "jpeg", "gif", None])
def test_background_and_output_format(output: str | None) -> None:
    """Transparency needs png or webp; png is the default."""
    model = GPT_2
    expected = [] if output in {"png", "webp", None} else ["background"]
    assert generate(model, background="transparent", output_format=output) == expected
    for background in ("opaque", "auto"):
        assert generate(model, background=background, output_format=output) == []


@pytest.mark.parametrize(
    ("compression", "good"),
    [(-1, False), (0, True), (1, True), (99, True), (100, True), (101, False), (True, False)],
)
def test_output_compression(compression: int, good: bool) -> None:  # noqa: FBT001
    """The compression is 0 to 100."""
    for output in ("webp", "jpeg"):
        assert generate(GPT_2, output_format=output, output_compression=compression) == (
            [] if good else ["output_compression"]
        )


@pytest.mark.parametrize("output", [None, "png", "gif"])
def test_output_compression_needs_a_lossy_format(output: str | None) -> None:
    """There is nothing to choose for png, the default, or gif."""
    found = problems(GenerateRequest("a", model=GPT_2, output_format=output, output_compression=50))
    assert [p.field for p in found] == ["output_compression"]
    assert f"{output or 'png'} is not compressed with loss" in found[0].message


@pytest.mark.parametrize(
    ("name", "low", "high"), [("frame_count", 2, 16), ("frame_duration_ms", 1, 655_350)]
)
def test_frames(name: str, low: int, high: int) -> None:
    """The frames of a gif have bounds, and only a gif has frames."""
    for value in (low, low + 1, high):
        assert generate(GPT_25, output_format="gif", **{name: value}) == []
        assert generate(GPT_25, output_format="webp", **{name: value}) == [name]
        assert generate(GPT_25, **{name: value}) == [name]
    for bad in (low - 1, high + 1, True, "9", 9.5):
        assert generate(GPT_25, output_format="gif", **{name: bad}) == [name]
    assert generate(GPT_15, **{name: low}) == [name, name]


SVG = {"model": "gpt-5.5", "reasoning": {"effort": "low"}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"output_format": "svg", "svg": SVG}, []),
        ({"output_format": "svg", "svg": MappingProxyType(SVG)}, []),
        ({"output_format": "svg", "svg": SVG, "n": 1}, []),
        ({"output_format": "svg", "svg": SVG, "n": 2}, ["n"]),
        ({"output_format": "svg"}, ["svg"]),
        ({"svg": SVG}, ["svg"]),
        ({"output_format": "png", "svg": SVG}, ["svg"]),
        ({"output_format": "svg", "svg": {}}, ["svg"]),
        ({"output_format": "svg", "svg": {"reasoning": {"effort": "low"}}}, ["svg"]),
        ({"output_format": "svg", "svg": "gpt-5.5"}, ["svg"]),
        ({"output_format": "svg", "svg": SVG, "output_compression": 5}, ["output_compression"]),
        ({"output_format": "svg", "svg": SVG, "background": "transparent"}, ["background"]),
    ],
)
def test_svg(arguments: dict[str, Any], expected: list[str]) -> None:
    """Output as svg needs its model, makes one picture, and has no compression."""
    assert generate(GPT_2, **arguments) == expected
    assert edit(GPT_26, **arguments) == expected


def test_svg_of_models_without_it() -> None:
    """A model without svg says so for each of the fields."""
    assert generate(GPT_15, output_format="svg", svg=SVG) == ["output_format", "svg"]


@pytest.mark.parametrize(
    ("model", "good"),
    [
        (None, ()),
        (GPT_1, ("high", "low")),
        (GPT_LATEST, ("high", "low")),
        (GPT_15, ("high", "low")),
        (GPT_1_MINI, ("low",)),
        (GPT_2, ()),
        (GPT_25, ()),
        (GPT_26, ()),
    ],
)
def test_input_fidelity(model: str | None, good: tuple[str, ...]) -> None:
    """High or low for the first models, low alone for the mini one, not at all from 2 on."""
    for value in ("high", "low", "medium"):
        assert edit(model, input_fidelity=value) == ([] if value in good else ["input_fidelity"])


def test_moderation_is_for_generations() -> None:
    """An edit has no moderation: the record has no such field, and neither have the rules."""
    assert not any(a.name == "moderation" for a in attrs.fields(EditRequest))
    for model in GPT:
        params = family_of(model, SERVER).params or {}
        assert ("moderation" in params["generations"], "moderation" in params["edits"]) == (
            True,
            False,
        )


@pytest.mark.parametrize("model", [GPT_3, "flux"])
def test_the_server_decides_about_unknown_models(model: str) -> None:
    """No limit is invented for a model that this version does not know."""
    assert (
        generate(
            model,
            size="77x78",
            quality="ultra",
            style="odd",
            background="transparent",
            output_format="tiff",
            output_compression=900,
            frame_count=99,
            svg={},
            moderation="off",
        )
        == []
    )
    odd = picture(7, 9, kind="gif", alpha=False, size_bytes=80 * MIB)
    assert edit(model, *[odd] * 30, mask=odd, markup=odd, input_fidelity="odd") == []
    inputs = InputInfos(images=(odd,))
    assert fields(VariationRequest(PNG, model=model, size="1x1"), inputs) == []


@pytest.mark.parametrize("model", GPT)
def test_gpt_image_has_no_variations(model: str) -> None:
    """A variation of a GPT Image model is refused once, with what to do instead."""
    inputs = InputInfos(images=(picture(),))
    (problem,) = problems(VariationRequest(PNG, model=model, n=99, size="1x1"), inputs)
    assert problem.field == "model"
    assert "use edit()" in problem.message


def test_dall_e_3_generates_only() -> None:
    """A dall-e-3 edit or variation is refused, with what to do instead."""
    inputs = InputInfos(images=(picture(3, 4, kind="gif"),))
    (problem,) = problems(EditRequest(PNG, "a fox", model="dall-e-3"), inputs)
    assert problem.field == "model"
    assert "choose a GPT Image model" in problem.message
    (problem,) = problems(VariationRequest(PNG, model="dall-e-3"), inputs)
    assert problem.field == "model"


def test_all_problems_are_told_at_once() -> None:
    """Every broken rule is reported, in the order of the fields, not only the first."""
    assert generate(None, n=0, size="1x1", quality="hd", response_format="png", style="vivid") == [
        *("n", "size", "quality", "style", "response_format"),
    ]
    assert fields(GenerateRequest("", n=0)) == ["prompt", "n"]


def test_long_values_are_cut() -> None:
    """A message shows no more than 80 characters of a value."""
    (problem,) = problems(GenerateRequest("a fox", size="9" * 5000))
    assert len(problem.message) < 250
    assert "999..." in problem.message


# Images ---------------------------------------------------------------------------------------

CLASSIC_REQUESTS = (EditRequest(PNG, "a fox"), VariationRequest(PNG))
classic_requests = pytest.mark.parametrize("request_", CLASSIC_REQUESTS, ids=lambda r: r.endpoint)


@classic_requests
@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (picture(), []),
        (picture(size_bytes=4 * MIB - 1), []),
        (picture(size_bytes=4 * MIB), ["image"]),
        (picture(512, 511), ["image"]),
        (picture(512, 513), ["image"]),
        (picture(kind="jpeg"), ["image"]),
        (picture(kind="webp"), ["image"]),
        (picture(kind="gif"), ["image"]),
        (picture(1, 2, kind="gif", size_bytes=5 * MIB), ["image"] * 3),
    ],
)
def test_classic_image(request_: ImageRequest, info: ImageInfo, expected: list[str]) -> None:
    """A classic image is a square PNG smaller than 4 MiB."""
    found = problems(request_, InputInfos(images=(info,)))
    assert [p.field for p in found] == expected
    assert all(p.is_about_an_image for p in found)


@pytest.mark.parametrize("model", GPT)
@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (picture(size_bytes=50 * MIB - 1), []),
        (picture(size_bytes=50 * MIB), ["image"]),
        (picture(300, 500, kind="jpeg", alpha=False), []),
        (picture(kind="webp"), []),
        (picture(alpha=False), []),
        (picture(kind="gif"), ["image"]),
    ],
)
def test_gpt_image_image(model: str, info: ImageInfo, expected: list[str]) -> None:
    """A GPT Image model takes PNG, WebP and JPEG of any shape, smaller than 50 MiB."""
    assert edit(model, info) == expected


def test_how_many_images() -> None:
    """GPT Image takes 16 images, the classic API one; the broken one is named by its place."""
    assert edit(GPT_1, *[picture()] * 16) == []
    (problem,) = problems(
        EditRequest(PNG, "a fox", model=GPT_1), InputInfos(images=(picture(),) * 17)
    )
    assert (problem.field, problem.value) == ("image", 17)
    assert "at most 16 images" in problem.message
    (problem,) = problems(EditRequest(PNG, "a fox"), InputInfos(images=(picture(),) * 2))
    assert problem.message.startswith("image is a list of 2; it must be at most 1 image (")
    assert edit(GPT_1, picture(), picture(kind="gif"), picture()) == ["image[1]"]
    assert problem.is_about_an_image


def test_size_message() -> None:
    """The message about a file that is too large has its size and the limit in bytes."""
    (problem,) = problems(
        VariationRequest(PNG), InputInfos(images=(picture(size_bytes=4 * MIB + 5),))
    )
    assert (problem.value, problem.limit) == (4 * MIB + 5, 4 * MIB)
    assert "4,194,309 bytes" in problem.message
    assert "smaller than 4,194,304 bytes" in problem.message


@pytest.mark.parametrize("model", [None, GPT_1, GPT_25])
@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (picture(), []),
        (picture(size_bytes=4 * MIB - 1), []),
        (picture(size_bytes=4 * MIB), ["mask"]),
        (picture(512, 511), ["mask"]),
        (picture(513, 512), ["mask"]),
        (picture(alpha=False), ["mask"]),
        (picture(kind="webp"), ["mask"]),
        (picture(9, 9, kind="jpeg", alpha=False, size_bytes=4 * MIB), ["mask"] * 4),
    ],
)
def test_mask(model: str | None, mask: ImageInfo, expected: list[str]) -> None:
    """A mask is a PNG with alpha, smaller than 4 MiB, with the size of the first image."""
    assert edit(model, picture(alpha=False), mask=mask) == expected


def test_mask_is_compared_with_the_first_image() -> None:
    """Of several images the first is the one that is masked."""
    assert edit(GPT_1, picture(8, 9), picture(), mask=picture(8, 9)) == []
    assert edit(GPT_1, picture(), picture(8, 9), mask=picture(8, 9)) == ["mask"]


def test_mask_messages_say_what_to_do() -> None:
    """Messages about a mask or a markup tell its numbers and what its transparency means."""
    inputs = InputInfos(images=(picture(),), mask=picture(64, 64, alpha=False))
    size, alpha = problems(EditRequest(PNG, "a fox"), inputs)
    assert "'64x64'; it must be 512x512" in size.message
    assert alpha.message == (
        "mask has no alpha channel; save it with transparency (RGBA): its fully transparent area says "
        "where to edit"
    )
    inputs = InputInfos(images=(picture(),), markup=picture(alpha=False))
    (alpha,) = problems(EditRequest(PNG, "a fox", model=GPT_25), inputs)
    assert "where nothing is drawn it is transparent" in alpha.message


def test_something_has_to_say_where_to_edit() -> None:
    """A classic edit needs a mask or an image with transparency; a variation or GPT Image does not."""
    opaque = InputInfos(images=(picture(alpha=False),))
    (problem,) = problems(EditRequest(PNG, "a fox"), opaque)
    assert problem.field == "image"
    assert problem.message == (
        "image is an opaque image; it needs transparency of its own, or a mask, whose transparent area "
        "says where to edit: pass mask=, or an image with an alpha channel"
    )
    assert edit(None, picture(alpha=False), mask=picture()) == []
    assert edit(None, picture(alpha=True)) == []
    assert edit(GPT_1, picture(alpha=False)) == []
    assert fields(VariationRequest(PNG), opaque) == []


@pytest.mark.parametrize("model", [None, GPT_1, GPT_15, GPT_2, GPT_LATEST])
def test_markup_of_models_without_it(model: str | None) -> None:
    """A markup is refused by every model before 2.5."""
    assert edit(model, markup=picture()) == ["markup"]


@pytest.mark.parametrize("model", [GPT_25, GPT_26])
def test_markup(model: str) -> None:
    """A markup is a transparent PNG with the image's size, and does not go with a mask."""
    assert edit(model, markup=picture()) == []
    assert edit(model, markup=picture(alpha=False)) == ["markup"]
    assert edit(model, markup=picture(kind="webp")) == ["markup"]
    assert edit(model, markup=picture(512, 256)) == ["markup"]
    assert edit(model, mask=picture(), markup=picture()) == ["markup"]


def test_markup_of_a_turned_photo() -> None:
    """A JPEG may be turned by its EXIF orientation, so its markup may have the edges swapped."""
    photo = picture(400, 300, kind="jpeg", alpha=False)
    assert edit(GPT_25, photo, markup=picture(400, 300)) == []
    assert edit(GPT_25, photo, markup=picture(300, 400)) == []
    assert edit(GPT_25, photo, markup=picture(300, 401)) == ["markup"]
    assert edit(GPT_25, picture(400, 300), markup=picture(300, 400)) == ["markup"]


def test_no_inputs_no_problems() -> None:
    """Without known inputs (they may be no images at all) there is nothing to check about them."""
    assert check_inputs(EditRequest(PNG, "a fox"), CLASSIC, NO_INPUTS) == []
    only_mask = InputInfos(mask=picture(kind="gif"))
    assert check_inputs(EditRequest(PNG, "a fox"), CLASSIC, only_mask) == []


def test_families_of_users() -> None:
    """A family that has a rule for images but none for fields or masks leaves the others open."""
    family = ModelFamily(
        name="mine", source="me", image=ImageRule(formats=("png",), below_bytes=10)
    )
    odd = picture(7, 9, kind="gif")
    inputs = InputInfos(images=(picture(size_bytes=9),), mask=odd, markup=None)
    assert check(EditRequest(PNG, "a fox", quality="odd"), family, inputs) == []
    inputs = attrs.evolve(inputs, mask=None, markup=odd)
    assert check(EditRequest(PNG, "a fox"), family, inputs) == []
    masked = attrs.evolve(family, mask=MaskRule(below_bytes=5))
    assert {p.field for p in check(EditRequest(PNG, "a fox"), masked, inputs)} == {"markup"}


@pytest.mark.parametrize(
    ("field", "about"),
    [("image", True), ("image[3]", True), ("mask", True), ("markup", True), ("size", False)],
)
def test_what_is_about_an_image(field: str, about: bool) -> None:  # noqa: FBT001
    """Problems with image inputs can be told from the others: they become InvalidImageError."""
    assert Problem(field=field, value=1, limit=2, message="").is_about_an_image is about


def test_a_gif_has_no_mask() -> None:
    """gif output and a mask exclude each other."""
    inputs = InputInfos(images=(picture(),), mask=picture())
    request = EditRequest(PNG, "a fox", model=GPT_25, output_format="gif")
    assert fields(request, inputs) == ["mask"]
    assert fields(request, InputInfos(images=(picture(),))) == []


def test_a_markup_has_no_limit_of_its_own() -> None:
    """A markup may be larger than a mask: no document names a limit for it."""
    assert edit(GPT_25, picture(), markup=picture(size_bytes=4 * MIB)) == []


def test_a_model_is_a_text() -> None:
    """A model that is no string is refused by name, not by an accident later."""
    request = GenerateRequest("a fox", model=cast("Any", 5))
    assert [p.field for p in check(request, family_of(5, profile_named("classic")), NO_INPUTS)] == [
        "model"
    ]


@pytest.mark.parametrize(
    ("model", "wanted", "fields"),
    [
        *((model, wanted, []) for model in GPT for wanted in (None, 0, 3)),
        *((model, wanted, ["partial_images"]) for model in GPT for wanted in (-1, 4, 1.0, True)),
        (GPT_3, 9, []),
        (GPT_3, -1, ["partial_images"]),
        ("flux", 9, []),
        (None, None, ["model"]),
        ("dall-e-2", 1, ["model"]),
        ("dall-e-3", 1, ["model"]),
    ],
)
def test_who_streams_and_how_many(model: str | None, wanted: Any, fields: list[str]) -> None:
    """GPT Image models stream 0 to 3 partial images, the classic ones none; of others the server says."""
    request = GenerateRequest("a fox", model=model)
    family = family_of(model, SERVER)
    found = check_stream(request, StreamOptions(partial_images=wanted), family)
    assert [problem.field for problem in found] == fields


@pytest.mark.parametrize("output", ["gif", "svg"])
def test_what_is_not_streamed(output: str) -> None:
    """Animations and drawings have no partial images."""
    request = GenerateRequest("a fox", model=GPT_2, output_format=output)
    (problem,) = check_stream(request, StreamOptions(), family_of(GPT_2, SERVER))
    assert problem.field == "output_format"
    assert output in problem.message
