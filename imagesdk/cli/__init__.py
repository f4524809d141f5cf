"""The ``imagesdk`` command."""

from __future__ import annotations

import sys

__all__ = ("EXIT_CODES", "report_error")

EXIT_CODES = {
    "done": 0,
    "failed": 1,
    "usage": 2,
    "some_failed": 3,
    "stopped": 4,
    "refused": 5,
    "interrupted": 130,
}


def report_error(error: Exception, exit_code: str) -> int:
    """Tell of an error on standard error, and return the exit code of that name."""
    said = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        said = f"{' -> '.join(names)}: {error.strerror}"  # without Python's number
    print(f"imagesdk: {said}", file=sys.stderr)
    if request_id := getattr(error, "request_id", None):
        print(f"  request id: {request_id}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(f"  {note}", file=sys.stderr)
    return EXIT_CODES[exit_code]
