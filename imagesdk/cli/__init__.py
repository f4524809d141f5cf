"""The ``imagesdk`` command."""

from __future__ import annotations

__all__ = ("EXIT_CODES",)

EXIT_CODES = {
    "done": 0,
    "failed": 1,
    "usage": 2,
    "some_failed": 3,
    "stopped": 4,
    "refused": 5,
    "interrupted": 130,
}
