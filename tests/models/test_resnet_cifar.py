import pytest
import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.models.blocks import he_init
from netmorph.models.resnet_cifar import CifarResNet


@pytest.mark.parametrize("depth", [8, 14, 20])
def test_depth_counts_the_layers_with_weights(depth):
    model = CifarResNet(depth)
    layers = [m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n]
    assert len(layers) == depth


def test_resnet20_has_the_size_of_the_paper():
    # He et al. count 0.27 M; with projections, and per-channel slopes, a little more.
    count = sum(p.numel() for p in CifarResNet(20).parameters() if p.dim() > 1)
    assert count == 270_896


@pytest.mark.parametrize(("stride", "sizes"), [(1, [28, 14, 7]), (2, [14, 7, 4])])
def test_shapes(stride, sizes):
    model = CifarResNet(8, num_classes=7, in_channels=1, width=4, stem_stride=stride)
    seen = []
    for stage in (model.layer1, model.layer2, model.layer3):
        stage.register_forward_hook(lambda _m, _x, y: seen.append(tuple(y.shape[1:])))
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
    assert seen == [(4 * 2**i, size, size) for i, size in enumerate(sizes)]


def test_shortcuts_are_identities_exactly_where_the_shape_is_kept():
    model = CifarResNet(14)
    kinds = {name: type(m) for name, m in model.named_modules() if name.endswith(".shortcut")}
    changed = {"layer2.0.shortcut", "layer3.0.shortcut"}
    assert {name for name, kind in kinds.items() if kind is nn.Sequential} == changed
    assert {name for name, kind in kinds.items() if kind is nn.Identity} == set(kinds) - changed


def test_the_activation_is_a_relu_at_birth():
    model = CifarResNet(8, in_channels=1, width=4).eval()
    assert all(m.weight.eq(0).all() for m in model.modules() if isinstance(m, nn.PReLU))
    block, x = model.layer1[0], torch.randn(2, 4, 6, 6)
    expected = (block.bn2(block.conv2(block.bn1(block.conv1(x)).relu())) + x).relu()
    torch.testing.assert_close(block(x), expected)


def test_the_seed_alone_decides_the_weights():
    one, same, other = CifarResNet(8, seed=1), CifarResNet(8, seed=1), CifarResNet(8, seed=2)
    assert one.layer3[0].conv1.weight.equal(same.layer3[0].conv1.weight)
    assert not one.layer3[0].conv1.weight.equal(other.layer3[0].conv1.weight)


def test_the_global_generator_is_left_alone():
    state = torch.random.get_rng_state()
    CifarResNet(8)
    assert torch.random.get_rng_state().equal(state)


def test_he_init_keeps_the_scale_of_a_relu_chain():
    conv = nn.Conv2d(64, 256, 3)
    he_init(conv, seed=0)
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert conv.bias.eq(0).all()


@pytest.mark.parametrize("arguments", [{"depth": 19}, {"depth": 2}, {"depth": 18}, {"width": 0}, {"num_classes": -1}])
def test_impossible_sizes_are_refused(arguments):
    with pytest.raises(NetmorphError, match=str(next(iter(arguments.values())))):
        CifarResNet(**arguments)
