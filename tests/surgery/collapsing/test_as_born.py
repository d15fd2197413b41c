"""A module with plain activations folds back as long as it is as it was born, and says honestly when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.surgery.growing import gap
from tests.surgery.morphing.test_births import BIRTHS, GRAPHS, images, net, trained
from torch import nn

from netmorph.nn import MorphedModule
from netmorph.surgery.collapsing.as_born import as_born
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.checkpoint import load, save

X = images(4)
MORE = {
    "pair": ["3x3:4x > 1x1:4x > 3x3", "3x3:2x > 3x3*dw:2x > 1x1 | 1x1", "3x3:4x > 3x3*2:4x > 1x1"],
    "zero": ["3x3 | 1x1:0.5x > 3x3 > 1x1", "id | 3x3 | 3x3 > 3x3", "dense"],
    "cancel": ["3x3 | 1x1:0.5x > 3x3 > 1x1", "3x3 | 3x3:2x > 3x3*dw:2x > 1x1", "dense"],
}
CASES = [(birth, graph) for birth in BIRTHS for graph in (GRAPHS[birth], *MORE[birth])]


@pytest.mark.parametrize(("birth", "graph"), CASES)
@pytest.mark.parametrize("act", ["relu", "leakyrelu(negative_slope=0.2)", "gelu"])
def test_before_training_it_is_the_layer_and_after_it_is_none(birth: str, graph: str, act: str, tmp_path: Path) -> None:
    if "dw" in graph and birth == "pair" and act == "gelu":
        return
    parent = net(act)
    child = morph(parent, {"3": graph}, example_inputs=X, birth=birth).model  # type: ignore[arg-type]
    result = collapse(child, example_inputs=X)
    assert type(result.model[3]) is nn.Conv2d
    torch.testing.assert_close(result.model[3].weight, parent[3].weight, rtol=1e-5, atol=1e-6)
    assert torch.equal(result.model[3].bias, parent[3].bias)
    again = load(save(child, tmp_path / "child"), into=net(act))
    assert torch.equal(collapse(again, example_inputs=X).model[3].weight, result.model[3].weight)
    trained(child, 1)
    kept = collapse(child, example_inputs=X)
    assert isinstance(kept.model[3], MorphedModule)
    assert "its channels are no longer as initialised" in kept.kept["3"]
    assert torch.equal(kept.model.eval()(X), child.eval()(X))


def test_any_activation_of_a_silent_branch() -> None:
    for birth in ("zero", "cancel"):
        for act in ("elu", "sigmoid", "softplus"):
            child = morph(net(act), {"3": GRAPHS[birth]}, example_inputs=X, birth=birth, act=act).model
            assert type(collapse(child, example_inputs=X).model[3]) is nn.Conv2d


@pytest.mark.parametrize("birth", BIRTHS)
@pytest.mark.parametrize("norm", ["calibrated", "neutral", "group"])
def test_norms_fold_while_they_are_the_identity(birth: str, norm: str) -> None:
    data = {"calibration": [X]} if norm == "calibrated" else {}
    parent = net(norm=True)
    child = morph(parent, {"3": GRAPHS[birth]}, example_inputs=X, birth=birth, norm=norm, **data).model  # type: ignore[arg-type]
    back = collapse(child, example_inputs=X).model
    assert type(back[3]) is nn.Conv2d
    assert gap(parent, back, X) < 1e-5
    with torch.no_grad():
        for each in child[3].norms.parameters():
            each.add_(0.1)
    assert "a norm of the module is not the identity" in collapse(child, example_inputs=X).kept["3"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_precisions(dtype: torch.dtype) -> None:
    for birth in BIRTHS:
        child = morph(net().to(dtype), {"3": GRAPHS[birth]}, example_inputs=X.to(dtype), birth=birth).model
        assert type(collapse(child, example_inputs=X.to(dtype)).model[3]) is nn.Conv2d


@pytest.mark.parametrize("birth", BIRTHS)
def test_modules_inside_modules(birth: str) -> None:
    parent = net()
    outer = morph(parent, {"3": "3x3:2x > 3x3"}, example_inputs=X).model
    child = morph(outer, {"3.edges.s_a": GRAPHS[birth]}, example_inputs=X, birth=birth).model
    result = collapse(child, example_inputs=X)
    assert type(result.model[3]) is nn.Conv2d
    assert gap(parent, result.model, X) < 1e-5
    trained(child, 1)
    assert collapse(child, example_inputs=X).kept["3"].startswith("edge 's_a': the activation of blob 'a'")


def test_a_branch_that_is_silent_beside_pairs() -> None:
    parent = net()
    child = morph(parent, {"3": "3x3:2x > 3x3"}, example_inputs=X, birth="pair").model
    for birth in ("pair", "zero"):
        grown = regrow(child, "3", "3x3:2x > 3x3 | 1x1:2x > 3x3", example_inputs=X, birth=birth).model  # type: ignore[arg-type]
        assert type(collapse(grown, example_inputs=X).model[3]) is nn.Conv2d
    wide = widen(child, "3", "2x", blob="a", example_inputs=X).model
    assert "its channels are no longer as initialised" in collapse(wide, example_inputs=X).kept["3"]


def test_slopes_beside_plain_activations() -> None:
    child = morph(net(), {"3": "3x3:2x > 3x3"}, example_inputs=X).model
    mixed = regrow(child, "3", "3x3:2x > 3x3 | 1x1:2x > 3x3", example_inputs=X, birth="zero").model
    assert type(collapse(mixed, example_inputs=X).model[3]) is nn.Conv2d
    mixed[3].acts["a"].weight.data.mul_(0.9)
    assert "the slopes of blob 'a' are not 1" in collapse(mixed, example_inputs=X).kept["3"]


def test_the_module_is_left_alone() -> None:
    child = morph(net(), {"3": "3x3:2x > 3x3"}, example_inputs=X).model
    assert as_born(child[3]) is child[3]
    inner = morph(child, {"3.edges.a_t": GRAPHS["pair"]}, example_inputs=X, birth="pair").model
    before = {key: value.clone() for key, value in inner.state_dict().items()}
    assert as_born(inner[3]) is not inner[3]
    assert all(torch.equal(value, before[key]) for key, value in inner.state_dict().items())
