"""Collapsed networks in checkpoints: what is plain again needs no history, what is not is replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.nn.problems import close
from tests.surgery.networks import Small, images, small
from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.filters import ConvSpec
from netmorph.nn import MorphedModule
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.checkpoint import load, save
from netmorph.surgery.records.collapsed_place import CollapsedPlace
from netmorph.surgery.records.history import forget, history_of, remember
from netmorph.surgery.records.layer import IDENTITY, Plain, plain_layer
from netmorph.surgery.records.record import Record

X = images(dtype=torch.float64)


def child_of(mapping: dict[str, str], model: nn.Module | None = None, **options: Any) -> nn.Module:
    parent = small().double() if model is None else model
    return morph(parent, mapping, example_inputs=X, act=None, **options).model


def stirred(model: nn.Module) -> nn.Module:
    """Change all weights a little, as training does."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model


def assert_survives(model: nn.Module, folder: Path, parent: nn.Module | None = None) -> nn.Module:
    save(model, folder)
    again = load(folder, Small() if parent is None else parent)
    own, other = model.state_dict(), again.state_dict()
    assert list(own) == list(other)
    assert all(torch.equal(value, other[key]) for key, value in own.items())
    assert str(model) == str(again)
    assert history_of(model) == history_of(again)
    return again


def test_what_is_plain_again_has_no_history(tmp_path: Path) -> None:
    model = collapse(child_of({"stem": "3x3 > 1x1", "*.shortcut": "1x1 > 1x1", "fc": "1 | 1 > 1"})).model
    assert history_of(model) == ()
    assert_survives(model, tmp_path)


def test_layers_that_are_new_are_replayed(tmp_path: Path) -> None:
    mapping = {"stem": "3x3:2x > 3x3 | 1x1", "blocks.0.shortcut": "1x1 > 1x1", "blocks.1.conv1": "3x3 > 1x1"}
    child = stirred(child_of(mapping, fill="dense"))
    child = stirred(child_of({"fc": "1 > 1"}, child, norm="neutral")).eval()
    result = collapse(child, X)
    assert not result.kept
    model = result.model
    assert (model.stem.kernel_size, model.blocks[1].conv1.kernel_size) == ((5, 5), (3, 3))
    (record,) = history_of(model)
    assert record.operation == "collapse"
    # blocks.1.conv1 and fc are layers of the parent's geometry again: only two places are new
    assert {site.name: str(site.after) for site in record.sites} == {
        "stem": "conv 3->8 kernel 5x5 stride 2x2 padding 2x2",
        "blocks.0.shortcut": "conv 8->8 kernel 1x1 without bias",
    }
    assert record.sites[1].before == IDENTITY
    again = assert_survives(model, tmp_path)
    assert torch.equal(again.eval()(X), model(X))


def test_a_bias_that_a_norm_left_is_replayed(tmp_path: Path) -> None:
    child = stirred(child_of({"*.0.conv1": "3x3 > 1x1"}, norm="neutral")).eval()
    model = collapse(child).model
    assert model.blocks[0].conv1.bias is not None
    assert_survives(model, tmp_path)


def test_a_partly_collapsed_network_is_replayed(tmp_path: Path) -> None:
    child = child_of({"stem": "3x3 > 1x1", "fc": "1 > 1"})
    child = morph(child, {"stem.edges.a_t": "1x1 > 1x1", "*.conv1": "3x3 > 1x1"}, example_inputs=X).model
    with torch.no_grad():
        child.stem.edges["s_a"].weight.mul_(1.5)
        child.blocks[0].conv1.acts["a"].weight.zero_()
        child.stem.edges["a_t"].acts["a"].weight.zero_()
    model = collapse(child).model
    names = [[site.name for site in record.sites] for record in history_of(model)]
    assert names == [["stem"], ["stem.edges.a_t", "blocks.0.conv1"]]
    assert_survives(model, tmp_path)


def test_a_nested_module_that_grew_is_replayed_inside_its_module(tmp_path: Path) -> None:
    child = morph(small().double(), {"*.0.conv1": "3x3 > 1x1"}, example_inputs=X).model
    child = child_of({"blocks.0.conv1.edges.s_a": "3x3:4x > 3x3"}, child, fill="dense")
    stirred(child.blocks[0].conv1.edges["s_a"])
    with torch.no_grad():
        child.blocks[0].conv1.acts["a"].weight.zero_()
    result = collapse(child)
    assert [site.name for site in result.collapsed] == ["blocks.0.conv1.edges.s_a"]
    assert [record.operation for record in history_of(result.model)] == ["morph", "collapse"]
    model = assert_survives(result.model, tmp_path)
    with torch.no_grad():
        model.blocks[0].conv1.acts["a"].weight.fill_(1)
    whole = collapse(model).model  # and with the outer one, everything under it is forgotten
    assert [site.name for record in history_of(whole) for site in record.sites] == ["blocks.0.conv1"]
    assert_survives(whole, tmp_path)


def test_morphed_collapsed_and_morphed_again(tmp_path: Path) -> None:
    child = stirred(child_of({"stem": "3x3:2x > 3x3 | 1x1"}, fill="dense")).eval()
    grown = collapse(child).model
    again = child_of({"stem": "5x5 > 1x1"}, grown)
    assert_survives(again, tmp_path)
    back = collapse(again).model
    assert back.stem.kernel_size == (5, 5)
    close(back(X), grown(X), 1e-9)
    (record,) = history_of(back)
    assert record.sites[0].before == Plain("conv", plain_layer(Small().stem).spec, True)
    assert_survives(back, tmp_path)


def test_a_collapsed_root_and_a_part_of_a_network(tmp_path: Path) -> None:
    bare = nn.Conv2d(3, 4, 3, padding=1).double()
    child = stirred(morph(bare, {"": "3x3:2x > 3x3 | 1x1"}, example_inputs=X, act=None, fill="dense").model)
    model = collapse(child).model
    assert type(model) is nn.Conv2d
    assert_survives(model, tmp_path / "root", nn.Conv2d(3, 4, 3, padding=1))
    whole = nn.Sequential(child, nn.ReLU())
    part = collapse(whole).model
    assert [site.name for record in history_of(part) for site in record.sites] == ["0"]
    assert_survives(part, tmp_path / "part", nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()))
    holder = nn.Sequential(model)
    assert history_of(holder)[0].sites[0].name == "0"


def test_a_module_of_unknown_origin_is_replayed_into_its_like(tmp_path: Path) -> None:
    from tests.nn.samples import build

    model = collapse(nn.Sequential(build("3 > 1", act=None), nn.ReLU())).model
    (record,) = history_of(model)
    assert record.sites[0].before is None
    assert_survives(model, tmp_path, nn.Sequential(build("3 > 1", act=None), nn.ReLU()))


class Functional(nn.Module):
    """A block whose shortcut has no module."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.relu(y + x)


@pytest.mark.parametrize("learned", [False, True])
def test_a_shortcut_that_was_opened_stays_open(tmp_path: Path, learned: bool) -> None:
    parent = nn.Sequential(Functional()).double()
    child = child_of({"0.shortcut": "1x1 > 1x1"}, parent)
    child = stirred(child) if learned else child
    model = collapse(child, X).model
    assert type(model[0].shortcut) is (nn.Conv2d if learned else nn.Identity)
    assert [record.operation for record in history_of(model)] == ["morph", "collapse"]
    close(model(X), child(X), 1e-10)
    again = assert_survives(model, tmp_path, nn.Sequential(Functional()))
    assert torch.equal(again(X), model(X))


def test_other_operations_are_kept_and_the_collapse_comes_on_top() -> None:
    child = child_of({"stem": "3x3 > 1x1"})
    remember(child, Record("toy", (), serial=1))
    model = collapse(child).model
    first, second, third = sorted(history_of(model), key=lambda record: record.operation)
    assert [each.operation for each in (first, second, third)] == ["collapse", "morph", "toy"]
    assert first.sites[0].before is None


def test_forgetting_reaches_the_records_of_parts() -> None:
    backbone = child_of({"stem": "3x3 > 1x1", "fc": "1 > 1"})
    whole = nn.Sequential(backbone)
    forget(whole, lambda name: name == "0.stem")
    assert [site.name for record in history_of(backbone) for site in record.sites] == ["fc"]
    forget(whole, lambda name: True)
    assert history_of(whole) == ()


# ---- timm's layers, which pad by what their input asks for or standardise their weights


def timm_layer(name: str, **options: Any) -> tuple[nn.Module, Tensor]:
    layers = pytest.importorskip("timm.layers")
    return getattr(layers, name)(3, 4, 3, **options).double(), X


@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_that_pads_as_its_input_asks_for(tmp_path: Path, stride: int) -> None:
    layer, x = timm_layer("Conv2dSame", stride=stride)
    child = morph(nn.Sequential(layer), {"0": "3x3 > 1x1"}, example_inputs=x, act=None).model
    back = collapse(child).model
    assert str(back) == str(nn.Sequential(layer))
    assert history_of(back) == ()
    close(back(x), layer(x), 1e-10)
    child = stirred(morph(nn.Sequential(layer), {"0": "3x3:2x > 3x3 | 1x1"}, example_inputs=x, act=None).model)
    grown = collapse(child, approximate=True).model
    assert (type(grown[0]).__name__, grown[0].kernel_size) == ("Conv2dSame", (3 + 2 * stride,) * 2)
    for size in (40, 41):
        x = torch.randn(1, 3, size, size + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        close(grown(x)[..., 8:-8, 8:-8], child(x)[..., 8:-8, 8:-8], 1e-10)
    again, _ = timm_layer("Conv2dSame", stride=stride)
    assert_survives(grown, tmp_path, nn.Sequential(again))


def test_a_layer_that_standardised_its_weight(tmp_path: Path) -> None:
    layer, x = timm_layer("ScaledStdConv2d", padding=1)
    child = morph(nn.Sequential(layer), {"0": "3x3 > 1x1"}, example_inputs=x, act=None).model
    back = collapse(child).model
    assert type(back[0]) is nn.Conv2d
    close(back(x), layer(x), 1e-10)
    assert [record.operation for record in history_of(back)] == ["morph", "collapse"]
    again, _ = timm_layer("ScaledStdConv2d", padding=1)
    assert_survives(back, tmp_path, nn.Sequential(again))


def test_without_timm_its_layers_cannot_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm.layers", None)
    with pytest.raises(NetmorphError, match="timm's, which is not installed.*pip install timm"):
        Plain("conv", ConvSpec(2, 2, (3, 3)), True, True).build(device=None, dtype=None)


# ---- records on disk

PLACE = CollapsedPlace(
    "stem",
    Plain("conv", ConvSpec.same(3, 8, 3, stride=2), True),
    Plain("conv", ConvSpec(3, 8, (5, 5), (2, 2), padding=((2, 2), (2, 2))), True),
)
RECORD = Record("collapse", (PLACE, CollapsedPlace("fc", None, Plain("linear", ConvSpec(8, 5), True))))


def test_records_survive_json() -> None:
    assert Record.from_dict(json.loads(json.dumps(RECORD.to_dict()))) == RECORD
    assert RECORD.within("") is RECORD
    assert [site.name for site in RECORD.within("net").sites] == ["net.stem", "net.fc"]


def changed(**values: Any) -> dict[str, Any]:
    return {**RECORD.to_dict(), **values}


def layer(**values: Any) -> dict[str, Any]:
    place = {**PLACE.to_dict(), "after": {**PLACE.after.to_dict(), **values}}
    return changed(sites=[place])


CROOKED = PLACE.after.spec.with_(padding=((0, 1), (2, 2))).to_dict()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(extra=1), "invalid description of a record of the history.*extra"),
        (changed(sites={}), "'sites' of a record of the history is not {}"),
        (changed(versions=[]), "'versions' of a record of the history is not"),
        (changed(sites=[3]), "invalid description of a collapsed site"),
        (changed(sites=[{**PLACE.to_dict(), "name": 3}]), "'name' of a collapsed site is not 3"),
        (changed(sites=[{"name": "fc"}]), "invalid description of a collapsed site"),
        (changed(sites=[{**PLACE.to_dict(), "before": {"kind": "conv"}}]), "invalid description of a layer.*site stem"),
        (layer(bias=1), "'bias' of a layer is not 1"),
        (layer(same_padding=None), "'same_padding' of a layer is not None"),
        (layer(kind="transposed"), "'transposed' is not a kind of layer with 2 spatial dimensions"),
        (layer(kind="linear"), "'linear' is not a kind of layer with 2 spatial dimensions"),
        (layer(kind="identity"), "'identity' is not a kind of layer with 2 spatial dimensions"),
        (layer(spec=CROOKED), "PyTorch has no layer that pads like this"),
        (
            layer(spec=PLACE.after.spec.with_(padding_mode="odd").to_dict()),
            "PyTorch cannot create such a layer.*padding_mode",
        ),
        (layer(spec=PLACE.after.spec.with_(c_in=2**70).to_dict()), "PyTorch cannot create such a layer"),
        (layer(spec={}), "invalid description of a convolution"),
    ],
)
def test_records_are_read_strictly(data: Any, message: str) -> None:
    with pytest.raises(NetmorphError, match=message):
        Record.from_dict(data)


def test_places_are_checked_when_replayed() -> None:
    assert PLACE.find(small()) is not None
    with pytest.raises(NetmorphError, match=r"not the one that was morphed and collapsed.*site fc.*a morphed module"):
        RECORD.sites[1].find(small())
    with pytest.raises(NetmorphError, match="the parent has no such layer.*site stem"):
        PLACE.find(nn.Linear(2, 2))
    with pytest.raises(NetmorphError, match="expected conv 3->8 kernel 3x3 stride 2x2 padding 1x1, found Conv2d"):
        PLACE.find(nn.ModuleDict({"stem": nn.Conv2d(3, 8, 5)}))


def test_what_is_no_plain_layer() -> None:
    assert plain_layer(nn.ReLU()) is None
    assert plain_layer(timm_layer("StdConv2d")[0]) is None
    assert plain_layer(nn.Identity()) == IDENTITY
    assert isinstance(child_of({"fc": "1 > 1"}).fc, MorphedModule)
    assert plain_layer(child_of({"fc": "1 > 1"}).fc) is None
