"""The one entry: make a module graph equal a target filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from operator import index
from typing import Literal

import torch
from torch import Tensor, nn

from netmorph.errors import GraphError, InfeasibleMorph, NetmorphError
from netmorph.filters.default_device import on_cpu
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.cuts import source_cut
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.solver.alternating import alternate
from netmorph.solver.balance import balance
from netmorph.solver.births import parent_edge
from netmorph.solver.cancellation import check_cancellation
from netmorph.solver.dense import (
    EXACT,
    MISSING,
    choose_dense,
    dense_layouts,
    draw_dense,
    fill_dense,
    halo_layout,
    solve_cut,
)
from netmorph.solver.equation import residual_of
from netmorph.solver.plan import infeasible, ranked
from netmorph.solver.pointwise import fill
from netmorph.solver.solution import Solution, Status
from netmorph.solver.stepwise import step_through
from netmorph.solver.target import read_target

Method = Literal["closed-form", "alternating", "stepwise"]
TRIES = 6
_KEEP = ("pass keep_parent=True",)


@dataclass(frozen=True)
class Options:
    """How to solve.

    Attributes:
        method: "closed-form", "alternating" (Algorithm 2) or "stepwise" (along the morphing sequence).
        fill: "pointwise" or "dense".
        seed: random seed.
        noise: size of what cancels within the cut, relative to the target.
        keep_parent: whether an infeasible graph gets a parallel edge for what it leaves of the target.
        balanced: whether the factors' norms are made alike at every blob.
        max_iter: sweeps of the alternating method.
    """

    method: Method = "closed-form"
    fill: Literal["pointwise", "dense"] = "pointwise"
    seed: int = 0
    noise: float = 0.5
    keep_parent: bool = False
    balanced: bool = True
    max_iter: int = 100


@on_cpu
def solve(  # noqa: PLR0913 - every option of the public verb
    target: Tensor | Filter | nn.Module,
    graph: ModuleGraph | str,
    *,
    spec: ConvSpec | None = None,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = "same",
    method: Method = "closed-form",
    fill: Literal["pointwise", "dense"] = "pointwise",
    seed: int = 0,
    noise: float = 0.5,
    keep_parent: bool = False,
    balanced: bool = True,
    max_iter: int = 100,
    dtype: torch.dtype = torch.float64,
) -> Solution:
    """Return filters for every edge of `graph` whose module filter (eq. 5) is `target`.

    The default is closed-form and exact at zero-padded borders (beyond the paper). `method="alternating"` is the
    paper's Algorithm 2: one edge at a time by least squares from random noise; its solution runs with
    `border="halo"` and may leave a residual, as `status` reports.

    The computation runs on the CPU in float64; the filters are returned on the target's device.

    Args:
        target: weight (c_out, c_in / groups, *kernel), a filter, or a convolution or linear layer.
        graph: the module graph, or its notation.
        spec: geometry, if the target is a plain weight; or pass `stride`, `dilation` and `padding`.
        stride: stride, if the target is a plain weight.
        dilation: dilation, if the target is a plain weight.
        padding: padding, if the target is a plain weight; "same" by default.
        method: "closed-form", "alternating" or "stepwise".
        fill: "pointwise" (a single non-zero tap in all edges outside the cut) or "dense" (noise in all taps,
            border="halo").
        seed: random seed; the same seed gives the same filters on every machine.
        noise: size, relative to the target, of the random weights that cancel within the cut and break symmetry.
        keep_parent: if the graph cannot represent the target, add a parallel edge `parent` with the target's kernel.
            Its filter is the target minus what the other paths compute (which is small, but not zero, so that they
            learn).
        balanced: scale blobs by powers of two so that the factors have similar norms.
        max_iter: maximum number of sweeps of the alternating method.
        dtype: dtype of the returned filters.

    Raises:
        InfeasibleMorph: if the graph cannot represent the target exactly; the message states what is missing.
        ParityError: if the graph can represent the target, but the terms that cancel are too large for the precision of
            float64.
        GraphError: if the graph does not fit the site.
        NetmorphError: if the target is malformed or not finite.

    Example:
        >>> import torch
        >>> solution = solve(torch.randn(8, 4, 3, 3), "3x3:2x > 1x1 | 1x1", seed=1)
        >>> solution.status.name, solution.residual < 1e-12
        ('EXACT', True)
    """
    graph = graph if isinstance(graph, ModuleGraph) else parse(graph)
    filter_, site = read_target(target, spec=spec, stride=stride, dilation=dilation, padding=padding)
    try:
        seed = index(seed)  # NumPy's integers print otherwise, and noise follows from what is printed
    except TypeError as error:
        raise NetmorphError(f"expected an integer as seed, got {seed!r:.80}") from error
    options = Options(method, fill, seed, noise, keep_parent, balanced, max_iter)
    if not (isinstance(noise, Real) and 0 <= noise < float("inf")):
        raise NetmorphError(f"noise must be finite and at least 0 (it is relative to the target), got {noise!r:.80}")
    if not dtype.is_floating_point:
        raise NetmorphError(
            f"expected a floating-point dtype, got {dtype}", remedies=["leave dtype= out, or cast later"]
        )
    solver = _solvers().get((method, fill if method == "closed-form" else "pointwise"))
    if solver is None:
        raise NetmorphError(
            f"unknown method {method!r} with fill {fill!r}",
            remedies=["method is 'closed-form', 'alternating' or 'stepwise'; fill is 'pointwise' or 'dense'"],
        )
    device = filter_.weight.device
    filter_ = filter_.to("cpu")  # noise is drawn there, so that every machine and rank gets the same child
    try:
        solution = solver(filter_, site, graph, options)
    except InfeasibleMorph:
        if not keep_parent:
            raise
        wider = graph.with_edge(parent_edge(graph, site))
        solution = replace(solver(filter_, site, wider, options), status=Status.KEPT_PARENT)
    filters = {name: each.to(device).to(dtype) for name, each in solution.filters.items()}
    return replace(solution, filters=filters)


def _solvers() -> dict[tuple[str, str], Callable[[Filter, ConvSpec, ModuleGraph, Options], Solution]]:
    return {
        ("closed-form", "pointwise"): _pointwise,
        ("closed-form", "dense"): _dense,
        ("alternating", "pointwise"): _alternating,
        ("stepwise", "pointwise"): _stepwise,
    }


def _pointwise(target: Filter, site: ConvSpec, graph: ModuleGraph, options: Options) -> Solution:
    verdicts = ranked(graph, site, seed=options.seed)
    first = verdicts[0]
    missed: list[tuple[float, dict[str, Filter]]] = []
    for verdict in verdicts[:TRIES]:
        layout = verdict.layout
        try:
            found = fill(layout, target, seed=options.seed, noise=options.noise, drawn=verdict.drawn)
        except GraphError:
            if verdict.feasible:
                raise
            continue  # only a guess was lost
        residual = residual_of(layout.graph, found.filters, target)
        if not residual <= EXACT:  # NaN, too
            missed.append((residual, found.filters))
            continue
        filters = balance(layout, found.filters) if options.balanced else found.filters
        status = Status.EXACT if verdict.feasible is not False and found.full_rank else Status.EXACT_FOR_TARGET
        stats = {"condition": found.condition, "draws": found.draws, "iterations": found.iterations}
        return Solution(filters, residual, status, layout, stats)
    for residual, filters in missed:
        check_cancellation(graph, filters, target, residual, options.noise)
    if first.feasible:
        raise NetmorphError(
            "the graph can represent the filter by its maximum flow, but the solution does not: a bug in netmorph",
            graph=str(graph),
            shapes=str(site),
            remedies=["report it with graph, site and seed", "try another seed"],
        )
    raise infeasible(graph, site, first, low_rank=not _is_generic(target), keeps=options.keep_parent)


def _dense(target: Filter, site: ConvSpec, graph: ModuleGraph, options: Options) -> Solution:
    layouts = dense_layouts(graph, site)
    chosen = choose_dense(layouts, options.seed)
    if chosen is not None:
        layout = chosen.layout
        filters = solve_cut(layout, chosen.cut, draw_dense(layout, options.seed, chosen.attempt), target)
        residual = residual_of(graph, filters, target)
        if residual <= EXACT:
            filters = balance(layout, filters) if options.balanced else filters
            return Solution(filters, residual, Status.EXACT, layout, {"residuals": [residual]})
    residuals = []
    for layout in layouts:
        filters, stats = fill_dense(layout, target, seed=options.seed, max_iter=options.max_iter, tolerance=EXACT)
        residuals.append(residual_of(graph, filters, target))
        if residuals[-1] <= EXACT:
            filters = balance(layout, filters) if options.balanced else filters
            return Solution(filters, residuals[-1], Status.EXACT_FOR_TARGET, layout, stats)
        check_cancellation(graph, filters, target, residuals[-1], options.noise)
    raise InfeasibleMorph(
        f"dense fill leaves a relative residual of {min(residuals):.1e}",
        missing=MISSING,
        graph=str(graph),
        shapes=str(site),
        remedies=["widen the inner blobs", "use fill='pointwise'", *_KEEP[options.keep_parent :]],
    )


def _alternating(target: Filter, site: ConvSpec, graph: ModuleGraph, options: Options) -> Solution:
    layout = halo_layout(graph, site, source_cut(graph))
    filters, losses = alternate(layout, target, seed=options.seed, max_iter=options.max_iter, tolerance=EXACT)
    residual = residual_of(graph, filters, target)
    sweeps = len(losses) // max(1, sum(edge.fixed is None for edge in graph.edges))
    if options.keep_parent and not residual <= EXACT:
        raise stopped_short(residual, sweeps, graph, site)
    status = Status.EXACT_FOR_TARGET if residual <= EXACT else Status.INEXACT
    filters = balance(layout, filters) if options.balanced else filters
    return Solution(filters, residual, status, layout, {"losses": losses, "sweeps": sweeps})


def stopped_short(residual: float, sweeps: int, graph: ModuleGraph, site: ConvSpec) -> InfeasibleMorph:
    """Return the error to raise where Algorithm 2 does not reach the target."""
    return InfeasibleMorph(
        f"method 'alternating' leaves a relative residual of {residual:.1e} after {sweeps} sweeps, and falls too "
        "slowly for more to do",
        graph=str(graph),
        shapes=str(site),
        remedies=["use method='closed-form', which solves a whole cut at once"],
    )


def _stepwise(target: Filter, site: ConvSpec, graph: ModuleGraph, options: Options) -> Solution:
    layout, filters, checks = step_through(graph, site, target, seed=options.seed, noise=options.noise)
    residual = residual_of(graph, filters, target)
    if not residual <= EXACT:  # each step was checked; this holds their sum
        raise InfeasibleMorph(
            f"the steps together leave a relative residual of {residual:.1e}",
            missing="precision along the morphing sequence",
            graph=str(graph),
            shapes=str(site),
            remedies=["use method='closed-form', which solves a whole cut at once", *_KEEP[options.keep_parent :]],
        )
    filters = balance(layout, filters) if options.balanced else filters
    # What a step can do hangs on ranks and on the support: a target that lacks neither stands for all.
    status = Status.EXACT if _is_generic(target) else Status.EXACT_FOR_TARGET
    return Solution(filters, residual, status, layout, {"steps": checks})


def _is_generic(target: Filter) -> bool:
    """Return whether a filter has the rank and the support that its shape admits."""
    dense = target.dense().weight
    rows, columns = dense.flatten(1), dense.transpose(0, 1).flatten(1)
    full = all(int(torch.linalg.matrix_rank(each)) == min(each.shape) for each in (rows, columns))
    return full and target.trim().kernel == target.kernel
