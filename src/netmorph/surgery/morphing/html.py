"""Plans and results as HTML: what notebooks show, and what the report is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from netmorph.graph.draw.write import Drawable
from netmorph.surgery.records.morphed_site import MorphedSite

if TYPE_CHECKING:
    from netmorph.surgery.morphing.plan import ModelPlan, PlannedSite
    from netmorph.surgery.morphing.result import Result
    from netmorph.surgery.running.cost import CostChange

__all__ = ["cost_table", "drawings", "plan_html", "result_html", "table", "times"]

_MOST = 12  # drawings in a notebook
_MOST_NAMES = 12


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Return a table; cells are plain text.

    Args:
        heads: the columns' names.
        rows: the cells.
        left: how many columns are text; the others are numbers, aligned right.
    """

    def cells(tag: str, row: Sequence[str]) -> str:
        aligned = ("" if index < left else ' style="text-align:right"' for index in range(len(row)))
        return "".join(f"<{tag}{how}>{escape(cell)}</{tag}>" for how, cell in zip(aligned, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table>"


def times(after: int, before: int) -> str:
    """Return how many times as much one number is."""
    return f"{after / before:.2f}" if before else "-"


def cost_table(cost: CostChange) -> str:
    """Return parameters and MACs before and after."""
    rows = [
        (what, f"{before:,}", f"{after:,}", times(after, before))
        for what, before, after in (
            ("parameters", cost.before.params, cost.after.params),
            ("MACs of one call", cost.before.macs, cost.after.macs),
        )
    ]
    return table(("cost", "before", "after", "times"), rows)


def drawings(sites: Sequence[tuple[str, Drawable]], most: int | None = None, *, style: bool = True) -> str:
    """Return a figure for each different module, with the names of the sites that have it.

    Args:
        sites: name and module of each.
        most: figures at most.
        style: whether each figure brings its colours; else the page must (`netmorph.graph.draw.svg.STYLE`).
    """
    groups: dict[object, tuple[Drawable, list[str]]] = {}
    for name, what in sites:
        groups.setdefault((what.graph, str(what.marks)), (what, []))[1].append(name or "(the model itself)")
    parts = [_figure(what, names, style=style) for what, names in list(groups.values())[:most]]
    if len(groups) > len(parts):
        parts.append(f"<p>and {len(groups) - len(parts)} more kinds of modules</p>")
    return "\n".join(parts)


def _figure(what: Drawable, names: Sequence[str], *, style: bool) -> str:
    from netmorph.graph.draw.picture import draw_graph, is_drawable
    from netmorph.graph.draw.svg import to_svg

    picture = to_svg(draw_graph(what.graph, what.marks), style=style) if is_drawable(what.graph) else ""
    different = list(dict.fromkeys(names))
    sites = ", ".join(f"<b>{escape(name)}</b>" for name in different[:_MOST_NAMES])
    more = f" and {len(different) - _MOST_NAMES} more" if len(different) > _MOST_NAMES else ""
    caption = f"<figcaption>{sites}{more}<br><code>{escape(str(what.graph))}</code></figcaption>"
    return f'<figure style="margin:1em 0;overflow-x:auto">{caption}{picture}</figure>'


def plan_html(plan: ModelPlan) -> str:
    """Return a plan: verdicts, cost, and a drawing of each different module."""
    heads = ("site", "exact", "why, and what would do", "weights", "MACs of the call")
    skipped = "".join(f"<li>{escape(name)} is skipped: {escape(why)}</li>" for name, why in plan.refused.items())
    parts = [
        table(heads, map(_planned, plan.sites), left=3),
        f"<ul>{skipped}</ul>" if skipped else "",
        cost_table(plan.cost),
        drawings([(each.site.name, each.plan) for each in plan.sites], _MOST),
    ]
    return f"<div>{''.join(parts)}</div>"


def _planned(planned: PlannedSite) -> tuple[str, ...]:
    plan = planned.plan
    verdict = {True: "yes", False: "no", None: "only solving tells"}[plan.feasible]
    before, after = planned.macs
    return (
        planned.site.name or "(the model itself)",
        verdict,
        "; or ".join([plan.missing or plan.reason, *plan.remedies]),
        f"{plan.parent_params:,} → {plan.params:,}",
        f"{before:,} → {after:,}",
    )


def result_html(result: Result) -> str:
    """Return a result: parity of each site, cost, notices, and a drawing of each different module."""
    rows = [
        (
            parity.site or "(the model itself)",
            "the same" if parity.exact else "differs",
            f"{parity.interior:.1e}",
            f"{parity.border:.1e}",
            "-" if parity.train is None else f"{parity.train:.1e}",
            f"{parity.tolerance:.0e}",
        )
        for parity in result.parity.sites
    ]
    heads = ("site", "parity", "interior", "border", "train mode", "tolerance")
    notices = "".join(f"<li>{escape(notice)}</li>" for notice in result.notices)
    outputs = f"largest difference of the network's outputs: {result.parity.max_abs:.1e}"
    drawn: list[tuple[str, Drawable]] = [(site.name, site) for site in result.sites if isinstance(site, MorphedSite)]
    parts = [
        table(heads, rows, left=2),
        f"<p>{outputs}</p>",
        f"<ul>{notices}</ul>" if notices else "",
        cost_table(result.cost),
        drawings(drawn, _MOST),
    ]
    return f"<div>{''.join(parts)}</div>"
