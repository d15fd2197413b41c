"""Random layouts with filters, and the signal-level truth that the running module is held against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from netmorph.errors import GraphError
from netmorph.filters import ConvSpec, Filter, add, compose
from netmorph.graph.cuts import cuts
from netmorph.graph.layout import Layout, lay_out
from netmorph.graph.spec import Edge, Fixed, ModuleGraph
from netmorph.nn import MorphedModule


@dataclass(frozen=True)
class Problem:
    layout: Layout
    size: tuple[int, ...]
    seed: int

    def signal(self, batch: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randn(batch, self.layout.site.c_in, *self.size, generator=generator, dtype=torch.float64)


def composed(layout: Layout, filters: dict[str, Filter]) -> Filter:
    """The module filter of eq. 5, by dynamic programming over blobs."""
    graph = layout.graph
    at = {graph.source: Filter.identity(layout.site.c_in, layout.site.dims)}
    for blob in graph.blobs[1:]:
        at[blob] = add(*(compose(filters[e.name], at[e.source]) for e in graph.incoming[blob]))
    return at[graph.sink]


def apply(filt: Filter, x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Apply a filter to a signal that is zero outside its array; `size` outputs in each dimension."""
    dims = filt.dims
    dense = filt.dense().weight
    if not dims:
        return x @ dense.mT
    pads, window = [], [...]
    for dim in range(dims):
        first, reach = filt.offset[dim], filt.dilation[dim] * (filt.kernel[dim] - 1)
        count = filt.stride[dim] * (size[dim] - 1) + reach + 1
        pads = [max(-first, 0), max(first + count - x.shape[dim - dims], 0), *pads]
        window.append(slice(max(first, 0), max(first, 0) + count))
    function = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    return function(F.pad(x, pads)[tuple(window)], dense, None, filt.stride, 0, filt.dilation)


def shift(filt: Filter, by: Sequence[tuple[int, int]]) -> Filter:
    """The filter seen from a signal that was padded by (before, after) pairs."""
    offset = tuple(o + before for o, (before, _) in zip(filt.offset, by, strict=True))
    return replace(filt, offset=offset)


def extend(x: Tensor, by: list[tuple[int, int]], mode: str) -> Tensor:
    """Pad a signal by (before, after) pairs in one of PyTorch's padding modes."""
    flat = [side for pair in reversed(by) for side in pair]
    return F.pad(x, flat, "constant" if mode == "zeros" else mode) if flat else x


def pointwise(layout: Layout, filters: dict[str, Filter]) -> dict[str, Filter]:
    """Keep, along each dimension, all taps only of the edges that cross its cut; of others the one at offset 0."""
    out = {}
    for edge in layout.graph.edges:
        filt = filters[edge.name]
        weight = filt.weight.clone()
        for dim, cut in enumerate(layout.cuts):
            if edge.fixed is None and not (edge.source in cut and edge.sink not in cut):
                keep = torch.zeros(filt.kernel[dim], dtype=weight.dtype)
                keep[(filt.kernel[dim] - 1) // 2] = 1
                weight = weight * keep.view(-1, *(1,) * (filt.dims - dim - 1))
        out[edge.name] = Filter(weight, filt.offset, filt.dilation, filt.stride, filt.groups)
    return out


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    """Assert equal shapes, and a difference small against the expected maximum."""
    assert actual.shape == expected.shape
    actual, expected = actual.detach(), expected.detach()
    if expected.numel():
        scale = max(1.0, float(expected.abs().max()))
        assert float((actual - expected).abs().max()) <= tolerance * scale


@st.composite
def graphs(draw: st.DrawFn, dims: int, *, pooling: bool) -> tuple[ModuleGraph, int, int]:
    """A random module graph with the site's input and output channels."""
    inner = ["a", "b", "c"][: draw(st.integers(0, 3))]
    blobs = ["s", *inner, "t"]
    even = draw(st.booleans())
    width = st.sampled_from([2, 4]) if even else st.integers(1, 3)
    channels = {blob: draw(width) for blob in blobs}
    pairs = [(blobs[draw(st.integers(0, i - 1))], blobs[i]) for i in range(1, len(blobs))]
    left = {u for u, _ in pairs}
    pairs += [(b, blobs[draw(st.integers(blobs.index(b) + 1, len(blobs) - 1))]) for b in inner if b not in left]
    for _ in range(draw(st.integers(0, 3))):
        i = draw(st.integers(0, len(blobs) - 2))
        pairs.append((blobs[i], blobs[draw(st.integers(i + 1, len(blobs) - 1))]))
    edges = []
    for index, (u, v) in enumerate(pairs):
        kernel = tuple(draw(st.integers(1, 3 if dims < 3 else 2)) for _ in range(dims)) or (1,)
        dilation = draw(st.sampled_from([None, (2,)])) if dims else None
        same = channels[u] == channels[v]
        kinds = ["conv", "conv", *(["groups"] if even else []), *(["dw", "id"] if same else [])]
        kind = draw(st.sampled_from(kinds + (["avg"] if same and pooling and dims else [])))
        scale = draw(st.sampled_from([1.0, -0.5]))
        edges.append(
            {
                "conv": Edge(f"e{index}", u, v, kernel, dilation=dilation),
                "groups": Edge(f"e{index}", u, v, kernel, dilation=dilation, groups=2),
                "dw": Edge(f"e{index}", u, v, kernel, dilation=dilation, groups="dw"),
                "id": Edge(f"e{index}", u, v, fixed=Fixed("id", scale)),
                "avg": Edge(f"e{index}", u, v, kernel, dilation=dilation, fixed=Fixed("avg", scale)),
            }[kind]
        )
    graph = ModuleGraph.from_edges(edges, widths={b: channels[b] for b in inner})
    return graph, channels["s"], channels["t"]


@st.composite
def problems(
    draw: st.DrawFn, *, border: str, modes: tuple[str, ...] = ("zeros",), named_strides: bool = True, slack: int = 0
) -> Problem:
    """A random layout, and an input that the site accepts, `slack` larger than it must be."""
    dims = draw(st.sampled_from([0, 1, 1, 2, 2, 3]))
    graph, c_in, c_out = draw(graphs(dims, pooling=border == "halo"))
    site = ConvSpec(
        c_in,
        c_out,
        tuple(draw(st.integers(1, 3)) for _ in range(dims)),
        tuple(draw(st.integers(1, 2)) for _ in range(dims)),
        tuple(draw(st.integers(1, 2)) for _ in range(dims)),
        tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(dims)),
        padding_mode=draw(st.sampled_from(modes)) if dims else "zeros",
    )
    choices = list(cuts(graph))
    sides = [draw(st.sampled_from(choices)) for _ in range(dims)]
    if dims and named_strides and draw(st.booleans()):  # name the strides, at a cut of their own
        where = draw(st.sampled_from(choices))
        graph = ModuleGraph.from_edges(
            [
                Edge(
                    **{
                        **{key: getattr(e, key) for key in e.__dataclass_fields__},
                        "stride": site.stride if e.source in where and e.sink not in where else (1,) * dims,
                    }
                )
                for e in graph.edges
            ],
            widths=graph.widths,
        )
    try:
        layout = lay_out(graph, site, sides, choices[0], border=border)
    except GraphError as error:
        assert re.search("cannot be aligned|cannot pad", str(error))  # noqa: PT017 - the draw is rejected
        assume(False)
    least = [max(1, e - sum(p)) for e, p in zip(site.extent, site.padding, strict=True)]
    size = tuple(n + slack + draw(st.integers(0, 5)) for n in least)
    return Problem(layout, size, draw(st.integers(0, 1000)))


def module(problem: Problem, **options: object) -> MorphedModule:
    """The running module of a problem in float64 with its random weights, in eval mode."""
    made = MorphedModule(problem.layout, dtype=torch.float64, seed=problem.seed, **options)  # type: ignore[arg-type]
    return made.eval()
