"""Small running modules for tests that need a particular one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netmorph.filters import ConvSpec
from netmorph.graph.cuts import source_cut
from netmorph.graph.layout import lay_out
from netmorph.graph.notation import parse
from netmorph.nn import MorphedModule


def build(
    notation: str, c_in: int = 4, c_out: int = 6, dims: int = 2, border: str = "zeros", stride: int = 1, **options: Any
) -> MorphedModule:
    """A module in place of a "same" 3x3 convolution (a linear layer where `dims` is 0), cut at the source."""
    graph = parse(notation)
    site = ConvSpec.same(c_in, c_out, 3 if dims else (), dims=dims, stride=stride)
    cut = source_cut(graph)
    return MorphedModule(lay_out(graph, site, [cut] * dims, cut, border=border), **options)  # type: ignore[arg-type]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers that leave the global random state alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
