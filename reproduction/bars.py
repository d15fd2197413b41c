"""Errors by depth, as bars: the paper's Figure 5 with the control that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netmorph.models.paper_net import parse_net
from reproduction.canvas import CONTROL_COLORS, GREY, GROWN, PARENT, heading, new_figure, title
from reproduction.experiment import ON, TableRow
from reproduction.finished import Finished
from reproduction.spread import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_bars"]

_WIDTH = 0.17


@dataclass(frozen=True)
class _Bar:
    """A bar at every depth: the paper's figure or ours, of the plain network or the morphed one."""

    label: str
    morphed: bool
    control: str = ""
    paper: bool = False

    def spread(self, finished: Finished, plain: TableRow, grown: TableRow) -> Spread | None:
        """Return its height and deviation; None where nothing is measured."""
        row = grown if self.morphed else plain
        if self.paper:
            return Spread((float(row.figure["error"]),))
        keys = grown.controls.get(self.control, ()) if self.control else row.result
        return finished.spread(keys, "error")

    @property
    def style(self) -> dict[str, Any]:
        """How it looks: the paper's hatched, ours filled."""
        color = CONTROL_COLORS[self.control] if self.control else GROWN if self.morphed else PARENT
        return {"color": "white", "edgecolor": color, "hatch": "///"} if self.paper else {"color": color}


_BARS = (
    _Bar("ResNet, paper", morphed=False, paper=True),
    _Bar("ResNet, ours", morphed=False),
    _Bar("ResNet trained on, ours", morphed=False, control=ON),
    _Bar("morphed, paper", morphed=True, paper=True),
    _Bar("morphed, ours", morphed=True),
)


def draw_bars(finished: Finished) -> Figure:
    """Draw for each depth the plain network, the best morphed one, and the plain one trained on for as many epochs.

    Which morphed network stands for a depth is decided by the paper's figures alone, never by ours.

    Args:
        finished: the experiment so far.
    """
    pairs = _by_depth(finished.experiment.rows)
    figure = new_figure(2.6 + 2.4 * max(1, len(pairs)), 4.4)
    axes = figure.add_subplot()
    for place, bar in enumerate(_BARS):
        spreads = [bar.spread(finished, *pair) for pair in pairs]
        _draw(axes, (place - len(_BARS) // 2) * _WIDTH, spreads, label=bar.label, **bar.style)
    names = [f"{parse_net(grown.net).depth} layers\n{heading(grown)}" for _, grown in pairs]
    axes.set_xticks(range(len(pairs)), names, fontsize=8)
    axes.set_ylabel("test error (%)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.12)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(title(finished), fontsize=10)
    return figure


def _draw(axes: Axes, shift: float, spreads: Sequence[Spread | None], label: str, **style: Any) -> None:
    """Draw a bar at each depth with its figure above; nothing where nothing is measured."""
    for depth, spread in enumerate(spreads):
        if spread is None:
            continue
        x, deviation = depth + shift, spread.std or 0.0
        axes.bar(x, spread.mean, 0.92 * _WIDTH, linewidth=0.8, label=label, **style)
        label = "_"  # one entry in the legend
        if deviation:
            axes.errorbar(x, spread.mean, deviation, color=GREY, capsize=2, linewidth=1)
        place = (x, spread.mean + deviation)
        axes.annotate(f"{spread.mean:.2f}", place, (0, 2), textcoords="offset points", ha="center", fontsize=6.5)


def _by_depth(rows: Sequence[TableRow]) -> list[tuple[TableRow, TableRow]]:
    """Return for each depth the plain row and that of the morphed network which errs least in the paper."""
    pairs = []
    for plain in (row for row in rows if row.net.startswith("resnet")):
        depth = parse_net(plain.net).depth
        grown = [row for row in rows if row.net.startswith("morph") and parse_net(row.net).depth == depth]
        if grown:
            pairs.append((plain, min(grown, key=lambda row: float(row.figure["error"]))))
    return pairs
