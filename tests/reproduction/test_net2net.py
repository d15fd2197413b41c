from __future__ import annotations

import pytest
import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.models.registry import build
from netmorph.surgery.running.cost import cost
from reproduction.net2net import put_identities


@pytest.fixture
def parent():
    """A network as training leaves it: statistics and slopes are not those of its birth."""
    model = build("netmorph:resnet14", num_classes=5, width=4, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.weight.normal_(1, 0.3, generator=generator)
                module.bias.normal_(generator=generator)
            elif isinstance(module, nn.PReLU):
                module.weight.uniform_(-0.2, 0.4, generator=generator)
    return model.eval()


@pytest.fixture
def images():
    return [torch.randn(8, 3, 12, 12, generator=torch.Generator().manual_seed(3)) * 2 - 1]


@pytest.mark.parametrize("net", ["morph14_1c1", "morph14_3c1", "morph14_3c3"])
def test_the_deeper_network_computes_the_same_at_the_cost_of_the_morphed_one(parent, images, net):
    before = {name: value.clone() for name, value in parent.state_dict().items()}
    child = put_identities(parent, net, images)
    torch.testing.assert_close(child(images[0]), parent(images[0]), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in parent.state_dict().items())
    morphed = build(f"netmorph:{net}", num_classes=5, width=4)
    ours, theirs = (cost(model, images[0][:1]) for model in (child, morphed))
    assert ours.macs == theirs.macs > cost(parent, images[0][:1]).macs
    # A branch ends in a BatchNorm, a layer of Net2Net in an activation, too: one slope a channel more.
    channels = sum(child.get_submodule(f"layer{stage}.1.act1")[-1].num_parameters for stage in (1, 2, 3))
    assert ours.params - theirs.params == channels


def test_without_images_or_blocks_it_is_refused(parent, images):
    with pytest.raises(NetmorphError, match="no batch"):
        put_identities(parent, "morph14_1c1", [])
    with pytest.raises(NetmorphError, match="nothing to deepen"):
        put_identities(parent, "resnet14", images)
