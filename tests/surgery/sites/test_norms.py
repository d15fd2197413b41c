"""New norms have the settings of the network's own."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from netmorph.errors import GraphError
from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.nn.norm import LastSyncBatchNorm
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.checkpoint import load, save
from netmorph.surgery.running.calibrate import calibrate

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))


def new_norms(model: nn.Module) -> list[nn.Module]:
    return [model.get_submodule("3").norms[name] for name in model.get_submodule("3").norms]


@pytest.mark.parametrize(
    "settings", [{"eps": 1e-3, "momentum": 0.01}, {"momentum": None}, {"eps": 1e-5, "momentum": 0.1}], ids=str
)
@pytest.mark.parametrize("sync", [False, True])
def test_eps_momentum_and_sync_follow_and_are_replayed(settings: dict[str, Any], sync: bool, tmp_path: Path) -> None:
    parent = network((nn.SyncBatchNorm if sync else nn.BatchNorm2d)(8, **settings)).eval()
    result = morph(parent, {"3": "3x3 > 1x1"}, example_inputs=X, calibration=[X])
    child = result.model
    assert result.parity.exact
    assert result.notices == ()
    save(child, tmp_path / "child")
    loaded = load(tmp_path / "child", into=copy.deepcopy(parent))
    assert torch.equal(loaded(X), child(X))
    for norms in (new_norms(child), new_norms(loaded)):
        assert [type(norm) for norm in norms] == [nn.SyncBatchNorm if sync else nn.BatchNorm2d] * 2
        assert all((norm.eps, norm.momentum) == (parent[1].eps, parent[1].momentum) for norm in norms)


def test_growing_follows_too(tmp_path: Path) -> None:
    parent = network(nn.BatchNorm2d(8, eps=1e-3, momentum=0.01)).eval()
    child = deepen(parent, "3", example_inputs=X, norm="neutral").model
    child = regrow(child, "3", "3x3 > 1x1 | 1x1", example_inputs=X).model
    bare = morph(parent, {"3": "3x3"}, example_inputs=X).model
    later = regrow(bare, "3", "3x3 | 1x1", example_inputs=X, norm="calibrated", calibration=[X]).model
    for number, (model, count) in enumerate(((child, 3), (later, 1))):
        save(model, tmp_path / str(number))
        for each in (model, load(tmp_path / str(number), into=copy.deepcopy(parent))):
            assert [(norm.eps, norm.momentum) for norm in new_norms(each)] == [(1e-3, 0.01)] * count


def test_norms_that_the_graph_names_follow_too() -> None:
    graph = ModuleGraph.from_edges([Edge("s_a", "s", "a", (3,), norm="neutral"), Edge("a_t", "a", "t")])
    result = morph(network(nn.BatchNorm2d(8, eps=1e-3)), {"3": graph}, example_inputs=X)
    assert [norm.eps for norm in new_norms(result.model)] == [1e-3]
    assert regrow(result.model, "3", graph, example_inputs=X).parity.exact


def test_blended_norms_take_eps_and_a_given_setting_stays() -> None:
    child = morph(network(nn.GroupNorm(2, 8, eps=1e-3)), {"3": "3x3 > 1x1"}, example_inputs=X, norm="group").model
    assert [norm.eps for norm in new_norms(child)] == [1e-3] * 2
    named = morph(network(nn.BatchNorm2d(8)), {"3": "3x3"}, example_inputs=X, norm="neutral(eps=0.5)").model
    assert [norm.eps for norm in new_norms(named)] == [0.5]


def test_the_nearest_of_the_same_dimensions_decide() -> None:
    near, far = network(nn.BatchNorm2d(8, eps=1e-3)), nn.Sequential(*[nn.BatchNorm2d(4, eps=1e-2) for _ in range(3)])
    model = nn.Sequential(near, far, nn.Flatten(), nn.BatchNorm1d(256, eps=1e-1), nn.Linear(256, 4))
    result = morph(model, {"0.3": "3x3", "4": "1"}, example_inputs=X, norm="neutral").model
    assert [norm.eps for norm in result.modules() if isinstance(norm, nn.BatchNorm2d)] == [1e-3] * 2 + [1e-2] * 3
    assert result[4].norms["s_t"].eps == 1e-1


def test_linear_sites_sync_on_their_last_dimension() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.SyncBatchNorm(8), nn.ReLU(), nn.Linear(8, 4)).eval()
    rows = torch.randn(5, 3)
    child = morph(model, {"3": "1 > 1"}, example_inputs=rows, norm="neutral").model
    assert {type(norm) for norm in new_norms(child)} == {LastSyncBatchNorm}
    calibrate(child, [rows])
    assert (child(rows) - model(rows)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("settings", "word"), [({"affine": False}, "affine"), ({"track_running_stats": False}, "stat")]
)
def test_what_cannot_follow_is_told(settings: dict[str, bool], word: str) -> None:
    result = morph(network(nn.BatchNorm2d(8, **settings)), {"3": "3x3 > 1x1"}, example_inputs=X, calibration=[X])
    assert [word in notice for notice in result.notices] == [True]
    assert result.parity.exact


def test_calibration_that_serves_nothing_is_told() -> None:
    child = morph(network(nn.BatchNorm2d(8)), {"3": "3x3"}, example_inputs=X, norm=None).model
    result = regrow(child, "3", "3x3 | 1x1", example_inputs=X, calibration=[X])
    assert ["calibration= has no effect" in notice for notice in result.notices] == [True]


@pytest.mark.parametrize("verb", ["morph", "regrow"])
def test_a_group_of_one_value_is_refused(verb: str) -> None:
    model, rows = nn.Sequential(nn.Linear(3, 1)), torch.randn(5, 3)
    options: dict[str, Any] = {"example_inputs": rows, "norm": "group"}
    bare = morph(model, {"0": "1"}, example_inputs=rows).model
    with pytest.raises(
        GraphError, match=r"norm 'group' would normalise over a single value per group.*1 channel at a linear site"
    ):
        morph(model, {"0": "1 > 1"}, **options) if verb == "morph" else regrow(bare, "0", "1 | 1", **options)


def test_group_norms_run_on_one_value_of_one_sample() -> None:
    model = nn.Sequential(nn.Conv2d(3, 1, 1))
    child = morph(model, {"0": "1x1 > 1x1"}, example_inputs=X, norm="group").model.eval()
    assert child(torch.randn(1, 3, 1, 1)).shape == (1, 1, 1, 1)
