"""The picture of a run: test error against epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["draw_curves"]


def draw_curves(path: Path, curves: Mapping[str, tuple[int, Sequence[float]]], birth: int, title: str) -> None:
    """Draw test errors as a PNG.

    Args:
        path: the file to write.
        curves: for each network its first epoch and its test errors in percent, one an epoch from there on.
        birth: the epoch after which the parent was morphed.
        title: the line above the picture.
    """
    # The object interface needs no display and leaves no global state behind.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for color, (name, (start, errors)) in zip(_COLORS, curves.items(), strict=False):
        epochs = range(start, start + len(errors))
        axes.plot(epochs, errors, color=color, label=name, linewidth=1.8, marker="o", markersize=3)
    axes.axvline(birth, color="0.6", linewidth=1, linestyle="--")
    axes.text(birth, 1.0, " morphed", color="0.4", va="top", transform=axes.get_xaxis_transform(), fontsize=9)
    axes.set(xlabel="epoch", ylabel="test error (%)", title=title)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, format="png")


# Okabe and Ito's palette, told apart by the colour-blind too.
_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
