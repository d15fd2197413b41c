import pytest
import torch
from tests.surgery.records.test_checkpoint import edit
from torch import nn

import netmorph as nm
from netmorph.errors import NetmorphError
from netmorph.filters.default_device import on_no_device
from netmorph.models.rebuild import rebuild


def same(one: nn.Module, other: nn.Module) -> bool:
    left, right = ({key: value.shape for key, value in each.state_dict().items()} for each in (one, other))
    return left == right


@pytest.mark.parametrize(
    ("name", "arguments", "as_built"),
    [
        ("netmorph:resnet14", {"width": 4, "num_classes": 3, "in_channels": 1, "stem_stride": 2, "seed": 1}, {}),
        ("netmorph:morph14_1c1", {"width": 4, "shortcut_scale": 1.0}, {}),
        ("torchvision:resnet18", {"num_classes": 3, "groups": 1, "zero_init_residual": True}, {}),
        ("torchvision:resnet18", {"weights": "DEFAULT", "progress": False}, {"weights": None}),
        ("torchvision:regnet_x_400mf", {"num_classes": 5}, {}),
        ("torchvision:deeplabv3_mobilenet_v3_large", {"weights_backbone": "DEFAULT", "num_classes": 3}, None),
        ("timm:resnet10t", {"num_classes": 0, "in_chans": 1, "drop_rate": 0.5, "global_pool": "max"}, {}),
        ("timm:resnet10t.c3_in1k", {"pretrained": True, "num_classes": 4}, {"pretrained": False}),
        ("timm:vit_tiny_patch16_224", {"img_size": [32, 64], "depth": 2, "act_layer": "gelu"}, {}),
        ("timm:convnext_atto", {"depths": [1, 1, 1, 1], "dims": [4, 8, 8, 8], "features_only": True}, {}),
    ],
)
def test_what_a_checkpoint_may_ask_for_is_built_without_fetching(name, arguments, as_built, monkeypatch):
    def fetch(*_, **__):
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr("socket.socket.connect", fetch)
    built = on_no_device(lambda: rebuild(name, **arguments))
    if as_built is not None:
        assert same(built, on_no_device(lambda: nm.build(name, **{**arguments, **as_built})))
    assert any(parameter.is_meta for parameter in built.parameters())


def test_detectors_are_built_without_fetching_a_backbone(monkeypatch):
    def fetch(*_, **__):
        raise AssertionError("nothing may be fetched")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fetch)
    assert on_no_device(lambda: nm.build("torchvision:fasterrcnn_mobilenet_v3_large_fpn", num_classes=2)) is not None


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("timm:resnet18", {"in_chans": 3, "checkpoint_path": "x.pth"}, "may not give the argument 'checkpoint_path'"),
        ("timm:resnet18", {"pretrained": "yes"}, "'pretrained' of timm:resnet18 is not true or false"),
        ("timm:resnet18", {"num_classes": 1 << 21}, "not a whole number from 0 to 1,048,576 .2097152.*into="),
        ("timm:resnet18", {"num_classes": True}, "not a whole number"),
        ("timm:resnet18", {"num_classes": 10.0}, "not a whole number"),
        ("timm:resnet18", {"drop_rate": float("nan")}, "not a number from 0 to 1"),
        ("timm:resnet18", {"img_size": [1, 2, 3]}, "or a list of at most 2 such"),
        ("timm:resnet18", {"img_size": [[1], 2]}, "or a list of at most 2 such"),
        ("timm:resnet18", {"act_layer": "os:system"}, "not a name of at most 60 letters"),
        ("torchvision:resnet18", {"weights": "http://x"}, "not a name of at most 60 letters"),
        ("torchvision:resnet18", {"norm_layer": "BatchNorm2d"}, "may not give the argument 'norm_layer'"),
        ("torchvision:googlenet", {"weights": "DEFAULT"}, "googlenet computes something else .*'weights'"),
        ("netmorph:resnet20", {"width": 0}, "not a whole number from 1 to 4,096"),
        ("netmorph:resnet20", {"width": "0" * 500}, "not a whole number from 1 to 4,096"),
        ("netmorph:resnet60002", {}, "netmorph has no model"),
        ("netmorph:resnet6002", {}, "a depth of at most 1202"),
        ("netmorph:resnet" + "9" * 5000, {}, "is built by a name such as"),
        ("timm:hf-hub:timm/resnet18", {}, "is built by a name such as"),
        ("timm:resnet18.a/b", {}, "is built by a name such as"),
        ("timm:resnet18\n", {}, "is built by a name such as"),
        ("os:system", {}, "is built by a name such as"),
        ("", {}, "is built by a name such as"),
    ],
)
def test_all_else_is_refused_by_name(name, arguments, message):
    with pytest.raises(NetmorphError, match=message) as caught:
        rebuild(name, **arguments)
    assert len(str(caught.value)) < 400


def test_checkpoints_of_networks_that_were_built_with_weights_load_without_them(tmp_path):
    """As older versions wrote them: what `pretrained` asked for is in the checkpoint."""
    parent = nm.build("timm:resnet10t", num_classes=2)
    nm.save(parent, tmp_path)
    edit(tmp_path, lambda config: config["parent"]["args"].update(pretrained=True))
    again = nm.load(tmp_path)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in parent.state_dict().items())
    nm.save(again, tmp_path / "second")
    assert same(nm.load(tmp_path / "second"), parent)
