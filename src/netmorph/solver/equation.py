"""The morphism equation (eq. 5) by dynamic programming over a topological order, never by listing paths."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from netmorph.errors import GraphError
from netmorph.filters.compose import add, compose
from netmorph.filters.default_device import on_cpu
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.notation import parse
from netmorph.graph.spec import Edge, ModuleGraph

PROBES = 16
Partial = dict[str, Filter | None]
"""Filters by blob; None stands for the identity, which is never multiplied out."""


@on_cpu
def module_filter(graph: ModuleGraph | str, filters: Mapping[str, Filter | Tensor]) -> Filter:
    """Return the filter that equals the linear module: the sum over all s-t paths of composed filters (eq. 5).

    It takes O(V + E) compositions, so that a ladder with 2^40 paths takes milliseconds.

    Args:
        graph: the module graph, or its notation.
        filters: filters by edge name. A tensor (c_out, c_in / groups, *kernel) is taken as "same"-padded, with the
            stride and dilation of the edge (default 1). Edges without weights need no filter.

    Raises:
        GraphError: if an edge has no filter, or channels or strides do not fit.
    """
    graph = graph if isinstance(graph, ModuleGraph) else parse(graph)
    if not isinstance(filters, Mapping):
        raise GraphError(
            f"expected filters by the names of edges, got a {type(filters).__name__}",
            remedies=["pass {'s_t': weight, ...}"],
        )
    channels = _channels(graph, filters)
    known = {edge.name: _as_filter(edge, filters, channels) for edge in graph.edges}
    result = upstream(graph, known, graph.blobs)[graph.sink]
    if result is None:  # cannot happen: the sink is not the source
        raise GraphError("the graph has no path")
    return result


def upstream(
    graph: ModuleGraph, filters: Mapping[str, Filter], blobs: Collection[str], start: Filter | None = None
) -> Partial:
    """Return, for every blob of `blobs` (closed towards the source), the filter from the source to it (B of eq. 7).

    Args:
        graph: the module graph.
        filters: by edge name.
        blobs: which.
        start: what comes before the source.
    """
    incoming = graph.incoming
    table: Partial = {}
    for blob in graph.blobs:
        if blob in blobs:
            table[blob] = (
                start
                if blob == graph.source
                else _sum([after(filters[edge.name].trim(), table[edge.source]) for edge in incoming[blob]])
            )
    return table


def downstream(graph: ModuleGraph, filters: Mapping[str, Filter], blobs: Collection[str]) -> Partial:
    """Return, for every blob of `blobs` (closed towards the sink), the filter from it to the sink (A of eq. 7)."""
    outgoing = graph.outgoing
    table: Partial = {}
    for blob in reversed(graph.blobs):
        if blob in blobs:
            table[blob] = (
                None
                if blob == graph.sink
                else _sum([before(table[edge.sink], filters[edge.name].trim()) for edge in outgoing[blob]])
            )
    return table


def after(outer: Filter, inner: Filter | None) -> Filter:
    """Return `outer` after `inner`, None being the identity."""
    if inner is None:
        return outer
    plain = math.prod(inner.kernel) == inner.groups == outer.groups == 1 < math.prod(outer.kernel)
    few = plain and inner.c_in <= PROBES and inner.c_out == outer.c_in and outer.weight.is_contiguous()
    return _on_few(outer, inner) if few else compose(outer, inner)


def _on_few(outer: Filter, inner: Filter) -> Filter:
    """Return `outer` after a 1x1 filter of few channels: in one pass over the weights as they lie in memory."""
    weight = inner.weight.flatten(1).mT @ outer.weight.flatten(2)
    return Filter(
        weight.reshape(outer.c_out, inner.c_in, *outer.kernel),
        tuple(o1 + s1 * o2 for o1, s1, o2 in zip(inner.offset, inner.stride, outer.offset, strict=True)),
        tuple(s1 * d2 for s1, d2 in zip(inner.stride, outer.dilation, strict=True)),
        tuple(s1 * s2 for s1, s2 in zip(inner.stride, outer.stride, strict=True)),
    )


def before(outer: Filter | None, inner: Filter) -> Filter:
    """Return `outer` after `inner`, None being the identity."""
    return inner if outer is None else compose(outer, inner)


def fixed_filter(edge: Edge, spec: ConvSpec, dtype: torch.dtype = torch.float64) -> Filter:
    """Return the filter of an edge without weights: depthwise, `scale` on its tap or `scale / taps` on every one."""
    if edge.fixed is None:
        raise GraphError(f"edge {edge.name!r} has weights")
    weight = torch.full((spec.c_out, 1, *spec.kernel), edge.fixed.scale / spec.taps, dtype=dtype)
    return Filter.of(weight, spec.with_(groups=spec.c_in))


def residual_of(graph: ModuleGraph, filters: Mapping[str, Filter], target: Filter) -> float:
    """Return the Frobenius norm of (module filter - target), relative to the target's (absolute if that is 0).

    Above `PROBES` input channels both are applied to so many random signs instead of to every channel: the squared norm
    of a filter on such a vector is, in the mean, that of the filter (Hutchinson's estimate), for a small part of the
    work. What differs differs on random signs.
    """
    signs = _signs(target) if target.c_in > PROBES else None
    module = upstream(graph, filters, graph.blobs, signs)[graph.sink]
    assert module is not None
    wanted = replace(target, weight=target.weight.to(module.weight))
    wanted = after(wanted, signs)
    gap = add(module, replace(wanted, weight=-wanted.weight))
    return float(gap.weight.norm()) / (float(wanted.weight.norm()) or 1.0)


def _signs(target: Filter) -> Filter:
    """Return a 1x1 filter of random signs from a few channels to those of the target."""
    random = torch.Generator().manual_seed(0)
    signs = torch.randint(2, (target.c_in, PROBES), generator=random, dtype=torch.int8) * 2 - 1
    weight = signs.to(torch.float64).reshape(target.c_in, PROBES, *(1,) * target.dims)
    return Filter(weight, (0,) * target.dims, (1,) * target.dims, (1,) * target.dims)


def _sum(parts: list[Filter]) -> Filter:
    return add(*parts)


def _channels(graph: ModuleGraph, filters: Mapping[str, Filter | Tensor]) -> dict[str, int]:
    """Return the channels of every blob that the filters tell."""
    found: dict[str, int] = {}
    outgoing = graph.outgoing
    order = [edge for blob in graph.blobs[:-1] for edge in outgoing[blob]]
    for edge in order:
        value = filters.get(edge.name)
        if isinstance(value, Filter):
            found |= {edge.source: value.c_in, edge.sink: value.c_out}
        elif value is not None:
            found[edge.sink] = value.shape[0]
            if edge.fixed is None and isinstance(edge.groups, int):
                found[edge.source] = value.shape[1] * edge.groups
    for edge in (*order, *reversed(order)):  # an edge without weights keeps the channels
        ends = {found[blob] for blob in (edge.source, edge.sink) if blob in found} if edge.fixed is not None else set()
        found |= {blob: channels for channels in ends for blob in (edge.source, edge.sink) if blob not in found}
    return found


def _as_filter(edge: Edge, filters: Mapping[str, Filter | Tensor], channels: Mapping[str, int]) -> Filter:
    value = filters.get(edge.name)
    if isinstance(value, Filter):
        return value.trim()
    some = next(iter(filters.values()), None)
    if value is None and (edge.fixed is None or some is None):
        raise GraphError(f"edge {edge.name!r} has no filter", remedies=["give one filter for each edge name"])
    if edge.source not in channels and (edge.fixed is not None or edge.groups == "dw"):
        raise GraphError(
            f"edge {edge.name!r} acts on each channel separately, and the number of channels of its source "
            f"{edge.source!r} is unknown",
            remedies=["pass Filters, not tensors"],
        )
    stride, dilation = edge.stride or 1, edge.dilation or 1
    if value is None:
        weight, width = some.weight if isinstance(some, Filter) else some, channels[edge.source]
        assert weight is not None
        dims = weight.dim() - 2
        spec = ConvSpec.same(width, width, edge.kernel, dims=dims, stride=stride, dilation=dilation, groups=width)
        return fixed_filter(edge, spec, weight.dtype).to(weight.device)
    c_out, per_group, *kernel = value.shape
    apart = edge.fixed is not None or edge.groups == "dw"
    groups = channels[edge.source] if apart else int(edge.groups)
    spec = ConvSpec.same(
        per_group * groups, c_out, kernel, dims=len(kernel), stride=stride, dilation=dilation, groups=groups
    )
    return Filter.of(value, spec).trim()
