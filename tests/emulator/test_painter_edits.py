"""Edits: every index shows another picture inside the mask, and every input shows up."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageDraw

from imagesdk.emulator import painter
from imagesdk.emulator._caption import caption_px

EXAMPLES = Path(__file__).parents[2] / "examples"
BERET = "A cute baby sea otter wearing a beret"
POOL = "A sunlit indoor lounge area with a pool in which an otter swims"
PURE = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def most(image: Image.Image) -> Image.Image:
    """Return the largest of the three channels of every pixel."""
    red, green, blue = image.split()
    return ImageChops.lighter(ImageChops.lighter(red, green), blue)


def share_changed(one: Image.Image, two: Image.Image) -> float:
    """Return the share of pixels that differ visibly (by more than 12 of 255)."""
    far = ImageChops.difference(one.convert("RGB"), two.convert("RGB"))
    return sum(most(far).histogram()[13:]) / (one.width * one.height)


def mask_with_hole(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """Return a mask that is transparent inside *box*."""
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    ImageDraw.Draw(mask).rectangle(box, fill=(0, 0, 0, 0))
    return mask


def pure_pixels(image: Image.Image, color: tuple[int, int, int]) -> int:
    """Count the pixels that are as good as *color*."""
    far = ImageChops.difference(image.convert("RGB"), Image.new("RGB", image.size, color))
    return sum(most(far).histogram()[:9])


# --- index -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "mask", "prompt", "least"),
    [("otter.png", "otter_mask.png", BERET, 0.2), ("sunlit_lounge.png", "mask.png", POOL, 0.04)],
)
def test_every_index_differs_inside_the_mask_only(
    image: str, mask: str, prompt: str, least: float
) -> None:
    """The ten results of one edit differ visibly from each other, and nowhere outside the hole."""
    base, hole = Image.open(EXAMPLES / image), Image.open(EXAMPLES / mask)
    clear = hole.getchannel("A").point([255] + [0] * 255)
    box = clear.getbbox()
    kept = ImageChops.invert(clear)
    results = [painter.edit(base, hole, prompt, base.size, index=i) for i in range(10)]
    blank = Image.new("RGB", base.size)
    outside = Image.composite(base, blank, kept).tobytes()
    for i, one in enumerate(results):
        assert Image.composite(one, blank, kept).tobytes() == outside
        for two in results[i + 1 :]:
            assert share_changed(one.crop(box), two.crop(box)) > least


def test_a_named_colour_stays_whatever_the_index() -> None:
    """A beret whose colour is in the prompt has it in every picture."""
    image = Image.new("RGB", (200, 200), (120, 120, 120))
    mask = mask_with_hole((200, 200), (30, 30, 169, 109))
    for index in range(10):
        result = painter.edit(image, mask, "wearing a red beret", (200, 200), index=index)
        assert pure_pixels(result, (214, 62, 56)) > 500


@pytest.mark.parametrize("prompt", ["an otter", "a cup", "a portrait of a woman"])
def test_subjects_differ_by_index(prompt: str) -> None:
    """The subject itself, not only what is behind it, looks different in every picture."""
    shots = [painter.paint(prompt, (128, 128), index=i, transparent=True) for i in range(10)]
    for i, one in enumerate(shots):
        for two in shots[i + 1 :]:
            assert share_changed(one, two) > 0.01


# --- several inputs --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(256, 256), (384, 256), (256, 384)])
@pytest.mark.parametrize("count", [2, 3, 16])
def test_every_input_influences_an_edit_without_mask(count: int, size: tuple[int, int]) -> None:
    """Without a mask all inputs are laid out: replacing any of them changes the result."""
    inputs = [Image.new("RGB", (60 + i, 50), (i * 15, 90, 200)) for i in range(count)]
    first = painter.edit(inputs[0], None, "a collage", size, others=inputs[1:])
    assert (first.size, first.mode) == (size, "RGB")
    for number in range(count):
        changed = list(inputs)
        changed[number] = Image.linear_gradient("L").resize(inputs[number].size)
        second = painter.edit(changed[0], None, "a collage", size, others=changed[1:])
        assert share_changed(first, second) > 0.01, number


def test_inputs_with_a_mask_show_inside_the_hole_only() -> None:
    """With a mask the others are small pictures in the hole, and the rest stays."""
    image = Image.new("RGB", (256, 256), (200, 200, 200))
    mask = mask_with_hole((256, 256), (40, 60, 215, 239))
    others = [Image.new("RGB", (90, 60), color) for color in PURE]
    for prompt in (POOL, BERET, "a robot", "nothing known"):
        result = painter.edit(image, mask, prompt, (256, 256), others=others)
        for color in PURE:
            assert pure_pixels(result, color) > 60, (prompt, color)
        box = ImageChops.difference(image, result).getbbox()
        assert box is not None
        assert box[0] >= 40
        assert box[1] >= 60
        assert box[2] <= 216
        assert box[3] <= 240


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (3, 3, 60, 5), (0, 0, 63, 63), (9, 9, 20, 20)])
@pytest.mark.parametrize("index", [0, 1])
def test_any_hole_takes_any_number_of_inputs(box: tuple[int, int, int, int], index: int) -> None:
    """Holes without room for the small pictures are edited all the same."""
    image = Image.new("RGB", (64, 64), (200, 200, 200))
    mask = mask_with_hole((64, 64), box)
    others = [Image.new("RGB", (3, 900), (250, 0, 0))] * 15
    for prompt in (POOL, BERET, ""):
        result = painter.edit(image, mask, prompt, (64, 64), index=index, others=others)
        assert ImageChops.difference(image, result).getbbox() is not None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("edge", [1, 40, 900])
def test_inputs_of_every_mode_and_size(mode: str, edge: int) -> None:
    """Further inputs may have any mode and size; they are not changed."""
    other = Image.new(mode, (edge, 30), 1 if mode != "CMYK" else (1, 2, 3, 4))
    before = other.tobytes()
    for mask in (None, mask_with_hole((64, 64), (8, 8, 55, 55))):
        image = Image.new("RGB", (64, 64), (9, 99, 199))
        result = painter.edit(image, mask, "a cat", (64, 64), others=[other])
        assert (result.size, result.mode) == ((64, 64), "RGB")
    assert other.tobytes() == before


def test_edits_of_several_inputs_repeat_and_differ_by_index() -> None:
    """The same inputs give the same bytes; another index gives another picture."""
    one, two = painter.paint("a fox", (100, 100)), painter.paint("an owl", (120, 80))
    for mask in (None, mask_with_hole((100, 100), (10, 10, 89, 89))):
        first, again, other = (
            painter.edit(one, mask, "a robot", (100, 100), index=i, others=[two]) for i in (0, 0, 1)
        )
        assert first.tobytes() == again.tobytes()
        assert share_changed(first, other) > 0.1


@pytest.mark.parametrize("edge", [1, 9, 30])
def test_tiny_pictures_are_edited(edge: int) -> None:
    """Pictures without room for a caption are restyled and laid out without one."""
    image = Image.linear_gradient("L").resize((edge, edge))
    for others in ((), (image, image)):
        for size in ((edge, edge), (256, 256)):
            result = painter.edit(image, None, "a neon city", size, others=others)
            assert result.size == size
    assert painter.paint("a neon city", (edge + 1, edge + 1)).size == (edge + 1, edge + 1)


def test_inputs_without_a_prompt_are_laid_out() -> None:
    """A prompt without words gives no caption, and the pictures fill the whole size."""
    image = painter.paint("a fox", (100, 100))
    result = painter.edit(image, None, "", (256, 256), others=[image])
    assert result.size == (256, 256)
    assert caption_px(result) == 0


# --- captions --------------------------------------------------------------------------------


def test_captions_are_found() -> None:
    """The strip below a painted picture is found; other light pictures have none."""
    painted = painter.paint("a corgi", (256, 256))
    height = caption_px(painted)
    assert 8 < height < 40
    cream = painted.crop((0, 256 - height, 2, 258 - height)).resize((64, 64))
    assert caption_px(cream) == 0
    assert caption_px(painter.paint("", (256, 256))) == 0
    assert caption_px(Image.new("RGB", (3, 3))) == 0


@pytest.mark.parametrize("index", [0, 1])
def test_variations_keep_the_caption(index: int) -> None:
    """A caption is neither mirrored nor bent, the picture above it is varied."""
    painted = painter.paint("a corgi", (256, 256))
    top = 256 - caption_px(painted)
    varied = painter.vary(painted, (256, 256), index=index)
    strip = (0, top, 256, 256)
    assert varied.crop(strip).tobytes() == painted.crop(strip).tobytes()
    assert share_changed(varied.crop((0, 0, 256, top)), painted.crop((0, 0, 256, top))) > 0.1
    assert caption_px(painter.vary(varied, (128, 128))) > 8


def test_restyling_replaces_the_caption() -> None:
    """An edit without a mask has the new caption only, however long the old one was."""
    long = painter.paint("a corgi that " + "waits and " * 9, (256, 256))
    short = painter.edit(long, None, "neon", (256, 256))
    assert caption_px(short) == caption_px(painter.paint("neon", (256, 256))) < caption_px(long)
    assert caption_px(painter.edit(long, None, "", (256, 256))) == 0
