"""What a drawing points out: which edges carry the layer's filter, which are new, which blobs are too narrow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Marks"]


@dataclass(frozen=True)
class Marks:
    """What to point out in a drawing.

    Attributes:
        widths: channels of every blob at a site (`netmorph.graph.layout.resolve_widths`); None: what the graph names.
        carrying: names of the edges that carry the site's filter: the cut that is solved for.
        narrow: blobs that are too narrow for it.
        fresh: names of edges that the latest step has made.
    """

    widths: Mapping[str, int] | None = None
    carrying: frozenset[str] = frozenset()
    narrow: frozenset[str] = frozenset()
    fresh: frozenset[str] = frozenset()
