"""How the command line prints a morph: each site's module and measured parity, the costs, the notices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from netmorph.cli.console import table

if TYPE_CHECKING:
    from netmorph.graph.spec import ModuleGraph
    from netmorph.surgery.morphing.result import Result

__all__ = ["print_morph"]

_LONGEST = 40


def print_morph(out: Any, result: Result) -> None:
    """Print what became of each site and how far it is from the layer that it replaced.

    Args:
        out: the console.
        result: the morph, or the growth of morphed modules.
    """
    from netmorph.graph.reduce import reduce
    from netmorph.surgery.records.grown_places import RegrownModule
    from netmorph.surgery.records.morphed_site import MorphedSite

    rows = []
    for site, parity in zip(result.sites, result.parity.sites, strict=True):
        graph = site.graph if isinstance(site, MorphedSite | RegrownModule) else None
        bordered = any(each.border is not None for each in parity.measured)
        rows.append(
            (
                site.name or "(the model itself)",
                "-" if graph is None else _short(graph),
                "-" if graph is None else "simple" if reduce(graph).is_simple else "complex",
                f"{parity.interior:.1e}",
                f"{parity.border:.1e}" if bordered else "-",
                "-" if parity.train is None else f"{parity.train:.1e}",
                f"{parity.tolerance:.0e}",
            )
        )
    heads = ("site", "module", "kind", "interior", "border", "train mode", "tolerance")
    out.print(
        table(heads, rows, title="Parity of each site: largest difference, relative to its largest output", left=3)
    )
    out.print(f"  outputs of the network: largest difference {result.parity.max_abs:.1e}")
    out.print(f"  for one call on the example: {result.cost}")
    for notice in result.notices:
        out.print(f"  note: {notice}", markup=False)


def _short(graph: ModuleGraph) -> str:
    """Write a graph as notation, or by its name in the catalogue where that is long."""
    from netmorph.graph.catalogue import catalogue

    text = str(graph)
    if len(text) <= _LONGEST:
        return text
    return next((name for name in catalogue if catalogue[name] == graph), text)
