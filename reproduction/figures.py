"""The pictures of an experiment, as SVG and PNG: curves over epochs, and errors by depth as in the paper's figure 5."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reproduction.bars import draw_bars
from reproduction.canvas import CONTROL_COLORS, GREY, GROWN, PARENT, heading, new_figure, title, write_figure
from reproduction.experiment import Experiment, TableRow
from reproduction.finished import Finished, read_finished
from reproduction.spread import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]


def draw(experiment: Experiment, out: Path) -> list[Path]:
    """Draw what is finished so far into an experiment's folder.

    Curves are drawn for each grown network: mean test error over cumulative epochs, a band of one standard deviation
    over seeds, a line where it was grown, and its controls dashed. For "figure5a" and "figure5b" bars of error by depth
    come besides.

    Args:
        experiment: what is, or was, to be done.
        out: its folder.

    Returns:
        The files: ``curves.*`` (for "figure6" ``figure6.*``) and ``figure5a.*``; none where nothing is finished.

    Raises:
        NetmorphError: if a finished job's file is damaged.
        OSError: if the files cannot be written.
    """
    finished = read_finished(experiment, out)
    if not finished.done:
        return []
    made = []
    rows = [row for row in experiment.rows if row.net.startswith("morph")] or list(experiment.rows)
    if any(finished.curve(key) for row in rows for key in _all_keys(finished, row)):
        name = "figure6" if experiment.table == "figure6" else "curves"
        made += write_figure(_curves(finished, rows), out / name)
    if experiment.table.startswith("figure5"):
        made += write_figure(draw_bars(finished), out / experiment.table)
    return made


def _all_keys(finished: Finished, row: TableRow) -> list[str]:
    """Return all jobs that a row's panel shows."""
    keys = [key for keys in row.controls.values() for key in keys]
    return [job.key for key in (*row.result, *keys) for job in finished.chain(key)]


def _curves(finished: Finished, rows: Sequence[TableRow]) -> Figure:
    """Draw a panel for each row."""
    columns = 1 if len(rows) == 1 else 2 if len(rows) <= 4 else 3
    lines = -(-len(rows) // columns)
    figure = new_figure(4.6 * columns + (1.2 if columns == 1 else 0), 3.1 * lines + 1.0)
    for index, row in enumerate(rows):
        _panel(finished, row, figure.add_subplot(lines, columns, index + 1))
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    names = [name for name in ("parent", "grown", *CONTROL_COLORS) if name in handles]
    figure.legend(
        [handles[name] for name in names], names, loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    figure.suptitle(title(finished), fontsize=10)
    return figure


def _panel(finished: Finished, row: TableRow, axes: Axes) -> None:
    """Draw one row: its parent, its phases, its controls."""
    chains = [finished.chain(key) for key in row.result]
    last = []
    for name, keys in row.controls.items():
        for step in zip(*(finished.chain(key) for key in keys), strict=True):
            if step[0].kind != "parent":
                last += _band(
                    axes, finished, [job.key for job in step], name, color=CONTROL_COLORS[name], linestyle="--"
                )
    for step in zip(*chains, strict=True):
        born = step[0].kind == "parent"
        label, color = ("parent", PARENT) if born else ("grown", GROWN)
        last += _band(axes, finished, [job.key for job in step], label, color=color, linestyle="-")
    _mark_births(finished, row, axes)
    axes.set_title(heading(row), fontsize=9)
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel("test error (%)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.93")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _zoom(axes, last)


def _band(axes: Axes, finished: Finished, keys: Iterable[str], label: str, **style: Any) -> list[list[float]]:
    """Draw mean and deviation of the jobs of one training over their seeds; return the means."""
    points: dict[int, list[float]] = {}
    for key in keys:
        for epoch, error in finished.curve(key):
            points.setdefault(epoch, []).append(error)
    if not points:
        return []
    epochs = sorted(points)
    spreads = [Spread(tuple(points[epoch])) for epoch in epochs]
    means = [spread.mean for spread in spreads]
    known = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    axes.plot(epochs, means, linewidth=1.4, label=None if label in known else label, **style)
    low, high = ([m + sign * (s.std or 0.0) for m, s in zip(means, spreads, strict=True)] for sign in (-1, 1))
    axes.fill_between(epochs, low, high, color=style["color"], alpha=0.15, linewidth=0)
    return [means]


def _mark_births(finished: Finished, row: TableRow, axes: Axes) -> None:
    """Mark where the network was grown, and into what."""
    births = dict.fromkeys(birth for key in row.result for birth in finished.births(key))
    for epoch, net in births:
        axes.axvline(epoch, color=GREY, linewidth=0.9, linestyle=":")
        axes.text(
            epoch, 0.985, net.partition("_")[2], color="0.3", rotation=90, ha="center", va="top", fontsize=7,
            transform=axes.get_xaxis_transform(), bbox={"color": "white", "pad": 0.8}, zorder=5,
        )  # fmt: skip


def _zoom(axes: Axes, means: Sequence[Sequence[float]]) -> None:
    """Show the errors that matter: down from three times the best, past which only first epochs lie."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if means:
        best = min(min(line) for line in means)
        ends = max(line[-1] for line in means)
        highest = max(max(line) for line in means)
        axes.set_ylim(max(0.0, 0.85 * best), min(1.05 * highest, max(2.5 * best, 1.3 * ends)) + 1e-9)
