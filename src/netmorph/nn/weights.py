"""Filters into a running module's weights and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from netmorph.errors import GraphError
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.layout import Layout
from netmorph.graph.spec import Edge
from netmorph.nn.children import NamedChildren
from netmorph.nn.edges import fixed_filter


def load_filters(layout: Layout, edges: NamedChildren, filters: Mapping[str, Filter]) -> None:
    """Copy one filter into each edge's weight, cast to its dtype; all are checked before the first is copied.

    Args:
        layout: the module's layout.
        edges: the edges' modules.
        filters: by edge; exactly those of the graph. A fixed edge's filter must be what the edge does.

    Raises:
        GraphError: if filters are missing or superfluous, or one does not fit its edge; the message names it.
    """
    names = [edge.name for edge in layout.graph.edges]
    missing = [name for name in names if name not in filters]
    extra = sorted(set(filters) - set(names))
    if missing or extra:
        raise GraphError(
            "the filters are not those of the graph's edges",
            graph=str(layout.graph),
            shapes=f"missing {missing}, superfluous {extra}",
            remedies=["pass exactly one filter for each edge, fixed ones included"],
        )
    pairs: list[tuple[Tensor, Tensor]] = []
    for edge in layout.graph.edges:
        given, spec = filters[edge.name], layout.specs[edge.name]
        _check_geometry(edge.name, given, spec)
        if edge.fixed is not None:
            _check_fixed(edge, given, spec)
            continue
        weight = own_weight(edge.name, edges[edge.name], spec)
        values = given.weight.detach()
        low, high = values.aminmax()  # NaN if any is
        if not max(-float(low), float(high)) <= torch.finfo(weight.dtype).max:
            raise GraphError(
                f"the filter of edge {edge.name!r} is not finite in {weight.dtype}",
                remedies=["check the weights for NaN, or morph in a wider dtype"],
            )
        pairs.append((weight, values))
    with torch.no_grad():
        for weight, values in pairs:
            weight.copy_(values)


def read_filters(layout: Layout, edges: NamedChildren, dtype: torch.dtype) -> dict[str, Filter]:
    """Return the filter of every edge, a copy of its weight in `dtype`; the inverse of `load_filters`.

    Args:
        layout: the module's layout.
        edges: the edges' modules.
        dtype: of the filters.

    Raises:
        GraphError: if an edge's module was replaced by one that has no such weight.
    """
    devices = [parameter.device for parameter in edges.parameters()]
    filters = {}
    for edge in layout.graph.edges:
        spec = layout.specs[edge.name]
        if edge.fixed is not None:
            filters[edge.name] = fixed_filter(edge.fixed, spec, dtype=dtype, device=devices[0] if devices else None)
        else:
            weight = own_weight(edge.name, edges[edge.name], spec)
            filters[edge.name] = Filter.of(weight.detach().to(dtype, copy=True), spec)
    return filters


def own_weight(name: str, module: nn.Module, spec: ConvSpec) -> Tensor:
    """Return the weight of an edge's module.

    Raises:
        GraphError: if the module is not (or no longer) a convolution of the edge's geometry.
    """
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or tuple(weight.shape) != spec.weight_shape:
        raise GraphError(
            f"edge {name!r} is now a {type(module).__name__} and has no filter",
            shapes=f"expected a weight of shape {spec.weight_shape}",
            remedies=["read the filters before the edge is replaced"],
        )
    return weight


def _check_geometry(name: str, given: Filter, spec: ConvSpec) -> None:
    steps = [(d, e) for d, e, k in zip(given.dilation, spec.dilation, spec.kernel, strict=False) if k > 1]
    if (
        tuple(given.weight.shape) != spec.weight_shape
        or (given.offset, given.stride, given.groups) != (spec.offset, spec.stride, spec.groups)
        or any(one != other for one, other in steps)
    ):
        raise GraphError(
            f"the filter of edge {name!r} does not fit the edge",
            shapes=f"filter {tuple(given.weight.shape)} at offset {given.offset}, stride {given.stride}, dilation "
            f"{given.dilation}, groups {given.groups}; edge {spec.weight_shape} at offset {spec.offset}, stride "
            f"{spec.stride}, dilation {spec.dilation}, groups {spec.groups}",
        )


def _check_fixed(edge: Edge, given: Filter, spec: ConvSpec) -> None:
    assert edge.fixed is not None
    own = fixed_filter(edge.fixed, spec, dtype=torch.float64, device=torch.device("cpu")).weight
    if not torch.allclose(given.weight.detach().double().cpu(), own, rtol=1e-6, atol=0):
        raise GraphError(
            f"edge {edge.name!r} is fixed and cannot take the given weights",
            shapes=f"it multiplies by {edge.fixed.scale:g} ({edge.fixed.kind})",
            remedies=["use a convolution with groups 'dw' where the weights should be free"],
        )
