"""What became of a parent's parameters, by name and shape."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from netmorph.surgery.edit.lineage import Lineage, replaced_before, trace


def before(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict(model.named_parameters(remove_duplicate=False))


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.ModuleDict({"a": nn.Identity(), "b": nn.Linear(4, 4)}), nn.LazyLinear(3))


def test_copies_are_paired_by_name() -> None:
    parent = network()
    child = copy.deepcopy(parent)
    child[1]["a"] = nn.Linear(4, 4, bias=False)
    lineage = trace(before(parent), child, ["1.a"])
    own, other = before(parent), before(child)
    assert [heir.name for heir in lineage.heirs] == list(own)
    assert all(heir.parent() is own[heir.name] and heir.child() is other[heir.name] for heir in lineage.heirs)
    assert lineage.departed == ()
    (newborn,) = lineage.newborn
    assert newborn.name == "1.a.weight"
    assert [origin() for origin in newborn.origins] == [parent[1]["b"].weight]  # the nearest, not the first


def test_another_shape_is_another_parameter() -> None:
    model = network()
    parameters, old = before(model), model[1]["b"]
    model[1]["b"] = nn.Linear(4, 6)
    lineage = trace(parameters, model, ["1.b"], inplace=True)
    assert [(name, old_()) for name, old_ in lineage.departed] == [("1.b.weight", old.weight), ("1.b.bias", old.bias)]
    assert [each.name for each in lineage.newborn] == ["1.b.weight", "1.b.bias"]
    assert all([origin() for origin in each.origins] == [old.weight] for each in lineage.newborn)
    assert [replaced_before(old.bias, turn) for turn in (lineage.turn, lineage.turn + 1)] == [None, "1.b.bias"]
    assert replaced_before(model[0].weight, lineage.turn + 1) is None


def test_a_copy_marks_nothing() -> None:
    parent = network()
    child = copy.deepcopy(parent)
    child[0] = nn.Linear(4, 8)
    lineage = trace(before(parent), child, ["0"])
    assert [name for name, _ in lineage.departed] == ["0.weight", "0.bias"]
    assert replaced_before(parent[0].weight, lineage.turn + 1) is None


def test_a_lazy_parameter_becomes_another() -> None:
    model = network()
    parameters = before(model)
    model[2] = nn.Linear(4, 3)
    lineage = trace(parameters, model, ["2"])
    assert [each.name for each in lineage.newborn] == ["2.weight", "2.bias"]
    assert [origin() for origin in lineage.newborn[0].origins] == [model[0].weight, model[1]["b"].weight]


def test_what_is_still_tied_elsewhere_has_not_departed() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    parameters = before(model)
    model[1] = nn.Linear(4, 5)
    lineage = trace(parameters, model, ["1"], inplace=True)
    assert [name for name, _ in lineage.departed] == ["1.bias"]
    assert replaced_before(model[0].weight, lineage.turn + 1) is None


def test_a_network_without_weights() -> None:
    parent = nn.Sequential(nn.Identity(), nn.BatchNorm1d(3))
    parameters = before(parent)
    parent[0] = nn.Linear(3, 3, bias=False)
    (newborn,) = trace(parameters, parent, ["0"]).newborn
    assert newborn.origins == ()


def test_copies_know_nothing() -> None:
    model = network()
    lineage = trace(before(model), model, [])
    assert lineage.heirs
    assert copy.deepcopy(lineage) == Lineage()
    assert torch.is_tensor(lineage.heirs[0].child())


@pytest.mark.parametrize("inplace", [True, False])
def test_what_goes_on_under_another_name_is_itself(inplace: bool) -> None:
    parent = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4))
    child = parent if inplace else copy.deepcopy(parent)
    parameters, copied = before(parent), before(child)
    child[0], moved = nn.BatchNorm1d(4), child[0]
    child.append(moved)
    lineage = trace(parameters, child, ["0"], inplace=inplace, copied=copied)
    assert {heir.name: heir.was for heir in lineage.heirs} == {
        "2.weight": "0.weight", "2.bias": "0.bias", "1.weight": "1.weight", "1.bias": "1.bias"
    }  # fmt: skip
    for heir in lineage.heirs:
        assert heir.parent() is parameters[heir.was]
        assert heir.child() is before(child)[heir.name]
    assert lineage.departed == ()
    assert [each.name for each in lineage.newborn] == ["0.weight", "0.bias"]
