"""Pointwise fill: the closed-form default (section 4; beyond the paper).

Only the solved cut's edges use all their taps; every other edge starts with a single tap. The morphism equation then
falls apart into a small matrix problem for each tap, they share one factorisation, and zero padding stays exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from netmorph.filters.filter import Filter
from netmorph.graph.layout import Layout
from netmorph.solver.factor import Factor
from netmorph.solver.grid import ravel, target_taps
from netmorph.solver.iterate import conjugate_gradients
from netmorph.solver.noise import generator, uniform
from netmorph.solver.system import Carriers, System, Tap, build, carriers_of, frame

DRAWS = 8
GENERIC_DRAWS = 3  # a rank that three independent draws lack is lacking for good
WELL_CONDITIONED = 100.0


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


def weakest(layout: Layout) -> Carriers:
    """Return the edges of the tap that fewest edges carry (and that some edge carries)."""
    grid, tables = frame(layout)
    sets = [names for names in carriers_of(grid, tables) if names]
    return min(sets, key=len) if sets else ()


def draw_system(layout: Layout, seed: int, *, aside_scale: float = 1.0) -> tuple[System, dict[Carriers, Factor], int]:
    """Draw until every stacked matrix has full rank and a condition below 100; the best of 8 draws.

    Returns:
        the system, its factors by carrying edges, and the number of draws.
    """
    carrying = weakest(layout)
    best: tuple[float, System, dict[Carriers, Factor]] | None = None
    for attempt in range(DRAWS):
        system = build(layout, carrying, seed, attempt, aside_scale)
        factors = {names: Factor.of(system, names) for names in system.carriers() if names}
        worst = max((factor.condition for factor in factors.values()), default=1.0)
        if best is None or worst < best[0]:
            best = (worst, system, factors)
        short = any(factor.short for factor in factors.values())
        hopeless = best[0] == math.inf and (short or attempt + 1 >= GENERIC_DRAWS)
        if worst <= WELL_CONDITIONED or hopeless:
            break
    assert best is not None
    return best[1], best[2], attempt + 1


def fill(layout: Layout, target: Filter, *, seed: int, noise: float) -> Fill:
    """Return filters for every edge whose module filter is `target`, or as near as the layout comes.

    Args:
        layout: how the module runs.
        target: float64 filter of the site's shape.
        seed: of every draw.
        noise: size of the part that cancels within the cut, relative to the target; it breaks symmetry.
    """
    size = float(target.weight.norm()) or target.c_out**0.5
    system, factors, draws = draw_system(layout, seed, aside_scale=noise * size / target.c_out**0.5)
    rest = _remainder(system, target)
    weights = {
        edge.name: torch.zeros(layout.specs[edge.name].flat_shape, dtype=torch.float64, device=rest.device)
        for edge in system.solved
    }
    result = Fill(system.drawn, draws=draws)
    for names, taps in system.carriers().items():
        right = rest if len(taps) == len(rest) else rest[[ravel(tap, system.grid.star_kernel) for tap in taps]]
        if not names:
            result.full_rank &= not bool(right.any())
            continue
        factor = factors[names]
        result.condition = max(result.condition, factor.condition)
        result.full_rank &= factor.full_rank is True
        live = torch.linalg.vector_norm(right, ord=math.inf, dim=(1, 2, 3)) > 0
        if not live.any() and not target.weight.any():
            live = ~live
        start = None if factor.determined else _start(system, names, len(taps), noise * size * live, seed)
        solution, count = factor.solve(right, start) if factor.direct else conjugate_gradients(factor, right, start)
        result.iterations = max(result.iterations, count)
        _store(system, names, taps, solution, weights)
    for edge in system.solved:
        spec = layout.specs[edge.name]
        result.filters[edge.name] = Filter.of(weights[edge.name].reshape(spec.weight_shape), spec)
    return result


def _remainder(system: System, target: Filter) -> Tensor:
    """Return the target's taps less what passes by the solved edges: (taps, groups, rows, columns)."""
    rest = target_taps(target, system.grid)
    for passing in system.passing():
        rest = rest - target_taps(passing.trim(), system.grid)
    return rest.reshape(-1, *rest.shape[-3:])


def _start(system: System, names: Carriers, taps: int, scale: Tensor, seed: int) -> list[Tensor | None] | None:
    """Return the noise that the solution stays nearest to: (taps, groups, rows, columns) for each edge.

    All noise together has about the Frobenius norm `scale` times the square root of the number of edges; taps at rest
    stay at zero. None is zero. One edge of several needs none: what cancels in the sum reaches it all the same.
    """
    if not bool(scale.any()):
        return None
    live = int((scale > 0).sum())
    drawn = names[1:] or names
    scale = scale * (len(names) / len(drawn)) ** 0.5
    out: list[Tensor | None] = [None] * (len(names) - len(drawn))
    for name in drawn:
        spec, g = system.layout.specs[name], system.grid.groups
        shape = (taps, g, spec.c_out // g, spec.c_in // g)
        random = generator(seed, "start", name, names)
        per_entry = scale / (live * spec.c_out * shape[3]) ** 0.5
        draws = uniform(shape, random).to(scale.device).mul_(per_entry[:, None, None, None])
        out.append(draws if spec.groups == g else draws.mul_(system.mask(name)))
    return out


def _store(
    system: System, names: Carriers, taps: list[Tap], solution: list[Tensor], weights: dict[str, Tensor]
) -> None:
    """Write the solved matrices into the edges' taps."""
    for name, blocks in zip(names, solution, strict=True):
        spec = system.layout.specs[name]
        places = [{place: k for k, place in pairs} for pairs in system.tables[name]]
        flat = []
        for tap in taps:
            index = [(k - 1) // 2 for k in spec.kernel]
            for d, place, t in zip(system.grid.star, places, tap, strict=True):
                index[d] = place[t]
            flat.append(ravel(index, spec.kernel))
        matrices = _compact(blocks, spec.groups, system.grid.groups).permute(1, 2, 0)
        weights[name].index_copy_(2, torch.tensor(flat, device=matrices.device), matrices)


def _compact(blocks: Tensor, own: int, groups: int) -> Tensor:
    """Return (taps, c_out, c_in / own) from (taps, groups, rows, columns), without zeros outside the edge's groups."""
    t, g, rows, cols = blocks.shape
    if own == groups:
        return blocks.reshape(t, g * rows, cols)
    inner = own // groups
    split = blocks.reshape(t, g, inner, rows // inner, inner, cols // inner)
    kept = split.diagonal(dim1=2, dim2=4)  # (t, g, rows / inner, cols / inner, inner)
    return kept.movedim(-1, 2).reshape(t, g * rows, cols // inner)
