import sys

import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.models.registry import build


def test_netmorph_models_take_arguments():
    model = build("netmorph:resnet14", num_classes=7, in_channels=1, width=4)
    assert model(torch.zeros(2, 1, 12, 12)).shape == (2, 7)
    assert len(model.layer1) == 2


def test_torchvision_models():
    assert build("torchvision:resnet18", num_classes=3).fc.out_features == 3


def test_timm_models():
    timm = pytest.importorskip("timm")
    assert type(build("timm:resnet18", num_classes=3)) is type(timm.create_model("resnet18"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet18", "no model source in 'resnet18'.*torchvision:resnet18"),
        ("keras:resnet18", "no model source"),
        ("torchvision:resnet81", "no model 'resnet81'.*did you mean torchvision:resnet"),
        ("netmorph:resnet", "did you mean netmorph:resnet"),
        ("netmorph:resnet19", "6n \\+ 2.*use 20"),
        ("netmorph:zzzz", "netmorph has no model 'zzzz'"),
    ],
)
def test_unknown_names_get_a_hint(name, said):
    with pytest.raises(NetmorphError, match=said):
        build(name)


def test_refused_arguments_are_one_message():
    with pytest.raises(NetmorphError, match="torchvision:resnet18 refuses colour='red'"):
        build("torchvision:resnet18", colour="red")


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NetmorphError, match="timm is not installed.*pip install timm"):
        build("timm:resnet50")
