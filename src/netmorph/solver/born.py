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
from netmorph.solver.beside import Parted
from netmorph.solver.births import Prepared, prepare
from netmorph.solver.pair import Halved
from netmorph.solver.plan import explained
from netmorph.solver.solution import Solution, Status
from netmorph.solver.solve import Options, solve


@on_cpu
def born(
    birth: Birth, target: Filter, graph: ModuleGraph, site: ConvSpec, acts: Mapping[str, Symmetry], options: Options
) -> Solution:
    """Return filters for every edge of `graph` with which its module, activations included, computes `target`.

    Args:
        birth: "slope" (activations are the identity, eq. 8), "pair", "zero" or "cancel"; where the target is zero,
            "pair" is "zero", for of `u = 0` and `-u` neither would learn.
        target: the layer's filter.
        graph: the module graph.
        site: geometry of the layer.
        acts: the activations of the graph's inner blobs; a blob that is missing has none.
        options: how to solve.

    Raises:
        InfeasibleMorph: if the graph cannot represent the target; the message states what is missing.
        GraphError: if the graph does not fit the site, or does not allow the birth.
    """
    silent = not target.weight.any()
    if birth == "pair" and silent and acts:  # pairs of nothing are zeros, where a ReLU has no gradient: readers are
        birth = "zero"
    prepared = prepare(birth, graph, site, acts, keep_parent=options.keep_parent, silent=silent)
    if prepared.linear is None:
        cut = source_cut(graph)
        layout = lay_out(graph, site, (cut,) * site.dims, cut)
        solution = Solution({}, 0.0, Status.EXACT_FOR_TARGET, layout)
    else:
        solution, prepared = _solved(target, prepared, site, options)
    if prepared.how is None:
        return solution
    layout, filters = prepared.layout(solution.layout), solution.filters
    if isinstance(prepared.how, Halved):
        filters = prepared.how.filters(layout, filters)
    else:
        filters = prepared.how.filters(layout, filters, seed=options.seed, size=options.noise)
    status = Status.KEPT_PARENT if prepared.parent else solution.status
    return replace(solution, layout=layout, filters=filters, status=status)


def _solved(target: Filter, prepared: Prepared, site: ConvSpec, options: Options) -> tuple[Solution, Prepared]:
    """Return the solution of a linear graph, and that graph with the parent's edge where it takes one.

    A core knows nothing of the names in the branches, so that the edge beside it is added here.
    """
    assert prepared.linear is not None
    beside = isinstance(prepared.how, Parted)
    how = vars(replace(options, keep_parent=options.keep_parent and not beside))
    try:
        return solve(target, prepared.linear, spec=site, **how), prepared
    except InfeasibleMorph as error:
        if not (beside and options.keep_parent):
            raise explained(error, prepared, site, seed=options.seed) from error
    prepared = prepared.with_parent(site)
    assert prepared.linear is not None
    return solve(target, prepared.linear, spec=site, **how), prepared
