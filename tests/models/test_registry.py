import sys
import urllib.error

import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.models.registry import build


def test_netmorph_models_take_arguments():
    model = build("netmorph:resnet14", num_classes=7, in_channels=1, width=4)
    assert model(torch.zeros(2, 1, 12, 12)).shape == (2, 7)
    assert len(model.layer1) == 2


@pytest.mark.parametrize(
    ("name", "kind"), [("resnet18", "ImageNetResNet"), ("resnet34", "ImageNetResNet"), ("resnet20", "CifarResNet")]
)
def test_depths_tell_imagenet_from_cifar(name, kind):
    assert type(build(f"netmorph:{name}", width=4)).__name__ == kind


def test_morphed_networks_take_the_same_arguments():
    model = build("netmorph:morph14_1c1", num_classes=7, in_channels=1, width=4)
    assert model(torch.zeros(2, 1, 12, 12)).shape == (2, 7)
    with pytest.raises(NetmorphError, match="colour='red'"):
        build("netmorph:morph14_1c1", colour="red")
    with pytest.raises(NetmorphError, match="shortcut_scale='red'"):
        build("netmorph:resnet14", shortcut_scale="red")
    with pytest.raises(NetmorphError, match="shortcut_scale is 0.5"):
        build("netmorph:morph14_1c1", shortcut_scale="red")


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
        ("netmorph:morph20_2c1", "no model 'morph20_2c1'.*did you mean netmorph:morph20_3c1"),
        ("netmorph:morph8_1c1", "the first is not morphed"),
        ("netmorph:morph18_1c", "did you mean .*netmorph:morph18_1c1"),
    ],
)
def test_unknown_names_get_a_hint(name, said):
    with pytest.raises(NetmorphError, match=said):
        build(name)


def test_refused_arguments_are_one_message():
    with pytest.raises(NetmorphError, match="torchvision:resnet18 refuses colour='red'"):
        build("torchvision:resnet18", colour="red")


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        (None, {}, "expected a model's name as a string, got None"),
        ("netmorph:resnet8", {"seed": 1.5}, "netmorph:resnet8 refuses .*seed=1.5"),
        ("netmorph:resnet20", {"depth": 32}, "resnet20 has a depth of 20, not of 32.*leave out depth="),
        ("netmorph:morph20_1c1", {"depth": 8}, "morph20_1c1 has a depth of 20, not of 8"),
    ],
)
def test_arguments_against_the_name_or_of_another_type_are_told(name, given, said):
    with pytest.raises(NetmorphError, match=said):
        build(name, **given)


def test_weights_that_cannot_be_had_are_told(monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setattr("os.path.exists", lambda path: False)
    with pytest.raises(NetmorphError, match="resnet18 refuses weights='DEFAULT': .*no network.*leave out the argument"):
        build("torchvision:resnet18", weights="DEFAULT")


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NetmorphError, match="timm is not installed.*pip install timm"):
        build("timm:resnet50")
