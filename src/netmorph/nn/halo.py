"""The halo border: pad the source once by the module's reach, run every edge unpadded.

For output position q of a module with remaining stride R at blob u, the paths read the window
`R*q + low[u] .. R*q + high[u]` of u. A blob holds the union of these windows, and no more; what an edge reads of it is
cropped by constants, whatever the input's size, and thereby starts at the right phase of the edge's stride.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import EllipsisType

from torch import Tensor
from torch.nn import functional as F

from netmorph.errors import SiteError
from netmorph.filters.geometry import ConvSpec, Pads
from netmorph.graph.layout import Layout

Window = tuple[int, int]


@dataclass(frozen=True)
class Halo:
    """How the source is padded (or cropped) under the halo border: by constants, but for where a stride ends.

    Attributes:
        site: geometry of the layer that the module replaces.
        own: the site's padding in its padding mode, as for `F.pad`; empty where that is zeros.
        pads: zeros beyond, as for `F.pad`.
        starts: first position kept, after padding, for each dimension.
        ends: positions cropped at the end (stride 1), or the length kept beyond the steps of the stride.
        crops: whether anything is cropped.
    """

    site: ConvSpec
    own: tuple[int, ...]
    pads: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    crops: bool

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` (N, c_in, *spatial) padded to what the module reads.

        Raises:
            SiteError: if the input is smaller than the site's window.
        """
        site = self.site
        steps = [
            (x.shape[dim - site.dims] + sum(site.padding[dim]) - site.extent[dim]) // site.stride[dim]
            for dim in range(site.dims)
        ]
        if isinstance(x, Tensor) and any(step < 0 for step in steps):
            raise SiteError(
                "the input is smaller than the window of the layer that was morphed",
                shapes=f"input {tuple(x.shape)}, layer {site}",
            )
        if self.own:
            x = F.pad(x, self.own, site.padding_mode)
        if any(stride != 1 for stride in site.stride):
            return F.pad(x, self._amounts(x, steps))
        if any(self.pads):
            x = F.pad(x, self.pads)
        if not self.crops:
            return x
        window: list[slice | EllipsisType] = [...]
        window += [slice(start, -end or None) for start, end in zip(self.starts, self.ends, strict=True)]
        return x[tuple(window)]

    def _amounts(self, x: Tensor, steps: list[int]) -> list[int]:
        """Return how much to pad (or crop, below 0), as for `F.pad`, where it hangs on the input's size.

        A window of a padded tensor would do, too, but its memory format would depend on the size, which an export with
        sizes that vary does not allow.
        """
        amounts: list[int] = []
        for dim, (step, stride) in enumerate(zip(steps, self.site.stride, strict=True)):
            place = 2 * (self.site.dims - 1 - dim)
            before, after = self.pads[place] - self.starts[dim], self.pads[place + 1] - self.ends[dim]
            if stride != 1:
                after = step * stride + self.ends[dim] - x.shape[dim - self.site.dims] - before
            amounts = [before, after, *amounts]
        return amounts


def _source(site: ConvSpec, reach: tuple[Window, ...]) -> Halo:
    """Return the padding of a source of which the window `reach` is read."""
    own: list[int] = []
    pads: list[int] = []
    starts, ends = [], []
    for (low, high), (before, after), extent, stride in zip(reach, site.padding, site.extent, site.stride, strict=True):
        done = (max(before, 0), max(after, 0)) if site.padding_mode != "zeros" else (0, 0)
        first = low + done[0]
        # Positions to add at the end when the last step ends with the site's window; a stride may stop before it.
        spare = before + after - extent + high + 1 - done[1]
        own = [*done, *own]
        pads = [max(-first, 0), max(spare, 0), *pads]
        starts.append(max(first, 0))
        ends.append(max(-spare, 0) if stride == 1 else high - low + 1)
    crops = any(starts) or any(ends)
    return Halo(site, tuple(own) if any(own) else (), tuple(pads), tuple(starts), tuple(ends), crops)


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
    return _source(layout.site, windows[graph.source]), crops


def _reads(spec: ConvSpec, window: tuple[Window, ...]) -> tuple[Window, ...]:
    """Return the window of its source that an edge reads to write `window` of its sink."""
    return tuple(
        (s * low + o, s * high + o + e - 1)
        for (low, high), s, o, e in zip(window, spec.stride, spec.offset, spec.extent, strict=True)
    )
