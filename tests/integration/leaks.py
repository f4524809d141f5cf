"""Look for a secret wherever a logger, a debugger or an error tracker could show it."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Iterable
from pathlib import Path

TESTS = str(Path(__file__).parents[1])


def chain(error: BaseException) -> list[BaseException]:
    """Return the error, its causes and contexts, and the errors that it holds."""
    seen: dict[int, BaseException] = {}
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen[id(one)] = one
            left += [one.__cause__, one.__context__, *getattr(one, "errors", ())]
            left += getattr(one, "exceptions", ())
    return list(seen.values())


def everything(error: BaseException) -> str:
    """Return all that could be shown of an error: texts, notes, locals of the frames, pickles.

    Frames of the tests are left out: what a caller's own variables hold is not ours to hide.
    """
    shown: list[str] = []
    for one in chain(error):
        shown += [str(one), repr(one), repr(one.args), repr(vars(one))]
        shown.append(repr(getattr(one, "__notes__", "")))
        stack = traceback.StackSummary.extract(
            (
                (frame, line)
                for frame, line in traceback.walk_tb(one.__traceback__)
                if not frame.f_code.co_filename.startswith(TESTS)
            ),
            capture_locals=True,
        )
        shown += stack.format()
    shown.append(repr(pickle.dumps(error)))
    return "\n".join(shown)


def logged(records: Iterable[logging.LogRecord]) -> str:
    """Return all that could be shown of what was logged, the arguments included."""
    return "\n".join(f"{record.getMessage()}\n{record.__dict__!r}" for record in records)
