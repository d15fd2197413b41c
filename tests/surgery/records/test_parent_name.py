from pathlib import Path

import pytest
import torch
from tests.surgery.networks import images
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.models.opening import load
from netmorph.models.registry import build
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.checkpoint import save
from netmorph.surgery.records.parent_name import parent_of

X = images()


def named(name: str = "netmorph:resnet8", **more: object) -> nn.Module:
    return build(name, width=4, **more)


def same(one: nn.Module, other: nn.Module) -> bool:
    with torch.no_grad():
        return torch.equal(one.eval()(X), other.eval()(X))


def test_a_network_remembers_how_it_was_built(tmp_path: Path) -> None:
    model = named(num_classes=3, seed=4)
    assert parent_of(model) == {"name": "netmorph:resnet8", "args": {"width": 4, "num_classes": 3, "seed": 4}}
    child = morph(model, {"layer1.0.conv1": "3x3 > 1x1"}, example_inputs=X).model
    save(child, tmp_path / "child")
    assert same(load(tmp_path / "child"), child)
    save(model, tmp_path / "parent")
    assert same(load(tmp_path / "parent"), model)


def test_what_the_history_records_is_no_change_by_hand(tmp_path: Path) -> None:
    model = morph(named(), {"layer1.0.conv1": "3x3 > 1x1"}, example_inputs=X, act=None).model
    model = widen(model, "layer2.0.conv1", 9, example_inputs=X).model
    model = regrow(model, "layer1.0.conv1", "3x3 > 1x1 | 1x1", example_inputs=X, act=None).model
    model = collapse(model, X).model
    assert parent_of(model) is not None
    save(model, tmp_path)
    assert same(load(tmp_path), model)


def test_shortcuts_that_had_no_place(tmp_path: Path) -> None:
    x = images(size=32)
    parent = build("torchvision:resnet18", num_classes=3)
    child = morph(parent, {"layer1.1.downsample": "0.5*id | 1x1"}, example_inputs=x).model
    save(child, tmp_path)
    assert list(load(tmp_path).state_dict()) == list(child.state_dict())


def test_layers_changed_by_hand_make_it_forget(tmp_path: Path) -> None:
    for change in ("fc", "act1", "more"):
        model = named()
        setattr(model, change, nn.Linear(16, 2) if change == "fc" else nn.Tanh())
        assert parent_of(model) is None
        save(model, tmp_path / change)
        with pytest.raises(NetmorphError, match="does not name a model from which to build its parent"):
            load(tmp_path / change)
    model = named()
    del model.act1
    assert parent_of(model) is None


def test_another_layer_of_the_same_kind_makes_it_forget() -> None:
    model = named()
    model.layer1[0].conv1.weight = nn.Parameter(torch.zeros(4, 4, 3, 3))
    assert parent_of(model) is not None  # other weights are what a checkpoint is for
    model.layer1[0].conv1 = nn.Conv2d(4, 4, 3, padding=1)  # with a bias
    assert parent_of(model) is None


def test_changes_by_hand_after_loading_into_a_network_make_it_forget(tmp_path: Path) -> None:
    child = morph(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), {"0": "3x3 > 1x1"}, example_inputs=X).model
    save(child, tmp_path / "a", parent_name="small")
    again = load(tmp_path / "a", into=nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    assert parent_of(again) == {"name": "small", "args": {}}
    again[1] = nn.GELU()
    assert parent_of(again) is None
    save(again, tmp_path / "b")
    with pytest.raises(NetmorphError, match="does not name a model from which to build its parent"):
        load(tmp_path / "b")


def test_arguments_that_are_no_json_are_not_remembered(tmp_path: Path) -> None:
    model = build("torchvision:resnet18", norm_layer=nn.Identity)
    assert parent_of(model) is None
    save(model, tmp_path)  # and are no error


def test_a_name_given_to_save_wins(tmp_path: Path) -> None:
    model = named("netmorph:resnet8", seed=1)
    save(model, tmp_path, parent_name="netmorph:resnet8", parent_args={"width": 4})
    assert parent_of(load(tmp_path)) == {"name": "netmorph:resnet8", "args": {"width": 4}}


def test_a_parent_that_is_morphed_already(tmp_path: Path) -> None:
    """A child of a morphed network can be loaded into such a one: only what came after is repeated."""
    base = named("netmorph:morph14_1c1")
    child = regrow(base, "layer*.shortcut", "0.5*id | 3x3 > 1x1", example_inputs=X).model
    save(child, tmp_path, parent_name="netmorph:morph14_1c1", parent_args={"width": 4})
    for again in (load(tmp_path), load(tmp_path, into=named("netmorph:resnet14")), load(tmp_path, into=child)):
        assert same(again, child)
        save(again, tmp_path / "again")
        assert same(load(tmp_path / "again", into=named("netmorph:resnet14")), child)
    with pytest.raises(NetmorphError, match="not the one that was morphed"):
        load(tmp_path, into=named("netmorph:morph14_1c1_2branch"))
