"""The parts of a report, each from what is known of the run; empty where nothing is."""

from __future__ import annotations

import base64
import json
import math
from html import escape

from netmorph.lab.report.chart import Line, chart
from netmorph.lab.report.run import MorphParity, Run
from netmorph.surgery.morphing.html import drawings, table, times

__all__ = ["costs", "curves", "facts", "modules", "networks", "parity", "scrolling", "slopes"]

_MOST = 40  # drawings
_MOST_ROWS = 16


def scrolling(html: str) -> str:
    """Return what may be wider than a phone."""
    return f'<div class="scroll">{html}</div>'


def facts(run: Run) -> str:
    """Return what a reader wants to know first."""
    items = []
    sites = [site for each in run.parity for site in each.sites]
    if sites:
        wrong = [site.site for site in sites if not site.same]
        worst = max(max(site.interior, site.border) for site in sites)
        count = sum(site.count for site in sites)
        where = f"all {count} sites" if count > 1 else "the one site"
        if wrong:
            named = escape(", ".join(wrong))
            text = f"The function was <b>not kept</b> at {named}: up to {worst:.1e} of the largest output is missed."
        else:
            text = (
                f"<b>The function was kept</b> at {where}: the largest difference in "
                f"eval mode is {worst:.1e} of the layer's largest output, the tolerance "
                f"{min(site.tolerance for site in sites):.0e}."
            )
        items.append(("bad" if wrong else "good", text))
    items += [("", escape(reading)) for reading in run.readings]
    items += [("", f"Note: {escape(notice)}") for notice in run.notices]
    return f'<ul class="facts">{"".join(f"<li class={json.dumps(kind)}>{text}</li>" for kind, text in items)}</ul>'


def modules(run: Run) -> str:
    """Return a drawing of each different module, and how it grows from one edge."""
    from netmorph.graph.draw.picture import is_drawable
    from netmorph.graph.draw.strip import draw_strip
    from netmorph.graph.draw.svg import to_svg

    if not run.sites:
        return ""
    strips = []
    for graph in dict.fromkeys(site.graph for _, site in run.sites if is_drawable(site.graph)):
        strip = to_svg(draw_strip(graph), style=False)
        strips.append(f"<figure><figcaption><code>{escape(str(graph))}</code></figcaption>{scrolling(strip)}</figure>")
    return (
        '<p class="soft">A box is a blob with its channels, a line a convolution with its kernel. Thick blue lines '
        "carry the layer's filter: they were solved for, so that with the others, drawn at random, the module computes "
        "what the layer did.</p>"
        + drawings(run.sites, _MOST, style=False)
        + f"<details><summary>How each module grows from one edge</summary>{''.join(strips[:_MOST])}</details>"
    )


def parity(run: Run) -> str:
    """Return the measured parity of each site with a plain verdict."""
    return "".join(_parity(each, titled=len(run.parity) > 1) for each in run.parity)


def _parity(each: MorphParity, *, titled: bool) -> str:
    heads = ("site", "verdict", "interior", "border", "train mode", "tolerance")
    rows = []
    for site in each.sites:
        verdict = "the same function" if site.same else "differs"
        mark = "good" if site.same else "bad"
        train = "-" if site.train is None else f"{site.train:.1e}"
        cells = [f"{site.interior:.1e}", f"{site.border:.1e}", train, f"{site.tolerance:.0e}"]
        numbers = "".join(f'<td style="text-align:right">{cell}</td>' for cell in cells)
        name = escape(site.site or "(the model itself)")
        rows.append(f'<tr><td>{name}</td><td class="{mark}">{verdict}</td>{numbers}</tr>')
    head = "".join(
        f"<th{'' if number < 2 else ' style=text-align:right'}>{escape(text)}</th>" for number, text in enumerate(heads)
    )
    note = (
        "<p class=soft>Differences are relative to the layer's largest output. The verdict refers to eval mode, in "
        "the interior and at the border; train mode, where BatchNorm uses each batch's own statistics, is measured but "
        "not part of the verdict. "
        f"The outputs of the whole network differ by at most {each.outputs:.1e}.</p>"
    )
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    listed = scrolling(body)
    if len(rows) > _MOST_ROWS and all(site.same for site in each.sites):
        listed = f"<details><summary>All {len(rows)} are the same function</summary>{listed}</details>"
    return f"{f'<h3>{escape(each.title)}</h3>' if titled else ''}{listed}{note}"


def costs(run: Run) -> str:
    """Return parameters and MACs before and after each morph."""
    heads = ("", "before", "after", "times")
    rows = []
    for each in run.parity:
        if each.cost is not None:
            before, after = each.cost["before"], each.cost["after"]
            which = f", {each.title}" if len(run.parity) > 1 else ""
            for key, what in (("params", "parameters"), ("macs", "MACs of the example")):
                ratio = times(after[key], before[key])
                rows.append((what + which, f"{before[key]:,}", f"{after[key]:,}", ratio))
    return scrolling(table(heads, rows)) if rows else ""


def networks(run: Run) -> str:
    """Return the comparison, and what else the run tabulated."""
    parts = []
    if run.networks is not None:
        parts.append(scrolling(table(*run.networks)))
    return "".join([*parts, run.body])


def curves(run: Run) -> str:
    """Return the training curves, controls dashed, with their numbers."""
    lines = [Line(curve.name, curve.points, dashed=curve.control) for curve in run.curves]
    compared = len(lines) > 1  # then how a network began is not what it is about
    top = 2 * max(curve.points[-1][1] for curve in run.curves if curve.points) if compared else math.inf
    drawn = chart(lines, across=run.across, up="test error, %", births=run.births, from_zero=not compared, top=top)
    numbers = ""
    if drawn:
        rows = [(curve.name, *(f"{at:.4g}", f"{error:.2f}")) for curve in run.curves for at, error in curve.points]
        listed = scrolling(table(("network", run.across, "test error, %"), rows))
        numbers = f"<details><summary>The numbers</summary>{listed}</details>"
    pictures = "".join(
        f'<figure><figcaption>{escape(title)}</figcaption><img class="picture" alt="{escape(title)}" '
        f'src="data:image/svg+xml;base64,{base64.b64encode(content.encode()).decode()}"></figure>'
        for title, content in run.pictures
    )
    return drawn + numbers + pictures


def slopes(run: Run) -> str:
    """Return how far the activations have moved from the identity."""
    if not run.slopes.now:
        return ""
    rows = [(row.name, f"{row.mean:.3f}", f"{row.low:.3f}", f"{row.high:.3f}") for row in run.slopes.now]
    moved = max(max(abs(1 - row.low), abs(1 - row.high)) for row in run.slopes.now)
    said = (
        "All are 1: the activations have not changed since the morph."
        if moved == 0
        else f"The farthest from 1 has moved by {moved:.3f}."
    )
    note = (
        "<p class=soft>Each new activation starts as the identity, with slope 1 for negative input. Training may "
        f"change the slope; at 0 it is the plain activation. {said}</p>"
    )
    listed = scrolling(table(("slope", "mean", "smallest", "largest"), rows))
    if len(rows) > _MOST_ROWS:
        listed = f"<details><summary>Each of {len(rows)}</summary>{listed}</details>"
    return note + listed
