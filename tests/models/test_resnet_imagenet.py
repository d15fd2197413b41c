import pytest
import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.models.resnet_imagenet import ImageNetResNet


@pytest.mark.parametrize("depth", [18, 34])
def test_it_is_torchvision_s_network(depth):
    """With slopes of 0 and the same weights, the outputs are the same."""
    models = pytest.importorskip("torchvision.models")
    theirs = models.get_model(f"resnet{depth}", num_classes=5).eval()
    ours = ImageNetResNet(depth, num_classes=5).eval()
    generator = torch.Generator().manual_seed(0)
    renamed = {name.replace("downsample", "shortcut"): value for name, value in theirs.state_dict().items()}
    for value in renamed.values():
        if value.dim() == 1:  # norms that do something
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    slopes = {name for name in ours.state_dict() if ".act" in name or name.startswith("act")}
    assert ours.state_dict().keys() - slopes == renamed.keys()
    ours.load_state_dict({**ours.state_dict(), **renamed})
    x = torch.randn(2, 3, 70, 64, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_shapes():
    model = ImageNetResNet(18, num_classes=7, in_channels=1, width=4)
    seen = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda _m, _x, y: seen.append(tuple(y.shape[1:])))
    assert model(torch.zeros(2, 1, 64, 64)).shape == (2, 7)
    assert seen == [(4, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2)]


def test_shortcuts_are_identities_exactly_where_the_shape_is_kept():
    model = ImageNetResNet(34, width=4)
    kinds = {name: type(m) for name, m in model.named_modules() if name.endswith(".shortcut")}
    assert len(kinds) == 16
    changed = {"layer2.0.shortcut", "layer3.0.shortcut", "layer4.0.shortcut"}
    assert {name for name, kind in kinds.items() if kind is nn.Sequential} == changed


def test_the_seed_alone_decides_the_weights():
    state = torch.random.get_rng_state()
    one, same, other = (ImageNetResNet(18, width=4, seed=seed) for seed in (1, 1, 2))
    assert one.layer4[0].conv1.weight.equal(same.layer4[0].conv1.weight)
    assert not one.layer4[0].conv1.weight.equal(other.layer4[0].conv1.weight)
    assert torch.random.get_rng_state().equal(state)


@pytest.mark.parametrize("arguments", [{"depth": 50}, {"width": 0}, {"num_classes": -1}])
def test_impossible_sizes_are_refused(arguments):
    with pytest.raises(NetmorphError, match=str(next(iter(arguments.values())))):
        ImageNetResNet(**arguments)
