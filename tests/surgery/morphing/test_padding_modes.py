"""Padding by reflection, repetition and wrapping: pointwise fill is exact there too."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from netmorph.errors import GraphError, SiteError
from netmorph.surgery.morphing.morph import morph

MODES = ["reflect", "replicate", "circular"]


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


def layer(mode: str, kernel: int | tuple[int, int] = 3, **options: int) -> nn.Sequential:
    conv = nn.Conv2d(3, 4, kernel, padding_mode=mode, dtype=torch.float64, **options)
    with torch.no_grad():
        conv.weight.copy_(drawn(*conv.weight.shape))
    return nn.Sequential(conv)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "padding"),
    [
        *itertools.product((3, 2), (1, 2), (1, 2), (1,)),
        (5, 2, 1, 2),
        (3, 3, 2, 0),
        ((1, 3), 1, 1, (0, 1)),
        (4, 2, 1, 1),
    ],
)
def test_every_graph_is_exact_at_the_border(
    mode: str, kernel: int | tuple[int, int], stride: int, dilation: int, padding: int | tuple[int, int]
) -> None:
    parent = layer(mode, kernel, stride=stride, dilation=dilation, padding=padding)
    graphs = ["5x5 > 1x1 | 1x1", "7x7 > 1x1 | 6x6", "1x1 > 5x5 | 3x3"]
    for graph in graphs:
        result = morph(parent, {"0": graph}, example_inputs=drawn(2, 3, 13, 14))
        assert result.parity.sites[0].max_rel < 1e-12, graph
        assert result.parity.sites[0].measured[0].border is not None or not padding
        x = drawn(1, 3, 17, 12)
        torch.testing.assert_close(result.model(x), parent(x), rtol=0, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
def test_one_and_three_dimensions(mode: str) -> None:
    for conv, x, graph in (
        (nn.Conv1d(3, 4, 3, padding=2, stride=2, padding_mode=mode), drawn(2, 3, 11), "5 > 1 | 1"),
        (nn.Conv3d(2, 2, 2, padding=1, padding_mode=mode), drawn(1, 2, 5, 6, 7), "3 > 1 | 1"),
    ):
        assert morph(nn.Sequential(conv.double()), {"0": graph}, example_inputs=x).parity.sites[0].max_rel < 1e-12


def test_what_pytorch_cannot_pad_is_an_error() -> None:
    parent = layer("reflect", padding=1)
    assert morph(parent, {"0": "9x9 > 1x1"}, example_inputs=drawn(1, 3, 5, 5)).parity.exact
    with pytest.raises(SiteError, match=r"cannot run on its input.*\[site 0; graph '9x9 > 1x1'.*smaller kernels"):
        morph(parent, {"0": "9x9 > 1x1"}, example_inputs=drawn(1, 3, 4, 4))


def test_a_kernel_larger_than_the_synthetic_input_would_be() -> None:
    assert morph(layer("reflect", padding=1), {"0": "15x15 > 1x1"}, example_inputs=drawn(1, 3, 9, 9)).parity.exact


@pytest.mark.parametrize("mode", MODES)
def test_dense_fill_is_refused(mode: str) -> None:
    with pytest.raises(GraphError, match="needs zero padding.*use fill='pointwise'"):
        morph(layer(mode, 5, padding=2), {"0": "3x3:4x > 3x3"}, example_inputs=drawn(1, 3, 9, 9), fill="dense")
