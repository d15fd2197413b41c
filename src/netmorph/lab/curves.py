"""The picture of a run: test error against compute."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from netmorph.lab.report.page import SERIES

__all__ = ["draw_curves"]


def draw_curves(
    path: Path,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    birth: float,
    title: str,
    across: str,
    controls: Collection[str] = (),
) -> None:
    """Draw test errors as a PNG; the report on the run has the same colours.

    The picture ends at twice the largest of the last errors: how a network begins is not what it is about.

    Args:
        path: the file to write.
        curves: for each network its points, (compute, test error in percent).
        birth: the compute at which the parent was morphed.
        title: the line above the picture.
        across: what compute is counted in.
        controls: networks that are there to be compared with: dashed.
    """
    # The object interface needs no display and leaves no global state behind.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for color, (name, points) in zip(SERIES, curves.items(), strict=False):
        style, order, size = ("--", 2, 2.5) if name in controls else ("-", 3, 3.5)
        (line,) = axes.plot(*zip(*points, strict=True), style, color=color, label=name, linewidth=1.8, zorder=order)
        line.set(marker="o", markersize=size)
    axes.axvline(birth, color="0.6", linewidth=1, linestyle=":")
    axes.text(birth, 1.0, " morphed", color="0.4", va="top", transform=axes.get_xaxis_transform(), fontsize=9)
    axes.set_ylim(top=min(axes.get_ylim()[1], 2 * max(points[-1][1] for points in curves.values())))
    axes.set(xlabel=across, ylabel="test error (%)", title=title)
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, format="png")
