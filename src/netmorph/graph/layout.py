"""How a module graph runs at one site: the geometry of every edge.

In each spatial dimension one monotone cut takes the site's taps, padding and stride: every path crosses it exactly
once, so what is zero-padded is always the site's own input or a pointwise image of it, and the border stays exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from netmorph.brief import Brief
from netmorph.errors import GraphError
from netmorph.filters.geometry import ConvSpec, per_dimension
from netmorph.graph.spec import Edge, ModuleGraph

Cut = frozenset[str]
Border = Literal["zeros", "halo"]


@dataclass(frozen=True, repr=False)
class Layout(Brief):
    """A module graph bound to a site.

    Attributes:
        graph: the module graph.
        site: geometry of the layer that it replaces.
        specs: geometry of every edge, by name.
        cuts: for each spatial dimension, the blobs on the source's side of the cut that carries its taps.
        cut: the blobs on the source's side of the cut whose filters are solved for.
        border: "zeros": every edge pads its own input; "halo": the source is padded once, edges run unpadded.
    """

    graph: ModuleGraph
    site: ConvSpec
    specs: Mapping[str, ConvSpec]
    cuts: tuple[Cut, ...]
    cut: Cut
    border: Border = "zeros"

    @property
    def widths(self) -> dict[str, int]:
        """Channels by blob."""
        return resolve_widths(self.graph, self.site)

    def crossing(self, cut: Cut) -> list[Edge]:
        """Return the edges that cross `cut`, in the graph's order."""
        return [edge for edge in self.graph.edges if edge.source in cut and edge.sink not in cut]

    def __str__(self) -> str:
        return f"{self.graph} at {self.site}"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; the edges' geometry is not stored, it follows from the rest."""
        from netmorph.graph.codec import graph_to_dict

        return {
            "graph": graph_to_dict(self.graph),
            "site": self.site.to_dict(),
            "cuts": [sorted(cut) for cut in self.cuts],
            "cut": sorted(self.cut),
            "border": self.border,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Layout:
        """Rebuild a layout from `to_dict`'s output.

        Raises:
            GraphError: if the description is not one of a layout.
        """
        from netmorph.graph.codec import graph_from_dict

        try:
            graph, site = graph_from_dict(data["graph"]), ConvSpec.from_dict(data["site"])
            cuts = tuple(frozenset(map(str, cut)) for cut in data["cuts"])
            cut, border = frozenset(map(str, data["cut"])), data["border"]
        except (KeyError, TypeError) as error:
            raise GraphError(f"invalid description of a layout: {error!r}") from error
        if border not in ("zeros", "halo"):
            raise GraphError(f"border must be 'zeros' or 'halo', got {border!r}")
        for each in (*cuts, cut):
            _check_cut(graph, each)
        return lay_out(graph, site, cuts, cut, border=border)


def lay_out(graph: ModuleGraph, site: ConvSpec, cuts: Sequence[Cut], cut: Cut, *, border: Border = "zeros") -> Layout:
    """Give every edge of `graph` its geometry at `site`.

    Edges that cross `cuts[d]` take the site's padding and (unless strides are named) stride in dimension d, their
    middle tap on the site's middle tap; all others keep the size, their middle tap at offset 0.

    Raises:
        GraphError: if widths, groups or strides do not fit the site; the message names the edge.
    """
    if len(cuts) != site.dims:
        raise GraphError(f"{len(cuts)} cuts for {site.dims} spatial dimensions")
    if border == "zeros" and site.padding_mode != "zeros":
        _check_mode(graph, site, cuts)
    if not site.dims:
        _check_linear(graph)
    widths = resolve_widths(graph, site)
    axes = [_axes_of(graph, site, cuts[dim], dim) for dim in range(site.dims)]
    specs = {}
    for index, edge in enumerate(graph.edges):
        along = [axis[index] for axis in axes]
        specs[edge.name] = _spec(edge, widths, [a[0] for a in along], [a[1:3] for a in along], [a[3] for a in along])
        crosses = any(edge.source in each and edge.sink not in each for each in cuts)
        if crosses and site.padding_mode != "zeros":
            specs[edge.name] = specs[edge.name].with_(padding_mode=site.padding_mode)
    return Layout(graph, site, specs, tuple(cuts), cut, border)


def resolve_widths(graph: ModuleGraph, site: ConvSpec) -> dict[str, int]:
    """Return the channels of every blob at a site."""
    named = graph.widths
    widths = {blob: named[blob].resolve(site.c_out) if blob in named else site.c_out for blob in graph.blobs}
    return {**widths, graph.source: site.c_in, graph.sink: site.c_out}


def resolutions(graph: ModuleGraph, site: ConvSpec, cut: Cut, dim: int) -> dict[str, int]:
    """Return each blob's total stride from the source in dimension `dim`.

    Raises:
        GraphError: if the given strides do not multiply to the site's.
    """
    named = any(edge.stride is not None for edge in graph.edges)
    steps = {graph.source: 1}
    incoming = graph.incoming
    for blob in graph.blobs[1:]:
        edge = incoming[blob][0]
        crosses = edge.source in cut and edge.sink not in cut
        free = site.stride[dim] if crosses else 1
        step = per_dimension(edge.stride or 1, site.dims, "stride")[dim] if named else free
        steps[blob] = steps[edge.source] * step
    if steps[graph.sink] != site.stride[dim]:
        raise GraphError(
            f"the graph's strides multiply to {steps[graph.sink]}, the site's stride is {site.stride[dim]}",
            graph=str(graph),
            shapes=f"dimension {dim}",
            remedies=["name no stride: the edges that cross the cut then take the site's"],
        )
    return steps


def _axes_of(graph: ModuleGraph, site: ConvSpec, cut: Cut, dim: int) -> list[tuple[int, int, int, tuple[int, int]]]:
    """Return (kernel, stride, dilation, padding) of every edge along one dimension."""
    steps = resolutions(graph, site, cut, dim)
    out = []
    for edge in graph.edges:
        kernel = per_dimension(edge.kernel, site.dims, "kernel")[dim]
        crosses = edge.source in cut and edge.sink not in cut
        coarse = steps[edge.source]
        default = max(1, site.dilation[dim] // coarse) if crosses else 1
        dilation = default if edge.dilation is None else per_dimension(edge.dilation, site.dims, "dilation")[dim]
        reach, before = dilation * (kernel - 1), dilation * ((kernel - 1) // 2)
        if crosses:
            middle = site.offset[dim] + (site.kernel[dim] - 1) // 2 * site.dilation[dim]
            spare = sum(site.padding[dim]) - site.extent[dim] + 1
            if middle % coarse or spare % coarse:
                raise GraphError(
                    f"edge {edge.name!r} runs after a stride of {coarse} and cannot be aligned with the site's taps",
                    graph=str(graph),
                    shapes=str(site),
                    remedies=["name the stride on a later edge", "name no stride at all"],
                )
            before -= middle // coarse
            reach += spare // coarse
        out.append((kernel, steps[edge.sink] // coarse, dilation, (before, reach - before)))
    return out


def _check_mode(graph: ModuleGraph, site: ConvSpec, cuts: Sequence[Cut]) -> None:
    """Raise if a padding mode would extend a strided blob: that is not the strided extension of the site's input."""
    for dim, cut in enumerate(cuts):
        steps = resolutions(graph, site, cut, dim)
        for edge in graph.edges:
            crosses = edge.source in cut and edge.sink not in cut
            if crosses and steps[edge.source] != 1 and any(site.padding[dim]):
                raise GraphError(
                    f"edge {edge.name!r} runs after a stride and cannot pad its input as the site does",
                    graph=str(graph),
                    shapes=f"padding mode {site.padding_mode!r}, stride {steps[edge.source]} before the edge",
                    remedies=["name the stride on a later edge", "name no stride at all"],
                )


def _check_linear(graph: ModuleGraph) -> None:
    """Raise if an edge names a kernel, stride or dilation other than 1 and the site has no spatial dimension."""
    for edge in graph.edges:
        for what in ("kernel", "stride", "dilation"):
            values = getattr(edge, what) or (1,)
            if max(values) > 1:
                raise GraphError(
                    f"edge {edge.name!r} has a {what} of {'x'.join(map(str, values))}, but the site is linear",
                    graph=str(graph),
                    remedies=["a linear site accepts only 1"],
                )


def _spec(
    edge: Edge,
    widths: Mapping[str, int],
    kernel: list[int],
    moves: list[tuple[int, int]],
    padding: list[tuple[int, int]],
) -> ConvSpec:
    c_in, c_out = widths[edge.source], widths[edge.sink]
    if edge.fixed is not None and c_in != c_out:
        raise GraphError(
            f"edge {edge.name!r} has no weights but joins {c_in} to {c_out} channels",
            remedies=[f"give {edge.source!r} and {edge.sink!r} the same width", "use a 1x1 convolution instead"],
        )
    groups = c_in if edge.groups == "dw" or edge.fixed is not None else edge.groups
    try:
        return ConvSpec(
            c_in, c_out, tuple(kernel), tuple(m[0] for m in moves), tuple(m[1] for m in moves), tuple(padding), groups
        )
    except GraphError as error:
        raise GraphError(f"edge {edge.name!r}: {error.what}", shapes=error.shapes, remedies=error.remedies) from error


def _check_cut(graph: ModuleGraph, cut: Cut) -> None:
    blobs = set(graph.blobs)
    backward = [e.name for e in graph.edges if e.source not in cut and e.sink in cut]
    if graph.source not in cut or graph.sink in cut or not cut <= blobs or backward:
        raise GraphError(f"{sorted(cut)} is not the source's side of a monotone cut", graph=str(graph))
