"""Name the subjects the emulator's painter knows and the words that call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from imagesdk.emulator import _animals, _things
from imagesdk.emulator._canvas import Ink, Pen

__all__ = ("SUBJECTS", "WEARABLE", "WORDS", "Subject", "dress")


class Subject(NamedTuple):
    """A drawing and where it lives.

    Attributes:
        draw: Draws the subject.
        head: Centre (x, y) and radius of the head, for hats and glasses; None without a head.
        home: Name of the scene used if the prompt names none; empty for a plain backdrop.
        afloat: Whether the subject hangs in the air or in water and has no shadow on the ground.
        bust: Whether the drawing is cut off below and belongs at the lower edge of a picture.
    """

    draw: Callable[[Pen, Ink], None]
    head: tuple[float, float, float] | None = None
    home: str = ""
    afloat: bool = False
    bust: bool = False


SUBJECTS: dict[str, Subject] = {
    "cat": Subject(_animals.cat, head=(0, -0.36, 0.5)),
    "dog": Subject(_animals.dog, head=(0, -0.34, 0.5)),
    "otter": Subject(_animals.otter, head=(0, -0.44, 0.54)),
    "fox": Subject(_animals.fox, head=(0, -0.34, 0.48), home="forest"),
    "rabbit": Subject(_animals.rabbit, head=(0, -0.24, 0.44), home="hills"),
    "bear": Subject(_animals.bear, head=(0, -0.42, 0.54)),
    "owl": Subject(_animals.owl, head=(0, -0.42, 0.5), home="forest"),
    "penguin": Subject(_animals.penguin, head=(0, -0.6, 0.36), home="mountains"),
    "flamingo": Subject(_animals.flamingo, head=(-0.32, -0.84, 0.14), home="sea"),
    "fish": Subject(_animals.fish, head=(-0.6, -0.1, 0.3), home="water", afloat=True),
    "whale": Subject(_animals.whale, head=(-0.6, -0.02, 0.4), home="water", afloat=True),
    "bird": Subject(_animals.bird, head=(-0.32, -0.34, 0.24)),
    "butterfly": Subject(_animals.butterfly, home="hills", afloat=True),
    "horse": Subject(_animals.horse, head=(-0.62, -0.62, 0.2), home="hills"),
    "house": Subject(_things.house, home="hills"),
    "tree": Subject(_things.tree, home="hills"),
    "flower": Subject(_things.flower),
    "robot": Subject(_things.robot, head=(0, -0.46, 0.5)),
    "rocket": Subject(_things.rocket, home="space", afloat=True),
    "star": Subject(_things.star, home="space", afloat=True),
    "heart": Subject(_things.heart, afloat=True),
    "moon": Subject(_things.moon, home="space", afloat=True),
    "sun": Subject(_things.sun, home="hills", afloat=True),
    "person": Subject(_animals.person, head=(0, -0.3, 0.42), bust=True),
    "boat": Subject(_things.boat, home="sea", afloat=True),
    "car": Subject(_things.car, home="city"),
    "cup": Subject(_things.cup),
    "balloon": Subject(_things.balloon, home="mountains", afloat=True),
    "lighthouse": Subject(_things.lighthouse, home="sea"),
    "cactus": Subject(_things.cactus, home="desert"),
    "beret": Subject(_things.beret, afloat=True),
    "crown": Subject(_things.crown, afloat=True),
    "glasses": Subject(_things.glasses, afloat=True),
    "scarf": Subject(_things.scarf, afloat=True),
}

WEARABLE = ("beret", "crown", "glasses", "scarf")

_ALIASES: dict[str, str] = {
    "cat": "cat cats kitten kitty siamese tabby 猫",
    "dog": "dog dogs puppy corgi corgis hound labrador shiba terrier 狗 柯基",
    "otter": "otter otters 水獭",
    "fox": "fox foxes 狐狸",
    "rabbit": "rabbit rabbits bunny hare 兔",
    "bear": "bear bears panda teddy koala 熊",
    "owl": "owl owls 猫头鹰",
    "penguin": "penguin penguins 企鹅",
    "flamingo": "flamingo flamingos flamingoes 火烈鸟",
    "fish": "fish goldfish koi clownfish 鱼",
    "whale": "whale whales dolphin 鲸",
    "bird": "bird birds parrot robin sparrow 鸟",
    "butterfly": "butterfly butterflies moth 蝴蝶",
    "horse": "horse horses pony unicorn 马",
    "house": "house houses home cottage cabin hut barn 房子",
    "tree": "tree trees oak maple bonsai 树",
    "flower": "flower flowers rose tulip daisy sunflower bouquet 花",
    "robot": "robot robots android cyborg bot 机器人",
    "rocket": "rocket rockets spaceship spacecraft 火箭",
    "star": "star 星星",
    "heart": "heart hearts love 心",
    "moon": "moon 月亮",
    "sun": "sun 太阳",
    "person": "portrait person woman man girl boy lady astronaut queen king painter 人",
    "boat": "boat boats ship sailboat yacht 船",
    "car": "car cars taxi automobile 汽车",
    "cup": "cup coffee tea mug teacup 咖啡",
    "balloon": "balloon balloons 气球",
    "lighthouse": "lighthouse 灯塔",
    "cactus": "cactus cacti succulent 仙人掌",
    "beret": "beret hat cap 贝雷帽",
    "crown": "crown tiara 皇冠",
    "glasses": "glasses sunglasses spectacles 眼镜",
    "scarf": "scarf 围巾",
}
WORDS: dict[str, str] = {word: name for name, line in _ALIASES.items() for word in line.split()}


def dress(pen: Pen, subject: Subject, thing: str, ink: Ink) -> None:
    """Put the wearable *thing* on the head of *subject* (nothing without a head)."""
    if subject.head is None:
        return
    x, y, r = subject.head
    spot = {
        "beret": pen.at(x + r * 0.12, y - r * 0.98, r * 0.92, turn=-0.14),
        "crown": pen.at(x, y - r * 1.12, r * 0.6),
        "glasses": pen.at(x, y - r * 0.02, r * 0.92),
        "scarf": pen.at(x, y + r * 0.95, r * 0.95),
    }[thing]
    SUBJECTS[thing].draw(spot, ink)
