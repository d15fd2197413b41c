"""The halo border: pad the source once by the module's reach, run every edge unpadded (DESIGN section 4, "Dense fill").

For output position q of a module with remaining stride R at blob u, the paths read the window
`R*q + low[u] .. R*q + high[u]` of u. A blob holds the union of these windows, and no more; what an edge reads of it is
cropped by constants, whatever the input's size, and thereby starts at the right phase of the edge's stride.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from netmorph.errors import SiteError
from netmorph.filters.geometry import ConvSpec, Pads
from netmorph.graph.layout import Layout

Window = tuple[int, int]


@dataclass(frozen=True)
class Halo:
    """How the source is padded under the halo border.

    Attributes:
        site: geometry of the layer that the module replaces; its padding mode holds for its own padding, zeros beyond.
        reach: (low, high) of the source for each dimension.
    """

    site: ConvSpec
    reach: tuple[Window, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` (N, c_in, *spatial) padded (or cropped) to what the module reads.

        Raises:
            SiteError: the input is smaller than the site's window.
        """
        site = self.site
        pads: list[int] = []
        own: list[int] = []
        for dim in range(site.dims - 1, -1, -1):
            (low, high), (before, after), stride = self.reach[dim], site.padding[dim], site.stride[dim]
            size = x.shape[dim - site.dims]
            steps = (size + before + after - site.extent[dim]) // stride
            if isinstance(x, Tensor) and steps < 0:
                raise SiteError(
                    "the input is smaller than the window of the layer that was morphed",
                    shapes=f"input {tuple(x.shape)}, layer {site}",
                )
            pads += [-low, steps * stride + high - size + 1]
            own += [max(before, 0), max(after, 0)]
        if site.padding_mode != "zeros":
            x = F.pad(x, own, site.padding_mode)
            pads = [pad - done for pad, done in zip(pads, own, strict=True)]
        return F.pad(x, pads)


def halo(layout: Layout) -> tuple[Halo, Mapping[str, Pads]]:
    """Return how to pad the source of `layout`, and for each edge by how much to crop what it reads (as pads <= 0)."""
    dims, graph = layout.site.dims, layout.graph
    windows: dict[str, tuple[Window, ...]] = {graph.sink: ((0, 0),) * dims}
    outgoing = graph.outgoing
    reads = {}
    for blob in reversed(graph.blobs[:-1]):
        for edge in outgoing[blob]:
            reads[edge.name] = _reads(layout.specs[edge.name], windows[edge.sink])
        along = list(zip(*(reads[edge.name] for edge in outgoing[blob]), strict=True))
        windows[blob] = tuple((min(w[0] for w in each), max(w[1] for w in each)) for each in along)
    crops = {
        edge.name: tuple(
            (low - first, last - high)
            for (low, high), (first, last) in zip(windows[edge.source], reads[edge.name], strict=True)
        )
        for edge in graph.edges
    }
    return Halo(layout.site, windows[graph.source]), crops


def _reads(spec: ConvSpec, window: tuple[Window, ...]) -> tuple[Window, ...]:
    """Return the window of its source that an edge reads to write `window` of its sink."""
    return tuple(
        (s * low + o, s * high + o + e - 1)
        for (low, high), s, o, e in zip(window, spec.stride, spec.offset, spec.extent, strict=True)
    )
