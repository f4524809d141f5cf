"""What people read about a batch that is planned, at work or done."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from imagesdk.batch import Estimate
from imagesdk.batch.entries import State
from imagesdk.batch.overview import Overview
from imagesdk.batch.plan import Plan
from imagesdk.batch.records import Status
from imagesdk.cli.batch_view import duration
from imagesdk.cli.render import counted, shortened

__all__ = ("told_estimate", "told_next", "told_overview", "told_plan")

_NAMES: dict[State, str] = {
    "done": "done",
    "started": "in flight",
    "submitted": "at the server",
    "pending": "to do",
    "failed": "failed",
    "rejected": "rejected",
    "in_doubt": "in doubt",
}
_ERROR_CHARS = 160
_FIELDS_TOLD = 10
_AT_ONCE = 5.0
"""Seconds below which nothing waits for the next minute: a limiter spreads what goes at once over two."""
_CUT_OFF = " when the run was cut off: in doubt, unless the next run finds their images"


def told_plan(plan: Plan, limit: float | None) -> str:
    """Return what a dry run says.

    Args:
        plan: What it found.
        limit: Images a minute, None for no limit.
    """
    to_do = plan.to_do
    lines = [
        ("input", _asked(plan.total.jobs, plan.total.images)),
        (
            plan.duplicates and "the same",
            f"{counted(plan.duplicates, 'asks', 'ask')} for what another one asks for: each is made, and paid for",
        ),
        *(
            (
                _NAMES[state] if state != "done" else "done before",
                f"{count:,}, left as they are",
            )
            for state, count in plan.before.items()
        ),
        ("to do", _calls(to_do)),
        (
            plan.in_doubt and "in doubt",
            f"{plan.in_doubt:,} of them may have been billed; what is in doubt is sent again (--in-doubt skip leaves it)",
        ),
        (plan.upload_bytes and "upload", _bytes(plan.upload_bytes)),
        *(
            (
                "passed on",
                f"{name} ({counted(count, 'request')}): no parameter that is known here; the server may refuse it",
            )
            for name, count in list(plan.passed_on.items())[:_FIELDS_TOLD]
        ),
        *_foreseen(to_do, limit),
    ]
    return _columns((name, text) for name, text in lines if name)


def _asked(requests: int, images: int) -> str:
    return f"{counted(requests, 'request')} for {counted(images, 'image')}"


def told_estimate(found: Estimate, limit: float | None) -> str:
    """Return what a dry run of one call says.

    Args:
        found: What it takes.
        limit: Images a minute, None for no limit.
    """
    return _columns([("to do", _calls(found)), *_foreseen(found, limit)])


def _calls(found: Estimate) -> str:
    more = f", in {counted(found.calls, 'call')}" if found.calls != found.requests else ""
    return _asked(found.requests, found.images) + more


def _foreseen(found: Estimate, limit: float | None) -> Iterator[tuple[str, str]]:
    """Yield what requests wait and cost, as far as that is known."""
    if found.requests:
        yield "time", _time(found.wait, limit)
    if found.cost is not None:
        yield "cost", " to ".join(f"{amount:,.2f}" for amount in sorted({*found.cost}))


def _time(wait: float, limit: float | None) -> str:
    if limit is None:
        return "no limit: as long as the server takes"
    if wait < _AT_ONCE:
        within = f"within {duration(wait)}" if round(wait) else "at once"
        return f"all may go {within} (limit {limit:g} images a minute); then as long as the server takes"
    return (
        f"the last one goes after {duration(wait)} (limit {limit:g} images a minute), and then takes what the "
        "server takes"
    )


def told_overview(seen: Overview, out: Path) -> str:
    """Return how far the run in *out* is."""
    total = sum(seen.requests.values())
    cut_off = () if seen.is_running else ("started",)
    lines = [
        ("run", f"{out}: {_asked(total, seen.images_asked)}"),
        *(
            (name, f"{seen.requests[state]:,}{_CUT_OFF if state in cut_off else ''}")
            for state, name in _NAMES.items()
            if seen.requests[state]
        ),
        ("images", f"{seen.images:,}, {_bytes(seen.image_bytes)}"),
        *([] if seen.cost is None else [("cost", f"{seen.cost:,.2f} at most")]),
        *(
            ("error", f"{f.requests:,} like {f.custom_id}: {shortened(f.error, _ERROR_CHARS)}")
            for f in seen.failures
        ),
        ("now", "a run is at work" if seen.is_running else "nobody works here"),
    ]
    return _columns(lines)


def told_next(how: str, retry: Iterable[str], ended: Mapping[Status, int]) -> str:
    """Return how to go on with the requests that did not end well, "" if all did.

    Args:
        how: What goes for all of the commands.
        retry: The command that does again what failed.
        ended: Requests by how they ended, in this run or before.
    """
    again = shlex.join(retry)
    lines = [
        (
            ended["failed"] + ended["partial"],
            again,
            "does again what failed",
        ),
        (
            ended["rejected"],
            f"{again} --include rejected",
            "sends again what was rejected, as it is; or change its lines and run the file again",
        ),
        (
            ended["in_doubt"],
            f"{again} --include in_doubt",
            "sends again what is in doubt, and may be billed twice then",
        ),
    ]
    width = max(len(command) for _, command, _ in lines)
    told = [f"  {command:<{width}}  {what}" for count, command, what in lines if count]
    return "\n".join([f"next, {how}:", *told]) if told else ""


def _columns(lines: Iterable[tuple[object, str]]) -> str:
    return "\n".join(f"{name!s:<14}{text}" for name, text in lines)


def _bytes(count: int) -> str:
    if count < 1_000_000:
        return f"{count / 1000:,.0f} kB"
    return f"{count / 1_000_000:,.1f} MB"
