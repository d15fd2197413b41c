"""Line charts as inline SVG: light and dark, no scripts, legible on a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["COLOURS", "Line", "chart", "ticks"]

WIDTH, HEIGHT = 560.0, 330.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 14.0, 20.0, 46.0
COLOURS = 6  # of the page's style; further lines begin again


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        name: what the legend calls it.
        points: (x, y), by rising x.
        dashed: whether it is a control.
    """

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def chart(
    lines: Sequence[Line],
    *,
    across: str,
    up: str,
    births: Sequence[float] = (),
    from_zero: bool = True,
    top: float = math.inf,
) -> str:
    """Return a chart with its legend.

    Args:
        lines: what to draw; those without points are left out.
        across: the x axis.
        up: the y axis.
        births: where to draw a vertical line: a network was morphed there.
        from_zero: whether the y axis begins at zero.
        top: where the y axis may end, though lines come from above.
    """
    drawn = [line for line in lines if line.points]
    if not drawn:
        return ""
    xs = [x for line in drawn for x, _ in line.points] + list(births)
    ys = [y for line in drawn for _, y in line.points]
    frame = _Frame(ticks(min(xs), max(xs), whole=True), ticks(0.0 if from_zero else min(ys), min(top, max(ys))))
    title = f"{up} by {across}: {', '.join(line.name for line in drawn)}"
    parts = [
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(title)}</title>",
        *frame.axes(across, up),
    ]
    for birth in births:
        x = frame.x(birth)
        parts.append(f'<path class="birth" d="M{x:.1f} {_TOP:g}V{HEIGHT - _BOTTOM:g}"/>')
        anchor = "end" if x > 0.7 * WIDTH else "start"
        parts.append(
            f'<text x="{x + (-5 if anchor == "end" else 5):.1f}" y="{_TOP - 6:g}" text-anchor="{anchor}">morphed</text>'
        )
    plot = f'<rect y="{_TOP:g}" width="{WIDTH:g}" height="{HEIGHT - _TOP:g}"/>'
    parts.append(f'<clipPath id="plot">{plot}</clipPath><g clip-path="url(#plot)">')
    for number, line in sorted(enumerate(drawn), key=lambda each: not each[1].dashed):  # controls lie below
        path = "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in line.points)
        dash = " dashed" if line.dashed else ""
        parts.append(f'<path class="series c{number % COLOURS}{dash}" d="M{path}"/>')
        if len(line.points) <= 40:
            dots = "".join(f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.6"/>' for x, y in line.points)
            parts.append(f'<g class="dot c{number % COLOURS}">{dots}</g>')
    return "\n".join([*parts, "</g>", "</svg>", _legend(drawn)])


def ticks(low: float, high: float, *, whole: bool = False, most: int = 6) -> list[float]:
    """Return round values that cover a range, four to six where that can be.

    Args:
        low: the smallest value.
        high: the largest value.
        whole: whether only whole numbers make sense.
        most: how many at most.
    """
    if not high > low:
        high = low + 1.0
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [power * factor for factor in (1, 2, 5, 10)]
    step = next(step for step in steps if step >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


class _Frame:
    """The axes of a chart."""

    def __init__(self, across: Sequence[float], up: Sequence[float]) -> None:
        self.across, self.up = across, up

    def x(self, value: float) -> float:
        """Return where a value lies."""
        low, high = self.across[0], self.across[-1]
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return where a value lies."""
        low, high = self.up[0], self.up[-1]
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, across: str, up: str) -> list[str]:
        """Return grid, numbers and names."""
        parts = []
        for value in self.up:
            y = self.y(value)
            parts.append(f'<path class="grid" d="M{_LEFT:g} {y:.1f}H{WIDTH - _RIGHT:g}"/>')
            parts.append(f'<text x="{_LEFT - 8:g}" y="{y + 5:.1f}" text-anchor="end">{_number(value)}</text>')
        for value in self.across:
            x, y = self.x(value), HEIGHT - _BOTTOM + 19
            parts.append(f'<text x="{x:.1f}" y="{y:g}" text-anchor="middle">{_number(value)}</text>')
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle:g}" y="{HEIGHT - 6:g}" text-anchor="middle">{escape(across)}</text>')
        turn = f'transform="rotate(-90 14 {HEIGHT / 2:g})"'
        parts.append(f'<text x="14" y="{HEIGHT / 2:g}" text-anchor="middle" {turn}>{escape(up)}</text>')
        return parts


def _number(value: float) -> str:
    return f"{value:.10g}"


def _legend(lines: Sequence[Line]) -> str:
    entries = []
    for number, line in enumerate(lines):
        dash = " dashed" if line.dashed else ""
        sample = f'<path class="series c{number % COLOURS}{dash}" d="M1 4H27"/>'
        entries.append(f'<li><svg viewBox="0 0 28 8" width="28" height="8">{sample}</svg> {escape(line.name)}</li>')
    return f'<ul class="legend">{"".join(entries)}</ul>'
