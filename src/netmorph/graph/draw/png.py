"""A scene as PNG, painted by matplotlib (extra `report`) from the same shapes as the SVG."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from netmorph.graph.draw.palette import LIGHT, WIDTHS
from netmorph.graph.draw.scene import Box, Curve, Head, Scene

__all__ = ["to_png"]

_DPI = 72  # one pixel is one point, so that fonts and lines keep the scene's sizes
_MOST_PIXELS = 40_000_000


def to_png(scene: Scene, *, scale: float = 2.0) -> bytes:
    """Paint a scene on white.

    Args:
        scene: the picture.
        scale: pixels of the image for each of the scene's; less where the image would be huge.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scale = min(scale, (_MOST_PIXELS / (scene.width * scene.height)) ** 0.5)
    figure = Figure(figsize=(scene.width / _DPI, scene.height / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes: Any = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    axes.axis("off")
    for box in scene.boxes:
        axes.add_patch(_box(box))
    for curve in scene.curves:
        axes.add_patch(_curve(curve))
    for head in scene.heads:
        axes.add_patch(_head(head))
    for label in scene.labels:
        axes.text(
            label.x,
            label.y + 0.35 * label.size,
            label.text,
            fontsize=label.size,
            color=LIGHT[label.role],
            family="DejaVu Sans Mono",
            weight="bold" if label.bold else "normal",
            ha="left" if label.start else "center",
            va="baseline",
            parse_math=False,
        )
    out = BytesIO()
    figure.savefig(out, format="png", dpi=_DPI * scale, facecolor=LIGHT["paper"])
    return out.getvalue()


def _box(box: Box) -> Any:
    from matplotlib.patches import BoxStyle, FancyBboxPatch

    return FancyBboxPatch(
        (box.x, box.y),
        box.width,
        box.height,
        boxstyle=BoxStyle.Round(pad=0, rounding_size=min(9.0, box.height / 2)),
        facecolor=LIGHT[f"{box.role}-fill"],
        edgecolor=LIGHT[box.role],
        linewidth=1.4,
    )


def _curve(curve: Curve) -> Any:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    (x, y), *others = curve.points
    points, codes = [(x, y)], [Path.MOVETO]
    for to_x, to_y in others:
        middle = (x + to_x) / 2
        points += [(middle, y), (middle, to_y), (to_x, to_y)]
        codes += [Path.CURVE4] * 3
        x, y = to_x, to_y
    dashes = (0, (5, 3)) if curve.role == "fixed" else "solid"
    return PathPatch(
        Path(points, codes), fill=False, edgecolor=LIGHT[curve.role], linewidth=WIDTHS[curve.role], linestyle=dashes
    )


def _head(head: Head) -> Any:
    from matplotlib.patches import Polygon

    x, y = head.x, head.y
    return Polygon([(x, y), (x - 8, y - 4.2), (x - 8, y + 4.2)], closed=True, facecolor=LIGHT[head.role], linewidth=0)
