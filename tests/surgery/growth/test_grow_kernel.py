from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.surgery.growing import gap, pictures, replays, shaken
from tests.surgery.networks import images, left_alone, small
from torch import nn

from netmorph.errors import NetmorphError, SiteError
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.morphing.morph import morph

X = pictures()


def alone(layer: nn.Module) -> nn.Module:
    return shaken(nn.Sequential(layer))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(
    ("layer", "kernel", "padding", "shape"),
    [
        (nn.Conv2d(3, 4, 3, padding=1), 5, (2, 2), (2, 3, 7, 6)),
        (nn.Conv2d(3, 4, 1), (3, 1), (1, 0), (2, 3, 7, 6)),
        (nn.Conv2d(3, 4, 3), 7, (2, 2), (2, 3, 7, 6)),
        (nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3, bias=False), 5, (2, 2), (2, 3, 7, 6)),
        (nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4), 5, (4, 4), (1, 4, 9, 9)),
        (nn.Conv2d(3, 4, 4, stride=4), 6, (1, 1), (2, 3, 8, 8)),
        (nn.Conv2d(3, 4, 3, padding=1), 4, "same", (2, 3, 7, 6)),
        (nn.Conv2d(3, 4, 4, padding="same"), (5, 6), "same", (2, 3, 7, 6)),
        (nn.Conv2d(3, 4, 3, padding="valid"), 5, (1, 1), (2, 3, 7, 6)),
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), 5, (2, 2), (2, 3, 7, 6)),
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), 5, (2, 2), (2, 3, 7, 6)),
        (nn.Conv1d(3, 4, 3, padding=1), 5, (2,), (2, 3, 7)),
        (nn.Conv3d(3, 4, 1), 3, (1, 1, 1), (1, 3, 4, 5, 6)),
    ],
    ids=lambda value: str(value).replace("kernel_size=", ""),
)
def test_plain_convolutions(
    layer: nn.Module, kernel: object, padding: object, shape: tuple[int, ...], tmp_path: Path
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    net = alone(layer)
    with left_alone(net):
        result = grow_kernel(net, "0", kernel, example_inputs=x)
    grown = result.model[0]
    assert type(grown) is type(layer)
    assert (grown.padding, grown.stride, grown.groups) == (padding, layer.stride, layer.groups)
    assert gap(net, result.model, x) < 1e-6
    assert result.parity.sites[0].max_rel < 1e-6
    parent = nn.Sequential(type(layer)(*_arguments(layer)))
    replays(result.model, parent, tmp_path, x)
    result.model(x).square().mean().backward()
    assert bool((grown.weight.grad != 0).all())  # the zeros learn from the first step


def _arguments(layer: nn.Module) -> tuple[object, ...]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    return (*(getattr(layer, name) for name in names), layer.bias is not None, layer.padding_mode)


@pytest.mark.parametrize(
    ("layer", "kernel", "message"),
    [
        (nn.Conv2d(3, 4, 3), 3, "a kernel can only become larger.*3x3 now, 3x3 requested"),
        (nn.Conv2d(3, 4, 3), (5, 1), "3x3 now, 5x1 requested"),
        (nn.Conv2d(3, 4, 3), (5, 5, 5), "kernel 5x5x5 has 3 dimensions, the site has 2"),
        (nn.Conv2d(3, 4, 3), "wide", "'wide' is not a kernel"),
        (nn.Conv2d(3, 4, 3), 3.5, "3.5 is not a kernel"),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), 4, "cannot pad like this.*grow by an even number.*morph it first"),
        (nn.Conv2d(3, 4, 4, padding=1), 5, "cannot pad like this"),
        (nn.Conv2d(3, 4, 3), (), "is not a kernel"),
        (nn.Conv2d(3, 4, 3), 0, "0 is not a kernel"),
        (nn.Linear(11, 4), 3, "a linear layer has no kernel"),
        (nn.Identity(), 3, "PyTorch's own convolutions and linear layers, and '0' is a Identity"),
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), 25, "cannot run on its input"),
    ],
)
def test_refusals(layer: nn.Module, kernel: object, message: str) -> None:
    net = nn.Sequential(layer, nn.ReLU())
    with left_alone(net), pytest.raises(NetmorphError, match=message):
        grow_kernel(net, "0", kernel, example_inputs=X, inplace=True)


def test_edges_without_weights() -> None:
    net = morph(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)), {"0": "0.5*id | 3x3"}, example_inputs=X).model
    with pytest.raises(SiteError, match="edge 's_t' has no weights.*regrow it into a convolution"):
        grow_kernel(net, "0.edges.s_t", 3, example_inputs=X)
    assert len(grow_kernel(net, "0.edges.*", 5, example_inputs=X).sites) == 1


def test_whole_networks_in_place() -> None:
    net, x = shaken(small()), images()
    before = dict(net.named_modules())
    expected = net.eval()(x)
    result = grow_kernel(net, "blocks.*", 5, example_inputs=x, inplace=True)
    assert result.model is net
    assert torch.allclose(net.eval()(x), expected, atol=1e-5)
    changed = {name for name, module in net.named_modules() if before.get(name) is not module}
    assert changed == {f"blocks.{block}.conv{conv}" for block in (0, 1) for conv in (1, 2)}
    assert [site.name for site in result.sites] == sorted(changed)
    assert not net.blocks[0].conv1.training


def test_types_flags_and_formats() -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1).double().to(memory_format=torch.channels_last)
    layer.weight.requires_grad_(False)
    result = grow_kernel(nn.Sequential(layer), "0", 5, example_inputs=X.double())
    weight = result.model[0].weight
    assert (weight.dtype, weight.requires_grad) == (torch.float64, False)
    assert result.model[0].bias.requires_grad
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert result.parity.sites[0].tolerance == 1e-10


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 4), st.integers(1, 2), st.booleans())
@settings(max_examples=30)
def test_any_convolution(kernel: int, more: int, stride: int, padding: int, dilation: int, grouped: bool) -> None:
    layer = nn.Conv2d(4, 4, kernel, stride, padding, dilation, 2 if grouped else 1).double()
    x = torch.randn(1, 4, 9, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(kernel))
    try:
        result = grow_kernel(nn.Sequential(layer), "0", kernel + more, example_inputs=x)
    except SiteError as error:
        if "cannot pad like this" not in str(error) or more % 2 == 0:
            raise
        return
    assert result.parity.sites[0].max_rel < 1e-12
