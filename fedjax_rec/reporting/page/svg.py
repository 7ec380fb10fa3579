"""A chart of lines as SVG: no library, colours from the page's style sheet."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from html import escape

from fedjax_rec.reporting.series import Series

WIDTH, HEIGHT = 480, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 44
COLOURS = 6
"""Colours of lines in the style sheet; then they begin again, dashed."""

MOST_POINTS = 400
"""Of a line: more would not be seen."""


def chart(series: Sequence[Series], x_name: str, y_name: str) -> str:
    """Lines with bands as an SVG element.

    Every line carries its name, files and points (`data-name`, `data-sources`, `data-x`, `data-y`),
    so that what is drawn can be traced.

    Args:
      series: one line each, at least one of one point.
      x_name, y_name: of the axes.

    >>> one = Series("a", (0.0, 1.0), (0.5, 1.0), (0.5, 0.75), (0.5, 1.25), ("run/metrics.jsonl",))
    >>> text = chart([one], "rounds", "AUC")
    >>> text.startswith("<svg"), text.count("<path")
    (True, 2)
    """
    thin = [_thinned(one) for one in series]
    xs = ticks(min(min(one.x) for one in thin), max(max(one.x) for one in thin))
    ys = ticks(min(min(one.low) for one in thin), max(max(one.high) for one in thin))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(y_name)} by {escape(x_name)}">'
    ]
    parts += _axes(xs, ys, x_name, y_name)
    for one in thin:
        parts += _line(one, xs, ys)
    return "\n".join([*parts, "</svg>"])


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers from at most `low` to at least `high`.

    >>> ticks(0.0, 1.0), ticks(3.0, 3.0)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [2.8, 3.0, 3.2, 3.4, 3.6, 3.8, 4.0])
    """
    low, high = (low, high) if high > low else (low - 0.1, low + 0.9)
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda one: abs(one - rough))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12) for number in range(first, last + 1)]


def place(value: float, marks: Sequence[float], begin: float, end: float) -> float:
    """Where a value lies on an axis from `begin` to `end`, to a hundredth of a unit."""
    share = (value - marks[0]) / (marks[-1] - marks[0])
    return round(begin + share * (end - begin), 2)


def _at(x: float, y: float, xs: Sequence[float], ys: Sequence[float]) -> str:
    across = place(x, xs, LEFT, WIDTH - RIGHT)
    return f"{across:g},{place(y, ys, HEIGHT - BOTTOM, TOP):g}"


def _axes(xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for y in ys:
        at = place(y, ys, bottom, TOP)
        parts.append(f'<line class="rule" x1="{LEFT}" y1="{at}" x2="{right}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end">{y:g}</text>')
    for x in xs:
        at, anchor = place(x, xs, LEFT, right), "end" if x == xs[-1] else "middle"
        at += RIGHT / 2 if x == xs[-1] else 0  # inside of the picture
        parts.append(f'<text x="{at}" y="{bottom + 17}" text-anchor="{anchor}">{x:g}</text>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>'
    )
    up = (TOP + bottom) / 2
    parts.append(
        f'<text x="12" y="{up}" text-anchor="middle" transform="rotate(-90 12 {up})">'
        f"{escape(y_name)}</text>"
    )
    return parts


def _line(one: Series, xs: Sequence[float], ys: Sequence[float]) -> list[str]:
    tone = f"tone-{one.row % COLOURS}" + (" dashed" if one.row >= COLOURS else "")
    above = [_at(x, y, xs, ys) for x, y in zip(one.x, one.high, strict=True)]
    below = [_at(x, y, xs, ys) for x, y in zip(one.x, one.low, strict=True)]
    points = [_at(x, y, xs, ys) for x, y in zip(one.x, one.y, strict=True)]
    parts = []
    if one.low != one.high:
        parts.append(f'<path class="band {tone}" d="M{" L".join([*above, *reversed(below)])} Z"/>')
    facts = {
        "name": one.name,
        "sources": json.dumps(one.sources),
        "x": json.dumps(one.x),
        "y": json.dumps(one.y),
    }
    words = " ".join(f'data-{name}="{escape(text)}"' for name, text in facts.items())
    title = f"<title>{escape(one.name)}</title>"
    parts.append(f'<path class="line {tone}" {words} d="M{" L".join(points)}">{title}</path>')
    if len(points) == 1:
        across, down = points[0].split(",")
        parts.append(f'<circle class="dot {tone}" cx="{across}" cy="{down}" r="4"/>')
    return parts


def _thinned(one: Series) -> Series:
    """At most so many points, evenly, the last among them."""
    step = max(1, -(-len(one.x) // MOST_POINTS))
    kept = [number for number in range(len(one.x)) if (len(one.x) - 1 - number) % step == 0]

    def some(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(values[number] for number in kept)

    return replace(one, x=some(one.x), y=some(one.y), low=some(one.low), high=some(one.high))
