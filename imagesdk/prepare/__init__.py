"""Make pictures into what a server takes: upright, square, small enough; and make masks.

Needs Pillow (extra ``prepare``). All functions are synchronous and decode whole pictures: in a coroutine
call them as ``await asyncio.to_thread(square_png, "photo.jpg")``. They are safe in threads.

Every function takes the image in any form that `imagesdk.ImageSession.edit` takes, and returns a `Prepared` picture: its
bytes, and what was changed. A picture that is right as it is comes back byte for byte, with its
metadata and content credentials.
"""

from __future__ import annotations

from imagesdk.prepare._masks import (
    mask_from_alpha,
    mask_from_boxes,
    mask_from_difference,
    mask_from_luma,
)
from imagesdk.prepare._pictures import Prepared
from imagesdk.prepare._resize import resize, square_png, upright

__all__ = (
    "Prepared",
    "mask_from_alpha",
    "mask_from_boxes",
    "mask_from_difference",
    "mask_from_luma",
    "resize",
    "square_png",
    "upright",
)
