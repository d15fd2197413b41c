"""Random layers of PyTorch's, an input and a graph for each."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from tests.strategies import module_graphs, seeds
from torch import Tensor, nn

from netmorph.graph.spec import ModuleGraph

_CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...], ModuleGraph]:
    """A layer of PyTorch's in float64, the shape of an input, and a graph."""
    dims = draw(st.sampled_from([0, 1, 2, 2, 3]))
    groups = draw(st.sampled_from([1, 1, 2]))
    c_in, c_out = (2 * draw(st.integers(1, 2)) for _ in range(2))
    bias, generator = draw(st.booleans()), torch.Generator().manual_seed(draw(seeds()))
    options: dict[str, Any] = {"bias": bias, "dtype": torch.float64}
    graph = draw(
        module_graphs(max_blobs=4, max_extra=2, dims=dims, largest_kernel=3 if dims else 1, widths=draw(st.booleans()))
    )
    if not dims:
        layer: nn.Module = nn.Linear(c_in, c_out, **options)
    else:
        kernel, dilation = (tuple(draw(st.integers(1, top)) for _ in range(dims)) for top in (3, 2))
        same = draw(st.booleans())
        stride = (1,) * dims if same else tuple(draw(st.integers(1, 2)) for _ in range(dims))
        padding = (
            "same" if same else tuple(draw(st.integers(0, d * (k - 1))) for k, d in zip(kernel, dilation, strict=True))
        )
        mode = draw(st.sampled_from(["zeros", "zeros", "zeros", "circular", "replicate"]))
        layer = _CONVS[dims](c_in, c_out, kernel, stride, padding, dilation, groups, padding_mode=mode, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return layer, (2, c_in, *(7 + dim for dim in range(dims))) if dims else (5, c_in), graph


def signal(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
