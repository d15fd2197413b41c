import pytest
import torch
from torch import nn

from netmorph.data.sources import load_data
from netmorph.errors import NetmorphError
from netmorph.lab import fit_model
from netmorph.lab.fit_model import open_for
from netmorph.surgery.records.checkpoint import save


@pytest.fixture(scope="module")
def data():
    return load_data("fashion-mnist-subset", train_limit=32, test_limit=16)


def test_classes_channels_and_seed_reach_the_constructor(data):
    one, two = (open_for("netmorph:resnet8", {"width": 4}, None, data, seed) for seed in (1, 2))
    assert one.conv1.in_channels == 1
    assert one.fc.out_features == 10
    assert not torch.equal(one.conv1.weight, two.conv1.weight)
    assert torch.equal(one.conv1.weight, open_for("netmorph:resnet8", {"width": 4}, None, data, 1).conv1.weight)


def test_trying_leaves_no_trace(data):
    state = torch.random.get_rng_state()
    model = open_for("netmorph:resnet8", {"width": 4}, None, data, 1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert int(model.bn1.num_batches_tracked) == 0
    assert not model.bn1.running_mean.any()


def test_timm_takes_grey_images(data):
    pytest.importorskip("timm")
    model = open_for("timm:test_resnet", {}, None, data, 0)
    assert model(data.example(2)).shape == (2, 10)


def test_a_network_of_three_channels_is_refused_grey_images(data):
    with pytest.raises(
        NetmorphError, match=r"torchvision:squeezenet1_1 cannot be trained on this data.*\(2, 1, 28, 28\)"
    ):
        open_for("torchvision:squeezenet1_1", {}, None, data, 0)


def test_other_numbers_of_classes_are_refused(data):
    with pytest.raises(NetmorphError, match=r"does not return one number for each of 10 classes.*\(2, 7\)"):
        open_for("netmorph:resnet8", {"width": 4, "num_classes": 7}, None, data, 0)


def test_outputs_that_are_no_logits_are_refused(data, monkeypatch):
    class Two(nn.Module):
        def forward(self, x):
            logits = x.flatten(1)[:, :10]
            return (logits, logits) if self.training else logits

    monkeypatch.setattr(fit_model, "build", lambda name, **_: Two())
    with pytest.raises(NetmorphError, match=r"10 classes in train mode.*output tuple"):
        open_for("netmorph:resnet8", {}, None, data, 0)


def test_a_checkpoint_is_opened_as_it_is(data, tmp_path):
    model = open_for("netmorph:resnet8", {"width": 4}, None, data, 5)
    save(model, tmp_path / "net")
    again = open_for(str(tmp_path / "net"), {}, None, data, 0)
    assert torch.equal(again.conv1.weight, model.conv1.weight)
    with pytest.raises(NetmorphError, match="is a checkpoint"):
        open_for(str(tmp_path / "net"), {"width": 4}, None, data, 0)
