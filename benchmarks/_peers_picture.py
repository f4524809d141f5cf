"""Draw the results of ``python -m benchmarks`` as an SVG: six panels of bars, readable in light and dark."""

from __future__ import annotations

from xml.sax.saxutils import escape

import attrs

from benchmarks._peers_results import Results
from benchmarks._peers_workloads import OURS

__all__ = ("draw", "short")

_WIDTH = 860
_COLUMN = 430
_LABEL = 130
_BAR = 185
_STEP = 24
_HEAD = 52
_GAP = 22
_TOP = 64
_BOTTOM = 34
_STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
.big { font-size: 19px; font-weight: 600 }
.head { font-size: 14px; font-weight: 600 }
.soft { font-size: 12px; fill: #59636e }
.ours { font-weight: 600 }
.name { text-anchor: end }
rect { fill: #b3bac4 }
rect.ours { fill: #1f6feb }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .soft { fill: #9198a1 }
  rect { fill: #4d5663 }
  rect.ours { fill: #4493f8 }
}"""


@attrs.frozen
class _Panel:
    """One figure of one workload, for each client."""

    title: str
    workload: str
    field: str
    unit: str
    more_is_better: bool = False

    @property
    def suffix(self) -> str:
        """The unit behind a number."""
        return self.unit.removeprefix("requests")

    def values(self, results: Results) -> dict[str, float]:
        """Return what there is to draw; the raw socket saves nothing and would need no memory."""
        clients = [
            each for each in results.workloads.get(self.workload, ()) if each != "raw socket"
        ]
        return {client: self._value(results, client) for client in clients}

    def _value(self, results: Results, client: str) -> float:
        value = results.figure(self.workload, client, self.field)
        if self.field != "wall":
            return value
        requests = results.workloads[self.workload][client][0]["requests"]
        return 1 / value if self.more_is_better else value * requests


_PANELS = (
    _Panel(
        "Small JSON answers, 32 in flight", "small-32", "wall", "requests/s", more_is_better=True
    ),
    _Panel("32 images of 20 MB to disk: time", "save-1x20mb-32", "wall", "s"),
    _Panel("32 images of 20 MB to disk: memory", "save-1x20mb-32", "rss_mb", "MB"),
    _Panel("32 images of 20 MB to disk: event loop blocked", "save-1x20mb-32", "lag_ms", "ms"),
    _Panel("32 streams: first partial image after", "stream-32", "first_ms", "ms"),
    _Panel("Upload of 16 files of 20 MB: memory", "upload-16x20mb-1-path", "rss_mb", "MB"),
)


def draw(results: Results) -> str:
    """Return the picture; panels of workloads that were not measured are left out, and it says if all are."""
    panels = [(panel, values) for panel in _PANELS if (values := panel.values(results))]
    parts: list[str] = []
    top = _TOP
    for at in range(0, len(panels), 2):
        row = panels[at : at + 2]
        for column, (panel, values) in enumerate(row):
            parts += _bars(panel, values, left=column * _COLUMN, top=top)
        top += _HEAD + _STEP * max(len(values) for _, values in row) + _GAP
    if not panels:
        drawn = ", ".join(dict.fromkeys(panel.workload for panel in _PANELS))
        nothing = f"None of the workloads that are drawn was measured: {drawn}."
        parts.append(f'<text x="16" y="{top}">{nothing}</text>')
        top += _STEP + _GAP
    height = top + _BOTTOM - _GAP
    about = f"{results.about['day']}, {results.about['machine']}; medians of rounds in turn"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
            "<title>imagesdk beside other clients of the Images API</title>",
            f"<style>\n{_STYLE}\n</style>",
            '<text class="big" x="16" y="32">imagesdk beside other clients of the Images API</text>',
            *parts,
            f'<text class="soft" x="16" y="{height - 12}">{escape(about)}</text>',
            "</svg>\n",
        ]
    )


def _bars(panel: _Panel, values: dict[str, float], *, left: int, top: int) -> list[str]:
    better = "more" if panel.more_is_better else "less"
    parts = [
        f'<text class="head" x="{left + 16}" y="{top + 14}">{escape(panel.title)}</text>',
        f'<text class="soft" x="{left + 16}" y="{top + 32}">{panel.unit}, {better} is better</text>',
    ]
    most = max(values.values()) or 1.0
    for number, (client, value) in enumerate(values.items()):
        y = top + _HEAD + number * _STEP
        own = " ours" if client == OURS else ""
        width = max(2.0, _BAR * value / most)
        x = left + _LABEL + 8
        text = f"{short(value)} {panel.suffix}"
        parts += [
            f'<text class="name{own}" x="{left + _LABEL}" y="{y + 5}">{escape(client)}</text>',
            f'<rect class="{own.strip()}" x="{x}" y="{y - 7}" width="{width:.1f}" height="15"/>',
            f'<text class="{own.strip()}" x="{x + width + 7:.1f}" y="{y + 5}">{text}</text>',
        ]
    return parts


def short(value: float) -> str:
    """Write a number with two or three digits that count."""
    if value >= 10:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"
