"""Random graphs, sites and filters for hypothesis; small by default and shrinking towards one 1x1 edge."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from netmorph.filters import ConvSpec, Filter
from netmorph.graph.layout import Layout, lay_out
from netmorph.graph.read_expression import blob_names
from netmorph.graph.spec import Edge, Fixed, ModuleGraph, Width

_RELATIVE = ("1x", "2x", "3x", "0.5x", "1/3x")


@st.composite
def topologies(draw: st.DrawFn, *, max_blobs: int = 8, max_extra: int = 5) -> list[tuple[str, str]]:
    """Return the (source, sink) pairs of a module, in any order; parallel edges allowed."""
    inner = draw(st.integers(0, max_blobs - 2))
    last = inner + 1
    pairs = [(draw(st.integers(0, sink - 1)), sink) for sink in range(1, last + 1)]
    for blob in range(1, last):
        if all(source != blob for source, _ in pairs):
            pairs.append((blob, draw(st.integers(blob + 1, last))))
    for _ in range(draw(st.integers(0, max_extra))):
        source = draw(st.integers(0, inner))
        pairs.append((source, draw(st.integers(source + 1, last))))
    names = ["s", *(name for name, _ in zip(blob_names(), range(inner), strict=False)), "t"]
    order = draw(st.permutations(range(len(pairs))))
    return [(names[pairs[i][0]], names[pairs[i][1]]) for i in order]


def kernels(largest: int = 5, dims: int = 2) -> st.SearchStrategy[tuple[int, ...]]:
    """Return square kernels written as one number, and kernels with one number a dimension."""
    side = st.integers(1, largest)
    square = st.tuples(side)
    return square | st.tuples(*[side] * dims) if dims else square


@st.composite
def module_graphs(
    draw: st.DrawFn,
    *,
    max_blobs: int = 8,
    max_extra: int = 5,
    dims: int = 2,
    largest_kernel: int = 5,
    strides: bool = False,
    dilations: bool = False,
    widths: bool = False,
    groups: bool = False,
    fixed: bool = False,
    names: bool = False,
    extras: bool = False,
) -> ModuleGraph:
    """Return a valid module graph.

    Args:
        draw: hypothesis's.
        max_blobs: source and sink included.
        max_extra: edges beyond those that connect all blobs.
        dims: spatial dimensions of the site; kernels are written with one number or with so many.
        largest_kernel: the largest side of a kernel.
        strides: a prefix of the blobs keeps the resolution, the edges that leave it are strided by 2.
        dilations: edges with a dilation of 1 or 2.
        widths: inner blobs with absolute or relative widths.
        groups: depthwise edges and edges of 2 groups; widths are then even multiples of the site's. They fit a site
            with as many channels in as out, an even number.
        fixed: identities, scaled ones and mean poolings between blobs of equal width; they fit a site with as many
            channels in as out.
        names: edges named otherwise than by default.
        extras: norms, activations, and other names of source and sink (what the notation leaves out).
    """
    pairs = draw(topologies(max_blobs=max_blobs, max_extra=max_extra))
    inner = sorted({blob for pair in pairs for blob in pair} - {"s", "t"})
    width = {blob: draw(_width(groups)) for blob in inner} if widths or groups else {}
    width = {blob: value for blob, value in width.items() if value is not None}
    near = _near_source(draw, pairs) if strides else None
    items: list[dict[str, Any]] = []
    for source, sink in pairs:
        item: dict[str, Any] = {"source": source, "sink": sink, "kernel": draw(kernels(largest_kernel, dims))}
        if near is not None:
            item["stride"] = (2,) if source in near and sink not in near else draw(st.none() | st.just((1,)))
        if dilations:
            item["dilation"] = draw(st.none() | st.tuples(st.integers(1, 2)))
        if fixed and str(width.get(source, "1x")) == str(width.get(sink, "1x")) and draw(st.booleans()):
            item |= draw(_fixed())
            item.pop("dilation", None)
        elif groups:
            item["groups"] = draw(st.sampled_from([1, 2, "dw"] if _divides(width, source, sink) else [1, 2]))
        if extras and "fixed" not in item:
            item["norm"] = draw(st.none() | st.sampled_from(["batch", "none"]))
        items.append(item)
    return _build(draw, items, width, names, extras)


def _build(
    draw: st.DrawFn, items: list[dict[str, Any]], width: dict[str, Width], names: bool, extras: bool
) -> ModuleGraph:
    if names:
        for index, item in enumerate(items):
            if draw(st.booleans()):
                item["name"] = f"F{index}"
    ends = draw(st.sampled_from([("s", "t"), ("in", "out")])) if extras else ("s", "t")
    rename = dict(zip(("s", "t"), ends, strict=True))
    inner = {blob for item in items for blob in (item["source"], item["sink"])} - {"s", "t"}
    activations = {blob: "relu" for blob in sorted(inner) if draw(st.booleans())} if extras else {}
    edges = []
    for item in items:
        source, sink, kernel = (item.pop(key) for key in ("source", "sink", "kernel"))
        edges.append((rename.get(source, source), rename.get(sink, sink), kernel, item))
    return ModuleGraph.from_edges(edges, widths=width, activations=activations, source=ends[0], sink=ends[1])


def _width(groups: bool) -> st.SearchStrategy[Width | None]:
    if groups:
        return st.none() | st.sampled_from(("2x", "4x")).map(Width.of)
    return st.none() | st.sampled_from(_RELATIVE).map(Width.of) | st.integers(1, 8).map(Width.of)


def _divides(width: dict[str, Width], source: str, sink: str) -> bool:
    one = Width.of("1x")
    return width.get(sink, one).value % width.get(source, one).value == 0


def _near_source(draw: st.DrawFn, pairs: list[tuple[str, str]]) -> set[str]:
    """Return a prefix of the blobs in topological order (alphabetical, between s and t)."""
    order = ["s", *sorted({blob for pair in pairs for blob in pair} - {"s", "t"})]
    return set(order[: draw(st.integers(1, len(order)))])


def _fixed() -> st.SearchStrategy[dict[str, Any]]:
    scales = st.sampled_from([1.0, 0.5, -1.0, 0.1])
    identity = scales.map(lambda scale: {"kernel": (1,), "fixed": Fixed("id", scale)})
    return identity | st.builds(lambda k, scale: {"kernel": k, "fixed": Fixed("avg", scale)}, st.just((3,)), scales)


@st.composite
def sites(
    draw: st.DrawFn,
    *,
    dims: int = 2,
    largest_kernel: int = 5,
    max_channels: int = 6,
    same: bool = False,
    square: bool = False,
    strides: bool = True,
    dilations: bool = True,
) -> ConvSpec:
    """Return the geometry of a convolution to replace.

    Args:
        draw: hypothesis's.
        dims: spatial dimensions, 0 to 3.
        largest_kernel: the largest side of its kernel.
        max_channels: the most channels.
        same: padding that keeps the size; else any, up to the kernel's reach.
        square: as many channels in as out, an even number.
        strides: a stride of 1 or 2; else 1.
        dilations: a dilation of 1 or 2; else 1.
    """
    channels = st.integers(1, max_channels // 2).map(lambda n: 2 * n) if square else st.integers(1, max_channels)
    c_in = draw(channels)
    c_out = c_in if square else draw(channels)
    kernel = tuple(draw(st.integers(1, largest_kernel)) for _ in range(dims))
    stride = tuple(draw(st.integers(1, 2)) if strides else 1 for _ in range(dims))
    dilation = tuple(draw(st.integers(1, 2)) if dilations else 1 for _ in range(dims))
    if same:
        return ConvSpec.same(c_in, c_out, kernel, dims=dims, stride=stride, dilation=dilation)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple((draw(st.integers(0, r)), draw(st.integers(0, r))) for r in reach)
    return ConvSpec(c_in, c_out, kernel, stride, dilation, padding)


def seeds() -> st.SearchStrategy[int]:
    """Return seeds for weights: what hypothesis need not see is drawn by torch."""
    return st.integers(0, 2**31 - 1)


def random_filter(spec: ConvSpec, seed: int, dtype: torch.dtype = torch.float64) -> Filter:
    """Return a Gaussian filter with a convolution's geometry."""
    generator = torch.Generator().manual_seed(seed)
    return Filter.of(torch.randn(spec.weight_shape, generator=generator, dtype=dtype), spec)


def fixed_filter(edge: Edge, spec: ConvSpec, dtype: torch.dtype = torch.float64) -> Filter:
    """Return the depthwise filter of an edge without weights."""
    assert edge.fixed is not None
    value = edge.fixed.scale / (spec.taps if edge.fixed.kind == "avg" else 1)
    return Filter.of(torch.full(spec.weight_shape, value, dtype=dtype), spec)


def random_filters(layout: Layout, seed: int, dtype: torch.dtype = torch.float64) -> dict[str, Filter]:
    """Return a Gaussian filter for every convolution of a layout, and those of its fixed edges."""
    out = {}
    for index, edge in enumerate(layout.graph.edges):
        spec = layout.specs[edge.name]
        fixed = edge.fixed is not None
        out[edge.name] = fixed_filter(edge, spec, dtype) if fixed else random_filter(spec, seed + index, dtype)
    return out


def source_layout(graph: ModuleGraph, site: ConvSpec) -> Layout:
    """Return the layout whose source cut takes the site's taps in every dimension."""
    cut = frozenset((graph.source,))
    return lay_out(graph, site, [cut] * site.dims, cut)
