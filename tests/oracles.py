"""Slow truths: module filters by listing paths and composing taps one by one, and impulse responses of callables.

Nothing here uses `netmorph.filters.compose`, nor any dynamic programming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import torch
from torch import Tensor

from netmorph.filters import Filter
from netmorph.graph.spec import Edge, ModuleGraph

Taps = dict[tuple[int, ...], Tensor]
"""A filter as a table from input positions (seen from output 0) to (c_out, c_in) matrices; zero elsewhere."""


def paths(graph: ModuleGraph) -> Iterator[tuple[Edge, ...]]:
    """Yield every path from source to sink."""

    def walk(blob: str, before: tuple[Edge, ...]) -> Iterator[tuple[Edge, ...]]:
        if blob == graph.sink:
            yield before
        for edge in graph.edges:
            if edge.source == blob:
                yield from walk(edge.sink, (*before, edge))

    return walk(graph.source, ())


def taps_of(filter_: Filter) -> Taps:
    """Return a filter as a table of dense matrices."""
    rows, columns = filter_.c_out // filter_.groups, filter_.weight.shape[1]
    out = {}
    for index in product(*map(range, filter_.kernel)):
        matrix = filter_.weight.new_zeros(filter_.c_out, filter_.c_in)
        for group in range(filter_.groups):
            block = slice(group * rows, (group + 1) * rows)
            matrix[block, group * columns : (group + 1) * columns] = filter_.weight[(block, slice(None), *index)]
        place = zip(filter_.offset, index, filter_.dilation, strict=True)
        out[tuple(o + i * d for o, i, d in place)] = matrix
    return out


def compose_taps(outer: Taps, inner: Taps, inner_stride: Sequence[int]) -> Taps:
    """Return `outer` after `inner` (eq. 2), tap by tap."""
    out: Taps = {}
    for (here, left), (there, right) in product(outer.items(), inner.items()):
        place = tuple(o1 + s * o2 for o1, s, o2 in zip(there, inner_stride, here, strict=True))
        out[place] = out[place] + left @ right if place in out else left @ right
    return out


def add_taps(*tables: Taps) -> Taps:
    """Return the sum (eq. 4)."""
    out: Taps = {}
    for table in tables:
        for place, matrix in table.items():
            out[place] = out[place] + matrix if place in out else matrix
    return out


def path_sum(graph: ModuleGraph, filters: Mapping[str, Filter]) -> Taps:
    """Return the module filter as the sum over all paths (eq. 5)."""
    parts = []
    for path in paths(graph):
        first, *others = (filters[edge.name] for edge in path)
        total, stride = taps_of(first), first.stride
        for other in others:
            total = compose_taps(taps_of(other), total, stride)
            stride = tuple(a * b for a, b in zip(stride, other.stride, strict=True))
        parts.append(total)
    return add_taps(*parts)


def distance(left: Taps, right: Taps) -> float:
    """Return the largest difference of two tables, relative to the largest entry of the second."""
    scale = max(float(m.abs().max()) for m in right.values())
    zero = torch.zeros_like(next(iter(right.values())))
    places = left.keys() | right.keys()
    gap = max(float((left.get(p, zero) - right.get(p, zero)).abs().max()) for p in places)
    return gap / scale if scale else gap


def impulse_response(
    function: Callable[[Tensor], Tensor], c_in: int, size: Sequence[int], dtype: torch.dtype = torch.float64
) -> Tensor:
    """Return a linear map as a tensor (c_out, *out_size, c_in, *size): its answer to every unit impulse.

    Args:
        function: maps (batch, c_in, *size) to (batch, c_out, *out_size), linearly.
        c_in: input channels.
        size: spatial size; empty for a linear layer on (batch, c_in).
        dtype: of the impulses.
    """
    shape = (c_in, *size)
    count = torch.Size(shape).numel()
    with torch.no_grad():
        answer = function(torch.eye(count, dtype=dtype).reshape(count, *shape))
    return answer.movedim(0, -1).reshape(*answer.shape[1:], *shape)


def response_of(taps: Taps, stride: Sequence[int], size: Sequence[int], out_size: Sequence[int]) -> Tensor:
    """Return what `impulse_response` must be for a filter on an input of `size`, zero-padded without end."""
    c_out, c_in = next(iter(taps.values())).shape
    out = torch.zeros(c_out, *out_size, c_in, *size, dtype=next(iter(taps.values())).dtype)
    for place in product(*map(range, out_size)):
        for offset, matrix in taps.items():
            source = tuple(s * q + o for s, q, o in zip(stride, place, offset, strict=True))
            if all(0 <= x < n for x, n in zip(source, size, strict=True)):
                out[(slice(None), *place, slice(None), *source)] += matrix
    return out
