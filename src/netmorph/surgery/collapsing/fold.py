"""A linear morphed module as one filter (eq. 5) and a constant, in float64; norms are folded in (beyond the paper)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.filters.compose import common_grid
from netmorph.filters.filter import Filter
from netmorph.graph.layout import Layout
from netmorph.nn import MorphedModule
from netmorph.nn.edges import fixed_filter
from netmorph.nn.padding import is_plain
from netmorph.solver.equation import module_filter
from netmorph.solver.target import CONVOLUTIONS, spec_of

_ULPS = 4  # within which a sum of products counts as cancelled, and a BatchNorm's factor as 1
_SOLVED = 1e-13  # error that solving in float64 leaves in a weight, relative to its filter's root mean square


class Affine(NamedTuple):
    """What an edge or a module does to a signal away from the border: a filter, then a constant added.

    Attributes:
        filter: in the signal's positions.
        squares: what the squares of the weights compose to, each raised by the solver's error.
        shift: the constant, (c_out,); None for none.
        depth: most edges in series.
    """

    filter: Filter
    squares: Filter
    shift: Tensor | None = None
    depth: int = 1

    def moved(self, by: Iterable[int]) -> Affine:
        """Return the same, read from a signal whose positions count from elsewhere."""
        offset = tuple(o + b for o, b in zip(self.filter.offset, by, strict=True))
        shifted = tuple(s + o - f for s, o, f in zip(self.squares.offset, offset, self.filter.offset, strict=True))
        filter_, squares = replace(self.filter, offset=offset), replace(self.squares, offset=shifted)
        return self._replace(filter=filter_, squares=squares)


@dataclass(frozen=True)
class Fold:
    """A linear morphed module in float64, on the CPU.

    Attributes:
        filter: the module filter (eq. 5) with all norms folded in.
        noise: bound of the rounding error in each of its weights, from that of the edges' weights; on the same grid.
        shift: the constant added, the module's bias included, (c_out,); None for none.
        edges: what each edge does, its norm included, by name.
    """

    filter: Filter
    noise: Tensor
    shift: Tensor | None
    edges: Mapping[str, Affine]

    @property
    def support(self) -> Filter:
        """The filter without the weights that are but rounding error."""
        weight = self.filter.weight
        return replace(self.filter, weight=torch.where(weight.abs() > self.noise, weight, 0.0))


def fold(module: MorphedModule) -> Fold:
    """Fold a morphed module, as it is in eval mode and away from the border, into one filter and one constant.

    Weights are read in their own dtype and composed in float64. Sums of products of rounded weights err by about
    `eps * sqrt(edges in series * sum of squared products)`: that tells what cancels from what is small.

    Args:
        module: a module for which `why_not_linear` finds no reason.
    """
    edges = _edges(module)
    affine = _composed(module, edges)
    grid = common_grid([affine.filter, affine.squares])
    filter_, squares = affine.filter.place(*grid), affine.squares.place(*grid).weight
    noise = _ULPS * _eps(module) * (affine.depth * squares).sqrt()
    return Fold(filter_, noise.clamp(min=_SOLVED * float(filter_.weight.abs().max())), affine.shift, edges)


def _composed(module: MorphedModule, edges: Mapping[str, Affine]) -> Affine:
    graph = module.layout.graph
    depths = {graph.source: 0}
    shifts: dict[str, Tensor | None] = {graph.source: None}
    incoming = graph.incoming
    for blob in graph.blobs[1:]:
        into = [(edges[edge.name], edge.source) for edge in incoming[blob]]
        depths[blob] = max(depths[source] + edge.depth for edge, source in into)
        shifts[blob] = _sum(_carried(edge, shifts[source]) for edge, source in into)
    bias = None if module.bias is None else _double(module.bias)
    return Affine(
        module_filter(graph, {name: edge.filter for name, edge in edges.items()}),
        module_filter(graph, {name: edge.squares for name, edge in edges.items()}),
        _sum([shifts[graph.sink], bias]),
        depths[graph.sink],
    )


def _edges(module: MorphedModule) -> dict[str, Affine]:
    return {edge.name: _edge(module, edge.name) for edge in module.layout.graph.edges}


def _edge(module: MorphedModule, name: str) -> Affine:
    own = _layer(module, name)
    if name not in module.norms:
        return own
    norm = module.norms[name]
    if not isinstance(norm, _BatchNorm):  # a blend with slope 1: the identity
        return own
    factor, shift = batch_norm(norm)
    rows = factor.view(-1, *(1,) * (own.filter.dims + 1))
    return own._replace(
        filter=replace(own.filter, weight=own.filter.weight * rows),
        squares=replace(own.squares, weight=own.squares.weight * rows.square()),
        shift=_sum([None if own.shift is None else own.shift * factor, shift if shift.any() else None]),
    )


def _layer(module: MorphedModule, name: str) -> Affine:
    """Return what an edge's own module does to the blob that the edge reads."""
    child, layout = module.edges[name], module.layout
    spec, fixed = layout.specs[name], layout.graph.edge(name).fixed
    if isinstance(child, MorphedModule):
        inner = _composed(child, _edges(child))
        return inner.moved(o - b for o, b in zip(spec.offset, child.layout.site.offset, strict=True))
    if fixed is not None:
        filter_ = fixed_filter(fixed, spec, dtype=torch.float64)
        return Affine(filter_, replace(filter_, weight=filter_.weight.square()))
    conv, weight, bias = isinstance(child, CONVOLUTIONS), child.weight, getattr(child, "bias", None)
    assert isinstance(weight, Tensor)
    filter_ = Filter.of(_double(weight), spec_of(child) if conv else spec)
    squares = replace(filter_, weight=_squared(filter_.weight, _eps(child)))
    affine = Affine(filter_, squares, _double(bias) if isinstance(bias, Tensor) else None)
    return affine.moved(_padded_before(layout, name)) if conv else affine


def _padded_before(layout: Layout, name: str) -> tuple[int, ...]:
    """Return by how much the signal is shifted (cropped less padded) before an edge's convolution, which pads the rest.

    The convolution may have become larger since, when a module that stood in its place was collapsed.
    """
    spec = layout.specs[name]
    own = layout.border == "zeros" and is_plain(spec.padding)
    return (0,) * spec.dims if own else spec.offset


def batch_norm(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return factor and constant of a BatchNorm in eval mode; the factor is 1 where it is that but for rounding."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, var = _double(norm.running_mean), _double(norm.running_var)
    gamma = torch.ones_like(var) if norm.weight is None else _double(norm.weight)
    beta = torch.zeros_like(mean) if norm.bias is None else _double(norm.bias)
    factor = gamma / (var + norm.eps).sqrt()
    near = _ULPS * torch.finfo(norm.running_var.dtype).eps
    factor = torch.where((factor - 1).abs() <= near, 1.0, factor)
    return factor, beta - mean * factor


def _carried(edge: Affine, constant: Tensor | None) -> Tensor | None:
    """Return what an edge makes of a constant signal."""
    if constant is None:
        return edge.shift
    blocks = edge.filter.blocks().sum(-1)
    carried = torch.einsum("goi,gi->go", blocks, constant.view(blocks.shape[0], -1)).flatten()
    return _sum([carried, edge.shift])


def _sum(parts: Iterable[Tensor | None]) -> Tensor | None:
    given = [part for part in parts if part is not None]
    return torch.stack(given).sum(0) if given else None


def _squared(weight: Tensor, eps: float) -> Tensor:
    """Return squares whose root times `eps` is the error: rounding is relative to each weight, solving is not."""
    squares = weight.square()
    solved = (_SOLVED / eps) ** 2 * squares.mean()
    return torch.where(weight != 0, squares + solved, 0.0)


def _eps(module: nn.Module) -> float:
    """Return the relative rounding error of a module's weights."""
    return max([_SOLVED, *(torch.finfo(p.dtype).eps for p in module.parameters() if p.is_floating_point())])


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float64)
