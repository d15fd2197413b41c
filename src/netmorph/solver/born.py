"""Filters for a module that is born with a real activation: solved without it, then carried over (beyond the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from netmorph.errors import InfeasibleMorph
from netmorph.filters.default_device import on_cpu
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.cuts import source_cut
from netmorph.graph.layout import lay_out
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.symmetry import Birth, Symmetry
from netmorph.solver.births import prepare
from netmorph.solver.pair import Halved
from netmorph.solver.solution import Solution, Status
from netmorph.solver.solve import Options, solve


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
    silent = not target.weight.any()
    prepared = prepare(birth, graph, site, acts, keep_parent=options.keep_parent, silent=silent)
    if prepared.linear is None:
        cut = source_cut(graph)
        layout = lay_out(graph, site, (cut,) * site.dims, cut)
        solution = Solution({}, 0.0, Status.EXACT_FOR_TARGET, layout)
    else:
        try:
            solution = solve(target, prepared.linear, spec=site, **vars(options))
        except InfeasibleMorph as error:
            raise prepared.explained(error) from error
    if prepared.how is None:
        return solution
    layout, filters = prepared.layout(solution.layout), solution.filters
    if isinstance(prepared.how, Halved):
        filters = prepared.how.filters(layout, filters)
    else:
        twins = birth == "cancel"
        filters = prepared.how.filters(layout, filters, twins=twins, seed=options.seed, size=options.noise)
    status = Status.KEPT_PARENT if prepared.parent else solution.status
    return replace(solution, layout=layout, filters=filters, status=status)
