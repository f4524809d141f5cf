"""The painter: equal input gives equal pixels, edits stay inside the mask, nothing crashes."""

from __future__ import annotations

import io
import random
import struct
import zlib

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageChops, ImageDraw

from imagesdk.emulator import painter
from imagesdk.emulator._brief import read
from imagesdk.emulator._canvas import glow
from imagesdk.emulator._scenes import SCENES
from imagesdk.emulator._subjects import SUBJECTS

FLAMINGO = "A sunlit indoor lounge area with a pool containing a flamingo"
WEIRD = {
    "empty": "",
    "blank": " \n\t ",
    "punctuation": "?!… —",
    "emoji": "🦦🎩 an otter 👩‍🚀",
    "cjk": "一只白色的暹罗猫",
    "arabic": "قطة بيضاء",
    "newlines": "a cat\n\n\nwith\r\ntwo\x00 lines",
    "long": "a very detailed otter " * 1455,
    "one long word": "x" * 32000,
    "surrogate": "a cat \ud83d",
    "right to left mark": "\u202e\u200f\ufeff",
}


def noise(size: tuple[int, int], mode: str = "RGB", seed: int = 7) -> Image.Image:
    """Return random pixels of *mode*."""
    count = size[0] * size[1] * len(mode)
    return Image.frombytes(mode, size, random.Random(seed).randbytes(count))  # noqa: S311 - pixels


def is_same(one: Image.Image, two: Image.Image) -> bool:
    """Tell whether two images have the same mode, size and pixels."""
    return one.mode == two.mode and one.size == two.size and one.tobytes() == two.tobytes()


def share_changed(one: Image.Image, two: Image.Image) -> float:
    """Return the share of pixels that differ visibly (by more than 12 of 255)."""
    gray = ImageChops.difference(one.convert("RGB"), two.convert("RGB")).convert("L")
    return sum(gray.histogram()[13:]) / (one.width * one.height)


def mask_with_hole(
    size: tuple[int, int], box: tuple[int, int, int, int], color: tuple[int, int, int, int]
) -> Image.Image:
    """Return a mask of *color* that is transparent inside *box*."""
    mask = Image.new("RGBA", size, color)
    ImageDraw.Draw(mask).rectangle(box, fill=(9, 8, 7, 0))
    return mask


def reopened(image: Image.Image, output_format: str = "PNG", **options: object) -> Image.Image:
    """Return *image* as a decoder gives it back."""
    buffer = io.BytesIO()
    image.save(buffer, output_format, **options)
    decoded = Image.open(io.BytesIO(buffer.getvalue()))
    decoded.load()
    return decoded


# --- paint -----------------------------------------------------------------------------------


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("prompt", ["a white siamese cat", FLAMINGO, "quarterly revenue"])
def test_equal_input_gives_equal_pixels(prompt: str, *, transparent: bool) -> None:
    """Painting twice gives the same bytes, whatever global randomness does."""
    random.seed(1)
    first = painter.paint(prompt, (256, 256), index=3, transparent=transparent)
    random.seed(2)
    second = painter.paint(prompt, (256, 256), index=3, transparent=transparent)
    assert is_same(first, second)
    assert painter.encode(first, "png") == painter.encode(second, "png")


@pytest.mark.parametrize("prompt", ["a white siamese cat", "an otter at night", "synergy"])
def test_every_index_looks_different(prompt: str) -> None:
    """The ten pictures of one request differ visibly from each other."""
    pictures = [painter.paint(prompt, (128, 128), index=i) for i in range(10)]
    for i, one in enumerate(pictures):
        for two in pictures[i + 1 :]:
            assert share_changed(one, two) > 0.05


def test_another_prompt_gives_another_picture() -> None:
    """Prompts without known words differ from each other, too."""
    one, two = (painter.paint(p, (256, 256)) for p in ("first idea", "second idea"))
    assert share_changed(one, two) > 0.1


def test_details_of_the_prompt_show() -> None:
    """A longer description draws more than its caption differently."""
    plain = painter.paint("a cat", (256, 256), transparent=True)
    for detail in ("a cat wearing a beret", "a siamese cat", "a red cat"):
        picture = painter.paint(detail, (256, 256), transparent=True)
        assert share_changed(plain, picture) > 0.01, detail
    assert read("a close up of a cat") != read("a cat")


@pytest.mark.parametrize(
    "size",
    [(256, 256), (512, 512), (1024, 1024), (1536, 1024), (1024, 1536), (1792, 1024), (768, 256),
     (256, 768), (3840, 2160), (2160, 3840), (1025, 257)],
)  # fmt: skip
@pytest.mark.parametrize("transparent", [False, True])
def test_sizes_are_exact(size: tuple[int, int], *, transparent: bool) -> None:
    """Every size and ratio is met to the pixel, in RGB or RGBA."""
    picture = painter.paint("a corgi on the beach", size, transparent=transparent)
    assert picture.size == size
    assert picture.mode == ("RGBA" if transparent else "RGB")


@pytest.mark.parametrize("prompt", WEIRD.values(), ids=WEIRD)
def test_any_text_is_painted(prompt: str) -> None:
    """No prompt crashes the painter, and every one gives a picture with several colours."""
    for size in ((256, 256), (256, 768), (768, 256)):
        colors = painter.paint(prompt, size).getcolors(maxcolors=1 << 20)
        assert colors is not None
        assert len(colors) > 4
    painter.paint(prompt, (256, 256), transparent=True)


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=60), st.integers(0, 9))
def test_random_text_is_painted(prompt: str, index: int) -> None:
    """No Unicode text crashes the painter."""
    assert painter.paint(prompt, (256, 256), index=index).size == (256, 256)


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_is_drawn_alone(name: str) -> None:
    """A transparent picture holds the subject and leaves its corners empty."""
    picture = painter.paint(name, (256, 256), transparent=True)
    alpha = picture.getchannel("A")
    histogram = alpha.histogram()
    assert histogram[255] > 1500
    assert histogram[0] > 10000
    assert [alpha.getpixel(p) for p in ((0, 0), (255, 0), (0, 255))] == [0, 0, 0]


@pytest.mark.parametrize("time", ["", "at sunset", "at night"])
@pytest.mark.parametrize("place", SCENES)
def test_every_scene_is_drawn(place: str, time: str) -> None:
    """Every place and time of day gives its own picture, with and without a subject."""
    empty = painter.paint(f"{place} {time}", (256, 256))
    assert share_changed(empty, painter.paint(f"an owl, {place} {time}", (256, 256))) > 0.03


@pytest.mark.parametrize("word", ["rain", "snow", "magical", "backlit", "close up", "beach"])
@pytest.mark.parametrize("subject", ["cat", "flamingo", "house", "cat, dog and fox", ""])
def test_details_combine_with_subjects(subject: str, word: str) -> None:
    """Words for weather, light and framing work with every kind of subject."""
    for index in range(3):
        assert painter.paint(f"{subject} {word} sea", (256, 256), index=index).mode == "RGB"


@pytest.mark.parametrize(
    ("plain", "special"),
    [("dog", "labrador dog"), ("bear", "panda bear"), ("tree", "autumn tree"),
     ("tree", "apple tree"), ("house", "house at night"), ("cat", "a white cat"),
     ("person wearing glasses", "person wearing sunglasses")],
)  # fmt: skip
def test_kinds_of_a_subject_differ(plain: str, special: str) -> None:
    """Breeds, seasons and kinds change the drawing itself."""
    one, two = (painter.paint(p, (256, 256), transparent=True) for p in (plain, special))
    assert not is_same(one, two)


def test_headless_subjects_wear_nothing() -> None:
    """A hat needs a head: a boat wearing a beret is drawn without it."""
    brief = read("a boat wearing a beret")
    assert (brief.subjects, brief.worn) == (("boat",), ("beret",))
    picture = painter.paint("a boat wearing a beret", (256, 256), transparent=True)
    assert picture.getchannel("A").getbbox() is not None


def test_two_colours_dress_two_subjects() -> None:
    """The first colour goes to the first subject, the second to the second."""
    one, two = (
        painter.paint(f"a {a} cat and a {b} fox", (256, 256))
        for a, b in (("blue", "red"), ("red", "blue"))
    )
    assert share_changed(one, two) > 0.05


@pytest.mark.parametrize("thing", ["beret", "crown", "glasses", "scarf"])
@pytest.mark.parametrize("wearer", ["an otter in the sea", "a portrait", "a boat", ""])
def test_clothes_are_drawn_on_heads(wearer: str, thing: str) -> None:
    """What a subject wears shows in the picture, if the subject has a head."""
    bare = read(wearer)
    dressed = read(f"{wearer} wearing a {thing}")
    assert dressed.worn == (thing,)
    assert dressed.subjects == bare.subjects
    assert painter.paint(f"{wearer} wearing a {thing}", (256, 256)).size == (256, 256)


def test_abstract_posters_have_several_styles() -> None:
    """Unknown words give posters of different styles, wide and tall ones, too."""
    for index in range(4):
        for size in ((256, 256), (640, 256), (256, 640)):
            assert painter.paint("strategy", size, index=index).size == size


def test_light_outside_the_picture_is_ignored() -> None:
    """A light that does not touch the picture changes nothing."""
    image = Image.new("RGB", (16, 16))
    glow(image, (100, 100), 20, (255, 255, 255))
    assert image.getbbox() is None


def test_words_are_recognised() -> None:
    """Subjects, places, times, colours and hats are found in English and Chinese."""
    brief = read("A white Corgi and a golden cat wearing a beret by the pool at night")
    assert brief.subjects == ("dog", "cat")
    assert (brief.worn, brief.place, brief.time) == (("beret",), "pool", "night")
    assert brief.colors == ((255, 255, 255), (226, 178, 70))
    assert read("portrait of a cat").subjects == ("cat",)
    assert read("a portrait").subjects == ("person",)
    chinese = read("一只白色的暹罗猫")
    assert chinese.subjects == ("cat",)
    assert "暹罗" in chinese.words
    assert chinese.colors == ((255, 255, 255),)


def test_named_colour_without_subject_tints_the_poster() -> None:
    """A colour alone decides what an abstract poster looks like."""
    red, blue = (
        painter.paint(f"{c} mood", (256, 256)).resize((1, 1), Image.Resampling.BOX).tobytes()
        for c in ("red", "blue")
    )
    assert red[0] - red[2] > blue[0] - blue[2]


# --- edit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("color", [(255, 255, 255, 255), (0, 0, 0, 255), (255, 0, 0, 255)])
@pytest.mark.parametrize("prompt", [FLAMINGO, "an otter wearing a beret", "nothing known", ""])
def test_edit_changes_only_the_hole(prompt: str, color: tuple[int, int, int, int]) -> None:
    """Opaque pixels of the mask keep the picture, whatever their colour; the hole changes."""
    image = noise((128, 128))
    mask = mask_with_hole((128, 128), (20, 40, 99, 109), color)
    result = painter.edit(image, mask, prompt, (128, 128))
    changed = ImageChops.difference(image, result)
    assert result.mode == "RGB"
    box = changed.getbbox()
    assert box is not None
    assert box[0] >= 20
    assert box[1] >= 40
    assert box[2] <= 100
    assert box[3] <= 110
    assert share_changed(image.crop((20, 40, 100, 110)), result.crop((20, 40, 100, 110))) > 0.9


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), width=st.integers(1, 40), height=st.integers(1, 40))
def test_edit_keeps_every_pixel_that_is_not_fully_transparent(
    seed: int, width: int, height: int
) -> None:
    """Random masks: alpha 1 to 255 keeps the pixel exactly, only alpha 0 may change it."""
    image = noise((width, height), seed=seed)
    mask = noise((width, height), "RGBA", seed=seed + 1)
    mask.putalpha(mask.getchannel("A").point([0] * 128 + list(range(1, 129))))
    result = painter.edit(image, mask, FLAMINGO, image.size)
    kept = mask.getchannel("A").point([0] + [255] * 255)
    blank = Image.new("RGB", image.size)
    assert is_same(
        Image.composite(image, blank, kept), Image.composite(result.convert("RGB"), blank, kept)
    )


@pytest.mark.parametrize("alpha", [1, 127, 254])
def test_partially_transparent_mask_edits_nothing(alpha: int) -> None:
    """A mask without a fully transparent pixel returns the picture as it was."""
    image = noise((64, 64))
    assert is_same(
        painter.edit(image, Image.new("RGBA", (64, 64), (0, 0, 0, alpha)), "a cat", (64, 64)), image
    )


def test_mask_without_alpha_edits_nothing() -> None:
    """A mask that has no alpha channel has no editable pixel."""
    image = noise((64, 64))
    assert is_same(painter.edit(image, Image.new("L", (64, 64)), "a cat", (64, 64)), image)


def test_mask_of_another_size_is_stretched() -> None:
    """The painter itself accepts a smaller mask; refusing it is the server's business."""
    image = noise((64, 64))
    result = painter.edit(
        image, mask_with_hole((8, 8), (0, 0, 3, 7), (0, 0, 0, 255)), "x", (64, 64)
    )
    assert ImageChops.difference(image, result).getbbox() == (0, 0, 32, 64)


def test_edit_without_mask_uses_the_alpha_of_the_image() -> None:
    """Transparent pixels are painted and become opaque, the others stay."""
    image = noise((64, 64)).convert("RGBA")
    image.paste((1, 2, 3, 0), (0, 0, 64, 20))
    result = painter.edit(image, None, FLAMINGO, (64, 64))
    assert result.mode == "RGB"
    assert is_same(result.crop((0, 20, 64, 64)), image.convert("RGB").crop((0, 20, 64, 64)))
    assert share_changed(result.crop((0, 0, 64, 20)), Image.new("RGB", (64, 20), (1, 2, 3))) > 0.9


def test_edit_keeps_partial_transparency() -> None:
    """Kept pixels that are half transparent stay so, and the result is RGBA."""
    image = noise((32, 32)).convert("RGBA")
    image.putalpha(90)
    mask = mask_with_hole((32, 32), (0, 0, 15, 31), (0, 0, 0, 255))
    result = painter.edit(image, mask, "a cat", (32, 32))
    assert result.mode == "RGBA"
    assert is_same(result.crop((16, 0, 32, 32)), image.crop((16, 0, 32, 32)))
    assert result.getpixel((0, 0))[3] == 255  # type: ignore[index]


def test_palette_transparency_counts_as_alpha() -> None:
    """A palette PNG with a tRNS chunk works as image without mask and as mask."""
    drawn = Image.new("P", (64, 64), 1)
    drawn.putpalette([10, 20, 30, 200, 100, 50])
    drawn.paste(0, (0, 0, 64, 30))
    palette = reopened(drawn, transparency=0)
    assert palette.mode == "P"
    result = painter.edit(palette, None, "a cat", (64, 64))
    assert result.crop((0, 30, 64, 64)).getcolors() == [(64 * 34, (200, 100, 50))]
    assert (
        share_changed(result.crop((0, 0, 64, 30)), Image.new("RGB", (64, 30), (10, 20, 30))) > 0.9
    )
    image = noise((64, 64))
    masked = painter.edit(image, palette, "a cat", (64, 64))
    assert is_same(masked.crop((0, 30, 64, 64)), image.crop((0, 30, 64, 64)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B", "I", "F"])
def test_edit_and_vary_accept_every_mode(mode: str) -> None:
    """Images of any mode are edited, varied and left as they were."""
    source = Image.linear_gradient("L").resize((48, 48))
    image = Image.new(mode, (48, 48), 40000) if mode.startswith("I") else source.convert(mode)
    before = image.tobytes()
    mask = mask_with_hole((48, 48), (8, 8, 39, 39), (0, 0, 0, 255))
    for result in (painter.edit(image, mask, "a cat", (48, 48)), painter.vary(image, (48, 48))):
        assert result.size == (48, 48)
        assert result.mode == "RGB"
    assert image.tobytes() == before


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_transparent_colour_counts_as_alpha(mode: str) -> None:
    """The one transparent colour of a gray or RGB PNG marks what is edited."""
    clear = {"L": 77, "RGB": (1, 2, 3), "I;16": 4660}[mode]
    keep = {"L": 200, "RGB": (9, 99, 199), "I;16": 40000}[mode]
    drawn = Image.new(mode, (32, 32), keep)  # type: ignore[arg-type]
    drawn.paste(Image.new(mode, (32, 16), clear), (0, 0))  # type: ignore[arg-type]
    result = painter.edit(reopened(drawn, transparency=clear), None, "a cat", (32, 32))
    kept = result.crop((0, 16, 32, 32)).getcolors()
    expected = {"L": (200, 200, 200), "RGB": (9, 99, 199), "I;16": (156, 156, 156)}[mode]
    assert kept == [(512, expected)]
    assert len(result.crop((0, 0, 32, 16)).getcolors() or []) > 1


def test_transparent_colour_of_16_bit_rgb_counts_as_alpha() -> None:
    """Pillow reads 16-bit RGB as 8-bit but reports its transparent colour in 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    clear, keep = struct.pack(">HHH", 4660, 1, 65535), struct.pack(">HHH", 40000, 9, 7)
    rows = b"".join(b"\0" + (clear if y < 8 else keep) * 16 for y in range(16))
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0))
        + chunk(b"tRNS", clear)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    result = painter.edit(Image.open(io.BytesIO(png)), None, "a cat", (16, 16))
    assert result.mode == "RGB"
    assert result.crop((0, 8, 16, 16)).getcolors() == [(128, (156, 0, 0))]
    assert len(result.crop((0, 0, 16, 8)).getcolors() or []) > 1


@pytest.mark.parametrize("prompt", ["a neon city", "", "一只猫"])
def test_opaque_image_without_mask_is_restyled(prompt: str) -> None:
    """An edit of an opaque picture without a mask changes it as a whole, deterministically."""
    image = painter.paint("an otter", (256, 256))
    result = painter.edit(image, None, prompt, (256, 256))
    assert share_changed(image, result) > 0.5
    assert is_same(result, painter.edit(image, None, prompt, (256, 256)))
    assert not is_same(result, painter.edit(image, None, prompt, (256, 256), index=1))


def test_edit_resizes_after_the_edit() -> None:
    """A size other than the image's gives exactly that size."""
    mask = mask_with_hole((64, 64), (0, 0, 63, 20), (0, 0, 0, 255))
    assert painter.edit(noise((64, 64)), mask, "a cat", (100, 40)).size == (100, 40)


def test_edits_differ_by_index_and_repeat() -> None:
    """The same edit repeats itself; another index paints something else."""
    image = noise((128, 128))
    mask = mask_with_hole((128, 128), (10, 10, 117, 117), (0, 0, 0, 255))
    first = painter.edit(image, mask, FLAMINGO, (128, 128))
    assert is_same(first, painter.edit(image, mask, FLAMINGO, (128, 128)))
    assert share_changed(first, painter.edit(image, mask, FLAMINGO, (128, 128), index=1)) > 0.1


def test_flamingo_is_recognisable_in_the_hole() -> None:
    """The subject is drawn into the hole: much pink, which the empty pool does not have."""
    image = Image.new("RGB", (256, 256), (220, 220, 220))
    mask = mask_with_hole((256, 256), (40, 80, 215, 239), (0, 0, 0, 255))
    result = painter.edit(image, mask, FLAMINGO, (256, 256))
    red, green, _ = result.crop((40, 80, 216, 240)).split()
    assert sum(ImageChops.subtract(red, green).histogram()[60:]) > 800


@pytest.mark.parametrize("box", [(16, 16, 111, 111), (1, 1, 126, 126), (0, 0, 126, 127)])
@pytest.mark.parametrize("prompt", ["otter in the sea", "otter wearing a crown", "blob"])
def test_picture_is_extended_beyond_its_border(prompt: str, box: tuple[int, int, int, int]) -> None:
    """A kept middle stays, and the transparent border around it is painted, however thin."""
    image = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle(box, fill=(250, 0, 250, 255))
    result = painter.edit(image, None, prompt, (128, 128))
    assert result.mode == "RGB"
    inner = (box[0], box[1], box[2] + 1, box[3] + 1)
    assert result.crop(inner).getcolors() == [
        ((inner[2] - inner[0]) * (inner[3] - inner[1]), (250, 0, 250))
    ]


def test_wholly_transparent_image_is_painted() -> None:
    """Without any kept pixel the whole picture is painted."""
    result = painter.edit(Image.new("RGBA", (64, 64)), None, "blob", (64, 64))
    assert result.mode == "RGB"


# --- vary ------------------------------------------------------------------------------------


def test_variations_differ_from_the_input_and_from_each_other() -> None:
    """Ten variations have ten looks, and each repeats itself."""
    image = painter.paint("a corgi", (128, 128))
    results = [painter.vary(image, (128, 128), index=i) for i in range(10)]
    for i, one in enumerate(results):
        assert share_changed(image, one) > 0.1
        assert is_same(one, painter.vary(image, (128, 128), index=i))
        for two in results[i + 1 :]:
            assert share_changed(one, two) > 0.05


def test_variation_depends_on_the_input() -> None:
    """Another input is bent in another way."""
    one, two = (painter.paint(p, (64, 64)) for p in ("a corgi", "a fox"))
    assert not is_same(painter.vary(one, (64, 64)), painter.vary(two, (64, 64)))


@pytest.mark.parametrize("size", [(256, 256), (64, 48), (100, 300)])
def test_variation_has_the_asked_size(size: tuple[int, int]) -> None:
    """The size is exact, and transparency is kept."""
    assert painter.vary(noise((64, 64)), size).size == size
    result = painter.vary(painter.paint("a cat", (64, 64), transparent=True), size)
    assert (result.size, result.mode) == (size, "RGBA")


# --- encode ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16"])
@pytest.mark.parametrize(
    ("output_format", "magic"),
    [("png", b"\x89PNG\r\n\x1a\n"), ("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")],
)
def test_formats_are_what_they_claim(output_format: str, magic: bytes, mode: str) -> None:
    """Each format starts with its magic bytes and decodes to the same size."""
    image = Image.new(mode, (40, 30), 300) if mode == "I;16" else noise((40, 30)).convert(mode)
    data = painter.encode(image, output_format)
    assert data.startswith(magic)
    decoded = Image.open(io.BytesIO(data))
    assert decoded.size == (40, 30)
    assert decoded.format == output_format.upper()


def test_jpeg_shows_transparency_on_white() -> None:
    """Transparent pixels become white in JPEG and stay transparent in PNG and WebP."""
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((200, 0, 0, 255), (16, 0, 32, 32))
    with Image.open(io.BytesIO(painter.encode(image, "jpeg"))) as jpeg:
        assert min(jpeg.convert("RGB").getpixel((2, 16))) > 245  # type: ignore[arg-type]
    for output_format in ("png", "webp"):
        with Image.open(io.BytesIO(painter.encode(image, output_format))) as kept:
            assert kept.convert("RGBA").getpixel((2, 16))[3] == 0  # type: ignore[index]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_previews_get_sharper(mode: str, count: int) -> None:
    """Each preview has the size and mode of the picture, and is nearer to it than the last one."""
    image = painter.paint("an otter", (480, 320), transparent=mode == "RGBA")
    before = image.copy()
    previews = [painter.preview(image, index, count) for index in range(count)]
    assert {(preview.size, preview.mode) for preview in previews} == {(image.size, mode)}
    shares = [share_changed(preview, image) for preview in previews]
    assert shares == sorted(set(shares), reverse=True)
    assert shares[-1] > 0.02
    assert is_same(image, before)


@pytest.mark.parametrize("size", [(1, 1), (24, 3), (1, 900)])
def test_previews_of_odd_pictures(size: tuple[int, int]) -> None:
    """The smallest and narrowest pictures have previews, too."""
    assert painter.preview(noise(size), 0, 3).size == size


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_compression_sets_the_quality(output_format: str) -> None:
    """Higher numbers keep more; PNG ignores them."""
    image = noise((64, 64))
    sizes = [len(painter.encode(image, output_format, compression=q)) for q in (0, 50, 100)]
    assert sizes == sorted(set(sizes))
    assert painter.encode(image, "png", compression=0) == painter.encode(image, "png")


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_no_metadata_is_written(output_format: str) -> None:
    """What a decoder put into ``info`` is not carried over."""
    image = noise((16, 16))
    clean = painter.encode(image, output_format)
    image.info = {"comment": b"secret", "exif": b"Exif\0\0secret", "dpi": (300, 300)}
    assert painter.encode(image, output_format) == clean


def test_unknown_format_is_refused() -> None:
    """A format nobody knows is a ValueError that names the known ones."""
    with pytest.raises(ValueError, match="use png, jpeg or webp"):
        painter.encode(noise((4, 4)), "gif")
