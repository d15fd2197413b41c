"""Pointwise fill: the closed-form default (docs/algebra.md; beyond the paper).

Only the solved cut's edges use all their taps; every other edge starts with a single tap. The morphism equation then
falls apart into a small matrix problem for each tap, they share one factorisation, and zero padding stays exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

from netmorph.errors import GraphError
from netmorph.filters.filter import Filter
from netmorph.graph.layout import Layout
from netmorph.graph.spec import Edge
from netmorph.solver.factor import Drawn, Factor
from netmorph.solver.grid import ravel, target_taps
from netmorph.solver.iterate import conjugate_gradients
from netmorph.solver.noise import generator, uniform
from netmorph.solver.system import Carriers, System, build, split_crossing

DRAWS = 8
GENERIC_DRAWS = 3  # a rank that three independent draws lack is lacking for good
WELL_CONDITIONED = 100.0
BEYOND = 1e-9  # relative size of what no edge has, above which no solution is exact
TAPS_AT_ONCE = 1 << 17  # numbers


@dataclass
class Fill:
    """A pointwise solution before it is checked.

    Attributes:
        filters: by edge name.
        condition: the largest condition number of a stacked matrix A or B.
        draws: how often the noise was drawn.
        full_rank: whether every tap's matrices have the rank that any target needs.
        iterations: of conjugate gradients, where they were needed.
    """

    filters: dict[str, Filter]
    condition: float = 1.0
    draws: int = 1
    full_rank: bool = True
    iterations: int = 0


def draw_system(layout: Layout, seed: int, *, aside_scale: float = 1.0) -> Drawn:
    """Draw until every stacked matrix has full rank and a condition below 100; the best of 8 draws.

    Returns:
        the system, its factors by carrying edges, and the number of draws.
    """
    best: tuple[float, System, dict[Carriers, Factor]] | None = None
    for attempt in range(DRAWS):
        system = build(layout, seed, attempt, aside_scale)
        factors = {names: Factor.of(system, names) for names in system.carriers if names}
        worst = max((factor.condition for factor in factors.values()), default=1.0)
        if best is None or worst < best[0]:
            best = (worst, system, factors)
        short = any(factor.short for factor in factors.values())
        hopeless = best[0] == math.inf and (short or attempt + 1 >= GENERIC_DRAWS)
        if worst <= WELL_CONDITIONED or hopeless:
            break
    assert best is not None
    return best[1], best[2], attempt + 1


def fill(layout: Layout, target: Filter, *, seed: int, noise: float, drawn: Drawn | None = None) -> Fill:
    """Return filters for every edge whose module filter is `target`, or as near as the layout comes.

    Args:
        layout: how the module runs.
        target: float64 filter of the site's shape.
        seed: random seed.
        noise: size of the part that cancels within the cut, relative to the target; it breaks symmetry.
        drawn: what `draw_system` returned for this layout and seed, where that was needed before.

    Raises:
        GraphError: if the layout cannot represent this target.
    """
    size = float(target.weight.norm()) or target.c_out**0.5
    if drawn is None or split_crossing(layout)[1]:
        drawn = draw_system(layout, seed, aside_scale=noise * size / target.c_out**0.5)
    system, factors, draws = drawn
    rest = _remainder(system, target)
    rows = {edge.name: torch.full((len(rest),), -1) for edge in system.solved}
    solved = {}
    for edge in system.solved:  # a matrix for each tap that the edge has, by the tap's place on the grid
        here = _places(system, edge)
        rows[edge.name][here] = torch.arange(len(here))
        shape = (len(here), *system.block(edge.name))
        solved[edge.name] = torch.empty(shape, dtype=torch.float64, device=rest.device)  # each tap has its factor
    result = Fill(system.drawn, draws=draws)
    alive = torch.linalg.vector_norm(rest, dim=(1, 2, 3)) > 0
    for names, taps in system.carriers.items():
        places = torch.tensor([ravel(tap, system.grid.star_kernel) for tap in taps], device=rest.device)
        live = alive[places]
        if not names:
            if float(rest[places].norm()) > BEYOND * size:
                raise GraphError("the target has taps that no edge at this cut has")
            result.full_rank &= not bool(live.any())
            continue
        factor = factors[names]
        result.condition = max(result.condition, factor.condition)
        result.full_rank &= factor.full_rank is True
        live ^= not live.any() and not target.weight.any()
        scale = noise * size * live.float() * (not factor.determined)  # whatever the default dtype is
        random = {name: generator(seed, "start", name, names) for name in names}
        few = _at_once(rest)
        for part, sizes in zip(torch.split(places, few), torch.split(scale, few), strict=True):
            start = _start(system, names, sizes, int(live.sum()), random)
            method = factor.solve if factor.direct else partial(conjugate_gradients, factor)
            found, count = method(rest[part], start)
            result.iterations = max(result.iterations, count)
            for name, block in zip(names, found, strict=True):
                whole, lone = solved[name], len(names) == 1 == len(solved[name])
                solved[name] = block if lone else whole.index_copy_(0, rows[name][part.cpu()], block)
    del rest
    for edge in system.solved:
        result.filters[edge.name] = _written(system, edge, solved.pop(edge.name))
    return result


def _at_once(rest: Tensor) -> int:
    """Return how many taps to solve for at once: all where they are small, else few, for each takes memory."""
    return max(1, TAPS_AT_ONCE // rest[0].numel())


def _remainder(system: System, target: Filter) -> Tensor:
    """Return the target's taps less what passes by the solved edges: (taps, groups, rows, columns)."""
    rest = target_taps(target, system.grid)
    for passing in system.passing():
        rest = rest - target_taps(passing.trim(), system.grid)
    return system.enter(rest.reshape(-1, *rest.shape[-3:]))


def _start(
    system: System, names: Carriers, sizes: Tensor, live: int, random: Mapping[str, torch.Generator]
) -> list[Tensor | None] | None:
    """Return the noise that the solution stays nearest to: (taps, groups, rows, columns) for each edge.

    All noise together has about the Frobenius norm `sizes`, given for each tap, times the square root of the number of
    edges; taps at rest stay at zero. None is zero. One edge of several needs none: what cancels in the sum reaches it
    all the same.
    """
    if not bool(sizes.any()):
        return None
    drawn = names[1:] or names
    sizes = sizes * (len(names) / len(drawn)) ** 0.5
    out: list[Tensor | None] = [None] * (len(names) - len(drawn))
    for name in drawn:
        spec = system.layout.specs[name]
        per_entry = sizes * (12 * system.grid.groups / (live * spec.c_out * spec.c_in)) ** 0.5
        draws = uniform((len(sizes), *system.block(name)), random[name])
        out.append(draws.to(sizes.device).mul_(per_entry[:, None, None, None]))
    return out


def _places(system: System, edge: Edge) -> list[int]:
    """Return the places on the grid of the taps that an edge has there, in the edge's order."""
    pairs = product(*system.tables[edge.name])
    return [ravel([place for _, place in pair], system.grid.star_kernel) for pair in pairs]


def _written(system: System, edge: Edge, solved: Tensor) -> Filter:
    """Return an edge's filter from its matrices, (taps that it has on the grid, own groups, rows, columns)."""
    spec, grid = system.layout.specs[edge.name], system.grid
    taps = []
    for pair in product(*system.tables[edge.name]):
        index = [(k - 1) // 2 for k in spec.kernel]
        for d, (k, _) in zip(grid.star, pair, strict=True):
            index[d] = k
        taps.append(ravel(index, spec.kernel))
    columns = solved.flatten(1, 2).permute(1, 2, 0)
    if taps == [*range(spec.taps)]:
        return Filter.of(columns.reshape(spec.weight_shape), spec)
    weight = torch.zeros(spec.flat_shape, dtype=solved.dtype, device=solved.device)
    weight[:, :, taps] = columns
    return Filter.of(weight.reshape(spec.weight_shape), spec)
