"""Filters for a module that is born with a real activation: solved without it, then carried over (beyond the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netmorph.errors import InfeasibleMorph
from netmorph.filters.default_device import on_cpu
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.symmetry import Birth, Symmetry
from netmorph.solver.beside import beside, needs_core, part
from netmorph.solver.pair import SLOPE, Halved, halve, lift
from netmorph.solver.solution import Solution, Status
from netmorph.solver.solve import Options, parent_edge, solve


@on_cpu
def born(
    birth: Birth, target: Filter, graph: ModuleGraph, site: ConvSpec, acts: Mapping[str, Symmetry], options: Options
) -> Solution:
    """Return filters for every edge of `graph` with which its module, activations included, computes `target`.

    Args:
        birth: "slope" (activations are the identity, eq. 8), "pair", "zero" or "cancel".
        target: the layer's filter.
        graph: the module graph.
        site: geometry of the layer.
        acts: the activations of the graph's inner blobs; a blob that is missing has none.
        options: how to solve.

    Raises:
        InfeasibleMorph: the graph cannot hold the target; says what is missing.
        GraphError: the graph does not fit the site, or cannot be born so.
    """
    if birth == "slope":
        return solve(target, graph, spec=site, **vars(options))
    if birth == "pair":
        return _pair(target, graph, site, acts, options)
    parted = part(graph, acts)
    core, keeps = parted.core, False
    if core is None:
        if not options.keep_parent:
            raise needs_core(graph, site, birth)
        core, keeps = ModuleGraph((parent_edge(graph, site),), source=graph.source, sink=graph.sink), True
    solution = solve(target, core, spec=site, **vars(options))
    layout, filters = beside(
        graph, parted, solution.layout, solution.filters, birth=birth, seed=options.seed, size=options.noise
    )
    status = Status.KEPT_PARENT if keeps else solution.status
    return replace(solution, layout=layout, filters=filters, status=status)


def _pair(
    target: Filter, graph: ModuleGraph, site: ConvSpec, acts: Mapping[str, Symmetry], options: Options
) -> Solution:
    halved = halve(graph, site, acts)
    try:
        solution = solve(target, halved.graph, spec=site, **vars(options))
    except InfeasibleMorph as error:
        raise half_widths(error, halved, graph) from error
    layout, filters = lift(halved, graph, solution.layout, solution.filters)
    return replace(solution, layout=layout, filters=filters)


def half_widths(error: InfeasibleMorph, halved: Halved, graph: ModuleGraph) -> InfeasibleMorph:
    """Return the error that says of a halved graph's widths what it means for the graph's own."""
    if not halved.pairs:
        return error
    keep = [remedy for remedy in error.remedies if remedy.startswith("pass keep_parent")]
    return InfeasibleMorph(
        f"{error.what}; birth='pair' passes on half of the channels of {', '.join(map(repr, halved.pairs))}",
        missing=error.missing,
        graph=str(graph),
        shapes=error.shapes,
        remedies=["give the activated blobs twice the channels", SLOPE, *keep],
    )
