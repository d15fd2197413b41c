"""What the pictures of an experiment share: colours, headings, and how they are written."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from netmorph.whole_files import write_whole
from reproduction.experiment import NET2NET, ON, ON_MACS, PLAIN, SCRATCH, SCRATCH_MACS, TableRow
from reproduction.finished import Finished, phases_of, title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CONTROL_COLORS", "GREY", "GROWN", "PARENT", "heading", "new_figure", "title", "write_figure"]

# Okabe and Ito's palette, told apart by the colour-blind too; controls are dashed besides.
PARENT, GROWN = "#000000", "#0072B2"
CONTROL_COLORS = {
    ON: "#D55E00",
    ON_MACS: "#8C3A00",
    SCRATCH: "#009E73",
    SCRATCH_MACS: "#00523B",
    PLAIN: "#CC79A7",
    NET2NET: "#E69F00",
}
GREY = "0.45"


def heading(row: TableRow) -> str:
    """Name a row, on two lines where it grew in phases."""
    if "variant" in row.figure:
        return f"{row.net}\n{title_of(row)}"
    return f"{row.net}\nthrough {phases_of(row)}" if row.phases else row.net


def title(finished: Finished) -> str:
    """Say what is shown."""
    experiment = finished.experiment
    data = ", ".join(finished.named("data"))
    seeds = len(experiment.seeds)
    return f"{data}, {experiment.budget.name} budget, {seeds} seed{'s' if seeds > 1 else ''}"


def new_figure(width: float, height: float) -> Figure:
    """Make a figure by the object interface, which needs no display and leaves no global state behind."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as SVG and PNG, aside and renamed; the same figure makes the same bytes."""
    from matplotlib import rc_context

    made = []
    for kind in ("svg", "png"):
        target, drawn = path.with_suffix(f".{kind}"), BytesIO()
        with rc_context({"svg.hashsalt": "netmorph"}):
            figure.savefig(drawn, format=kind, metadata={"Date": None} if kind == "svg" else None)
        write_whole(target, drawn.getvalue())
        made.append(target)
    return made
