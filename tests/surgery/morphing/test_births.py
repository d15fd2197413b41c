"""`morph`, `regrow`, `deepen` and `widen` by birth: exact, and after three steps everything new is alive."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.solver.births import PHI, twice
from tests.surgery.growing import gap, replays, shaken
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.errors import GraphError, InfeasibleMorph, NetmorphError, SiteError
from netmorph.filters import ConvSpec
from netmorph.graph.catalogue import catalogue
from netmorph.graph.spec import ModuleGraph
from netmorph.nn import MorphedModule, slopes
from netmorph.nn.activations import build_activation, plain_name
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.plan import plan
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer
from netmorph.surgery.records.checkpoint import save
from netmorph.surgery.records.history import forget, history_of, remember

GRAPHS = {"pair": "3x3:4x > 3x3", "zero": "3x3 | 3x3:2x > 3x3", "cancel": "3x3 | 3x3:2x > 3x3"}
BIRTHS = list(GRAPHS)


def images(batch: int = 16, size: int = 6) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def net(act: str = "relu", *, channels: int = 8, norm: bool = False, **options: object) -> nn.Sequential:
    """Conv, norm, (nothing, so that the site reads both signs,) conv (the site "3"), norm, phi, conv, pooling."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        phi = build_activation(plain_name(act), channels, 2)
        norms = [nn.BatchNorm2d(channels) if norm else nn.Identity() for _ in range(2)]
        convs = [
            nn.Conv2d(3, channels, 3, padding=1),
            nn.Conv2d(channels, channels, 3, padding=1, **options),  # type: ignore[arg-type]
            nn.Conv2d(channels, 5, 1),
        ]
        layers = [convs[0], norms[0], nn.Identity(), convs[1], norms[1], phi, convs[2]]
        return shaken(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 1).eval()  # type: ignore[arg-type]


def trained(model: nn.Module, steps: int = 3, optimizer: torch.optim.Optimizer | None = None) -> None:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model.train()(images().to(next(model.parameters()).dtype)), torch.arange(16) % 5).backward()
        optimizer.step()
    model.eval()


def assert_alive(model: nn.Module) -> None:
    """Assert that three steps move each row of each weight of module "3", and leave no two rows alike."""
    model = copy.deepcopy(model).double()  # some gradients are too small for float32 to add
    before = {name: each.detach().clone() for name, each in model[3].named_parameters()}  # type: ignore[index]
    trained(model)
    for name, now in model[3].named_parameters():  # type: ignore[index]
        if name == "bias":  # the layer's own
            continue
        rows = now.detach().reshape(len(now), -1)
        assert (rows != before[name].reshape(len(now), -1)).any(1).all(), f"{name} has not moved"
        assert now.grad is not None
        assert now.grad.reshape(len(now), -1).any(1).all(), f"{name} is dead"
        if rows.shape[1] > 1:
            assert len(torch.unique(rows, dim=0)) == len(rows), f"{name} has equal channels"
            assert not torch.equal(rows[1::2], -rows[: 2 * (len(rows) // 2) : 2]), f"{name} is still in pairs"


@pytest.mark.parametrize("act", ["relu", "leakyrelu(negative_slope=0.2)", "gelu", "hardswish"])
def test_pairs_of_the_catalogue_live(act: str) -> None:
    parent, site, alive = net(act, channels=4), ConvSpec.same(4, 4, 3), 0
    for name in catalogue:
        try:
            result = morph(parent, {"3": twice(catalogue[name], site)}, example_inputs=images(2), birth="pair")
        except (GraphError, InfeasibleMorph):
            continue
        assert result.parity.sites[0].exact
        assert gap(parent, result.model, images(2)) < 1e-6
        assert not slopes(result.model)
        assert_alive(result.model)
        alive += 1
    assert alive == len(catalogue) - 8


@pytest.mark.parametrize("act", ["relu", "gelu", "elu", "tanh"])
@pytest.mark.parametrize("birth", ["zero", "cancel"])
def test_branches_of_the_catalogue_live(birth: str, act: str) -> None:
    parent = net(act)
    for name in ("bottleneck_beside", "dense", "repvgg", "ladder", "resnet_morph_1c1"):
        graph = catalogue[name] if name != "repvgg" else "3x3 | 1x1 | id | 1x1:2x > 3x3"
        result = morph(parent, {"3": graph}, example_inputs=images(2), birth=birth, keep_parent=True)
        assert result.parity.sites[0].exact
        assert gap(parent, result.model, images(2)) < 1e-6
        assert_alive(result.model)


@pytest.mark.parametrize("birth", BIRTHS)
def test_the_childs_activations_are_the_networks_own(birth: str) -> None:
    for act, kind in (("gelu(approximate=tanh)", nn.GELU), ("leakyrelu(negative_slope=0.2)", nn.LeakyReLU)):
        result = morph(net(act), {"3": GRAPHS[birth]}, example_inputs=images(2), birth=birth)
        phi = result.model[3].acts["a"]
        assert type(phi) is kind
        assert str(phi) == str(net(act)[5])


def test_slope_stays_what_it_was() -> None:
    one, other = (
        morph(net(), {"3": "3x3 > 1x1"}, example_inputs=images(2), **o).model for o in ({}, {"birth": "slope"})
    )
    assert type(one[3].acts["a"]) is nn.PReLU
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("birth", BIRTHS)
def test_seeds(birth: str) -> None:
    one, same, other = (
        morph(net(), {"3": GRAPHS[birth]}, example_inputs=images(2), birth=birth, seed=seed).model.state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(value, same[key]) for key, value in one.items())
    assert not torch.equal(one["3.edges.s_a.weight"], other["3.edges.s_a.weight"])


@pytest.mark.parametrize("birth", BIRTHS)
def test_a_checkpoint_is_the_child_before_and_after_training(birth: str, tmp_path: Path) -> None:
    child = morph(net(), {"3": GRAPHS[birth]}, example_inputs=images(2), birth=birth).model
    replays(child, net(), tmp_path / "born", images(2))
    trained(child)
    replays(child, net(), tmp_path / "trained", images(2))
    assert json.loads((tmp_path / "born" / "config.json").read_text())["history"][0]["options"]["birth"] == birth


def test_a_record_of_an_older_version_has_no_birth(tmp_path: Path) -> None:
    child = morph(net(), {"3": "3x3 > 1x1"}, example_inputs=images(2)).model
    child = widen(child, "3", "2x", blob="a", example_inputs=images(2)).model
    old = [replace(each, options={k: v for k, v in each.options.items() if k != "birth"}) for each in history_of(child)]
    forget(child, lambda name: True)
    remember(child, *old)
    assert "birth" not in (save(child, tmp_path / "child") / "config.json").read_text()
    replays(child, net(), tmp_path / "again", images(2))


@pytest.mark.parametrize("birth", BIRTHS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_precisions(birth: str, dtype: torch.dtype) -> None:
    for act in ("relu", "gelu", "leakyrelu(negative_slope=0.2)"):
        parent = net(act).to(dtype)
        result = morph(parent, {"3": GRAPHS[birth]}, example_inputs=images(2).to(dtype), birth=birth)
        assert result.parity.sites[0].exact
        assert all(each.dtype is dtype for each in result.model.parameters())


@pytest.mark.parametrize("birth", BIRTHS)
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e-6, 1e20])
def test_filters_of_any_size(birth: str, scale: float) -> None:
    parent = net()
    with torch.no_grad():
        parent[3].weight.mul_(scale)
        if parent[3].bias is not None and not scale:
            parent[3].bias.abs_().add_(0.1)  # behind a constant below 0 the parent's own ReLU lets nothing through
    result = morph(parent, {"3": GRAPHS[birth]}, example_inputs=images(2), birth=birth)
    assert result.parity.sites[0].exact
    assert all(each.isfinite().all() for each in result.model.parameters())
    if not scale:  # where pairs of nothing would be dead under ReLU
        assert_alive(result.model)


@pytest.mark.parametrize("birth", BIRTHS)
def test_layouts_in_memory_and_layers_of_groups(birth: str) -> None:
    laid = net().to(memory_format=torch.channels_last)
    child = morph(laid, {"3": GRAPHS[birth]}, example_inputs=images(2), birth=birth).model
    weights = [each for each in child[3].parameters() if each.dim() == 4]
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in weights)
    for groups in (2, 8):
        result = morph(net(groups=groups), {"3": GRAPHS[birth]}, example_inputs=images(2), birth=birth)
        assert result.parity.sites[0].exact


@pytest.mark.parametrize("birth", BIRTHS)
def test_weights_that_are_none(birth: str) -> None:
    with torch.device("meta"):
        nowhere = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    with pytest.raises(SiteError, match="meta device"):
        morph(nowhere, {"0": GRAPHS[birth]}, example_inputs=torch.empty(1, 3, 6, 6, device="meta"), birth=birth)
    broken = net()
    broken[3].weight.data[0, 0] = float("nan")
    with pytest.raises(SiteError, match="NaN"):
        morph(broken, {"3": GRAPHS[birth]}, example_inputs=images(2), birth=birth)


@pytest.mark.parametrize("birth", BIRTHS)
def test_padding_as_the_input_asks_for(birth: str) -> None:
    layers = pytest.importorskip("timm.layers")
    parent = nn.Sequential(layers.Conv2dSame(3, 6, 3, stride=2), nn.GELU())
    child = morph(parent, {"0": GRAPHS[birth]}, example_inputs=images(2), birth=birth).model
    for size in (6, 7, 9):
        torch.testing.assert_close(child(images(2, size)), parent(images(2, size)), atol=1e-5, rtol=1e-5)


def test_without_an_activation() -> None:
    result = morph(net(), {"3": GRAPHS["pair"]}, example_inputs=images(2), birth="pair", act=None)
    assert result.parity.sites[0].exact
    assert not len(result.model[3].acts)
    with pytest.raises(GraphError, match=r"need a branch with an activation.*act="):
        morph(net(), {"3": GRAPHS["zero"]}, example_inputs=images(2), birth="zero", act=None)


@pytest.mark.parametrize("birth", BIRTHS)
@pytest.mark.parametrize("norm", ["calibrated", "neutral", "group", "layer"])
def test_norms(birth: str, norm: str) -> None:
    """Exact in eval mode; in train mode beside a core too, and in pairs as far as a batch is like the calibration."""
    data = {"calibration": [images()]} if norm == "calibrated" else {}
    parent = net(norm=True)
    result = morph(parent, {"3": GRAPHS[birth]}, example_inputs=images(), birth=birth, norm=norm, **data)  # type: ignore[arg-type]
    site = result.parity.sites[0]
    assert site.exact
    assert gap(parent, result.model, images()) < 1e-6
    assert set(result.model[3].norms) == ({"s_a", "a_t"} if birth == "pair" else {"s_a"})
    assert (site.measured[0].train < 1e-5) == (birth != "pair" or norm != "neutral")
    trained(result.model)


def test_the_papers_norm_is_reported() -> None:
    result = morph(
        net(norm=True),
        {"3": GRAPHS["pair"]},
        example_inputs=images(),
        birth="pair",
        norm="paper",
        calibration=[images()],
    )
    assert not result.parity.sites[0].exact
    assert any("paper" in notice for notice in result.notices)


@pytest.mark.parametrize("birth", BIRTHS)
def test_the_optimizer_goes_along(birth: str) -> None:
    parent = net(norm=True)
    optimizer = torch.optim.SGD(parent.parameters(), lr=0.1, momentum=0.9)
    trained(parent, 2, optimizer)
    momentum = optimizer.state[parent[0].weight]["momentum_buffer"].clone()
    result = morph(parent, {"3": GRAPHS[birth]}, example_inputs=images(2), birth=birth)
    rebuild_optimizer(result, optimizer)
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    assert held == {id(each) for each in result.model.parameters()}
    assert torch.equal(optimizer.state[result.model[0].weight]["momentum_buffer"], momentum)
    before = F.cross_entropy(result.model(images()), torch.arange(16) % 5)
    trained(result.model, 5, optimizer)
    assert F.cross_entropy(result.model(images()), torch.arange(16) % 5) < before


def test_shortcuts() -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    parent, x = models.resnet18(num_classes=5).eval(), torch.randn(1, 3, 48, 48)
    for birth, graph in (("zero", "id | 3x3 > 3x3"), ("cancel", "id | 3x3 > 3x3"), ("pair", "0.5*id | 3x3:2x > 3x3")):
        result = morph(parent, {"layer1.0.downsample": graph}, example_inputs=x, birth=birth)
        assert result.parity.sites[0].exact
        assert result.sites[0].kind == "identity"
    with pytest.raises(InfeasibleMorph, match=r"has no path without one.*keep_parent=True"):
        morph(parent, {"layer1.0.downsample": "3x3 > 3x3"}, example_inputs=x, birth="zero")


@pytest.mark.parametrize("birth", BIRTHS)
def test_an_edge_of_a_morphed_module(birth: str) -> None:
    for base in ("slope", "pair"):
        child = shaken(morph(net(), {"3": "3x3:2x > 3x3"}, example_inputs=images(2), birth=base).model, 3)  # type: ignore[arg-type]
        for edge in ("s_a", "a_t"):
            again = morph(child, {f"3.edges.{edge}": GRAPHS[birth]}, example_inputs=images(2), birth=birth)
            assert gap(child, again.model, images(2)) < 1e-6
            assert isinstance(again.model[3].edges[edge], MorphedModule)


def plans(graph: str | ModuleGraph, birth: str, act: str = "relu") -> bool | None:
    try:
        return plan(net(act), {"3": graph}, example_inputs=images(2), birth=birth).feasible
    except GraphError:
        return False


@pytest.mark.parametrize("birth", BIRTHS)
@pytest.mark.parametrize("act", ["relu", "elu"])
def test_the_plan_and_the_morph_agree(birth: str, act: str) -> None:
    for graph in (
        *GRAPHS.values(),
        "3x3 > 3x3",
        "3x3:2x > 3x3*dw:2x > 1x1",
        "3x3 | 1x1:3 > 3x3",
        "3x3 | 1x1",
        "module_d",
    ):
        try:
            morph(net(act), {"3": graph}, example_inputs=images(2), birth=birth)
            done = True
        except NetmorphError:
            done = False
        assert plans(graph, birth, act) is done, graph
    with pytest.raises(GraphError, match=r"expected a birth.*'pears'"):
        plan(net(), {"3": "3x3 > 3x3"}, example_inputs=images(2), birth="pears")
    with pytest.raises(GraphError, match=r"expected a birth.*'pears'"):
        morph(net(), {"3": "3x3 > 3x3"}, example_inputs=images(2), birth="pears")


def test_a_pair_costs_twice_the_channels_and_the_plan_says_so() -> None:
    found = plan(net(), {"3": "3x3:2x > 3x3"}, example_inputs=images(2), birth="pair")
    assert found.feasible is True
    assert "birth='pair' passes on half of the channels of 'a'" in found.summary()
    narrow = plan(net(), {"3": "3x3 > 3x3"}, example_inputs=images(2), birth="pair")
    assert narrow.feasible is False
    assert "give the blobs with an activation twice the channels" in narrow.summary()


def base(birth: str, act: str) -> nn.Module:
    """A network with a module that has been trained since its birth."""
    graph = "3x3 | 3x3:2x > 3x3" if birth == "zero" else "3x3:2x > 3x3"
    return shaken(morph(net(act, norm=True), {"3": graph}, example_inputs=images(2), birth=birth).model, 4)  # type: ignore[arg-type]


GROW: dict[str, Callable[[nn.Module, str], object]] = {
    "branch": lambda m, b: regrow(m, "3", f"{written(m)} | 1x1:2x > 3x3", example_inputs=images(2), birth=b),  # type: ignore[arg-type]
    "series": lambda m, b: regrow(m, "3", "3x3:2x > 3x3:4x > 3x3", example_inputs=images(2), birth=b),  # type: ignore[arg-type]
    "wider": lambda m, b: regrow(m, "3", written(m).replace("2x", "4x"), example_inputs=images(2), birth=b),  # type: ignore[arg-type]
    "deepen first": lambda m, b: deepen(m, "3.edges.s_a", 3, example_inputs=images(2), birth=b),  # type: ignore[arg-type]
    "deepen last": lambda m, b: deepen(m, "3.edges.a_t", 3, example_inputs=images(2), birth=b),  # type: ignore[arg-type]
    "widen": lambda m, b: widen(m, "3", "2x", blob="a", example_inputs=images(2), birth=b),  # type: ignore[arg-type]
}


def written(model: nn.Module) -> str:
    return "3x3 | 3x3:2x > 3x3" if "s_t" in model[3].edges else "3x3:2x > 3x3"  # type: ignore[index]


@pytest.mark.parametrize("born", ["slope", "pair", "zero"])
@pytest.mark.parametrize("birth", ["slope", "pair", "zero", "cancel"])
def test_trained_modules_grow(born: str, birth: str) -> None:
    done = []
    for act in ("relu", "gelu"):
        before = base(born, act)
        for how, grow in GROW.items():
            series = born == "zero" and how == "series"  # another graph than the module's
            unfit = (birth in ("zero", "cancel") and how in ("series", "deepen first", "deepen last")) or (
                birth in ("slope", "pair") and how == "widen"
            )
            if series or unfit:
                continue
            result = grow(before, birth)
            assert result.parity.sites[0].exact, how  # type: ignore[attr-defined]
            assert gap(before, result.model, images()) < 1e-6, how  # type: ignore[attr-defined]
            new = [b for b in result.model[3].acts if b not in before[3].acts]  # type: ignore[attr-defined, index]
            plain = [not list(result.model[3].acts[b].parameters()) for b in new]  # type: ignore[attr-defined]
            assert plain == [birth != "slope"] * len(new)
            assert_alive(result.model)  # type: ignore[attr-defined]
            done.append(how)
    assert len(done) >= 6


@pytest.mark.parametrize("birth", ["zero", "cancel"])
def test_a_new_part_in_series_has_no_core(birth: str) -> None:
    with pytest.raises(InfeasibleMorph, match=r"in place of a_t.*keep the present edge") as caught:
        GROW["series"](base("pair", "relu"), birth)
    assert not any(remedy.startswith("write") for remedy in caught.value.remedies)
    with pytest.raises(GraphError, match="expected a birth of slope, pair, got 'zero'"):
        deepen(net(), "3", 3, example_inputs=images(2), birth="zero")


def test_deepening_a_plain_layer_in_pairs() -> None:
    for act in PHI:
        result = deepen(net(act), "3", 3, example_inputs=images(2), birth="pair")
        assert str(result.sites[0].graph) == "3x3:2x > 3x3"
        assert result.parity.sites[0].exact
        assert_alive(result.model)
    with pytest.raises(GraphError, match="does not support birth='pair'"):
        deepen(net("elu"), "3", 3, example_inputs=images(2), birth="pair")


@pytest.mark.parametrize("birth", ["pair", "zero", "cancel"])
def test_grown_modules_replay(birth: str, tmp_path: Path) -> None:
    start = morph(net(norm=True), {"3": "3x3:2x > 3x3"}, example_inputs=images(2), birth="pair").model
    grown = GROW["branch"](shaken(start, 4), birth).model  # type: ignore[attr-defined]
    replays(grown, net(norm=True), tmp_path / "grown", images(2))


def test_a_graph_that_names_activations() -> None:
    graph = replace(catalogue["module_d"], activation_items=(("a", "gelu"), ("b", "none")))
    graph = twice(graph, ConvSpec.same(8, 8, 3))
    result = morph(net(), {"3": graph}, example_inputs=images(2), birth="pair")
    assert result.model[3].layout.graph.activations == {"a": "plain_gelu", "b": "none"}
    assert [type(result.model[3].acts[blob]) for blob in result.model[3].acts] == [nn.GELU, nn.ReLU]
    assert result.parity.sites[0].exact
