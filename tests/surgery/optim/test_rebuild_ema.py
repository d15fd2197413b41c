"""An average of the parent becomes an average of the child, with the average's own function."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.surgery.networks import images, seeded, small
from tests.surgery.training import DistributedDataParallel, equal, fit, grown
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from netmorph.errors import InfeasibleMorph, NetmorphError, SiteError
from netmorph.graph.cuts import sink_cut, source_cut
from netmorph.graph.layout import lay_out
from netmorph.nn import MorphedModule
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.grow_kernel import grow_kernel
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.optim.rebuild_ema import rebuild_ema
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer
from netmorph.surgery.records.history import history_of
from netmorph.surgery.records.record import Record


def timm_ema(name: str) -> Callable[[nn.Module], Any]:
    def make(model: nn.Module) -> Any:
        utils = pytest.importorskip("timm.utils")
        return getattr(utils, name)(model, decay=0.9)

    return make


AVERAGES: dict[str, Callable[[nn.Module], Any]] = {
    "ema": lambda model: AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True),
    "swa": AveragedModel,
    "timm-v1": timm_ema("ModelEma"),
    "timm-v2": timm_ema("ModelEmaV2"),
    "timm-v3": timm_ema("ModelEmaV3"),
}


def network(averaged: Any) -> nn.Module:
    return averaged.module if hasattr(averaged, "module") else averaged.ema


def update(averaged: Any, model: nn.Module) -> None:
    (averaged.update_parameters if hasattr(averaged, "update_parameters") else averaged.update)(model)


def outputs(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).eval()(images(4, 12, seed=3))


def averaged_parent(name: str) -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    parent = small()
    optimizer = torch.optim.SGD(parent.parameters(), 0.02, momentum=0.9)
    averaged = AVERAGES[name](parent)
    for _ in range(4):
        fit(parent, optimizer, 1)
        update(averaged, parent)
    return parent, optimizer, averaged


def gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
@pytest.mark.parametrize("name", AVERAGES)
def test_the_averages_function_is_kept_and_averaging_goes_on(name: str, inplace: bool) -> None:
    parent, optimizer, averaged = averaged_parent(name)
    before, parents, mode = outputs(network(averaged)), outputs(parent), network(averaged).training
    wanted = [p.requires_grad for p in network(averaged).parameters()]
    result = grown(parent, inplace=inplace)
    parities = rebuild_ema(result, averaged)
    child, mean = result.model, network(averaged)

    assert [parity.site for parity in parities] == [site.name for site in result.sites]
    assert all(parity.exact for parity in parities)
    assert gap(outputs(mean), before) < 1e-5
    assert gap(before, parents) > 1e-3  # else the child's weights would have done as well
    assert [(k, v.shape) for k, v in mean.state_dict().items()] == [(k, v.shape) for k, v in child.state_dict().items()]
    assert mean.training == mode
    assert {p.requires_grad for p in mean.parameters()} == set(wanted)
    assert [record.sites for record in history_of(mean)] == [record.sites for record in result.history]
    if isinstance(averaged, AveragedModel):
        assert averaged.n_averaged == 4

    rebuild_optimizer(result, optimizer)
    fit(child, optimizer, 1)
    was, now = mean.state_dict(), child.state_dict()
    was = {key: value.clone() for key, value in was.items()}
    update(averaged, child)
    share = 0.2 if name == "swa" else 0.1
    for key, value in mean.state_dict().items():
        if value.is_floating_point() and "running" not in key:
            assert torch.allclose(value, was[key] + share * (now[key] - was[key]), atol=1e-6), key


def test_averages_of_weights_are_averages_of_functions() -> None:
    parent, _, averaged = averaged_parent("ema")
    result = grown(parent)
    rebuild_ema(result, averaged)
    for site in result.sites:
        own, twin = (each.get_submodule(site.name) for each in (averaged.module, result.model))
        for edge in site.graph.edges:
            if edge.fixed is None:
                one, other = (each.filters()[edge.name].weight for each in (own, twin))
                assert float((one - other).norm()) < 0.2 * float(other.norm()), edge.name


def test_scales_follow_the_childs() -> None:
    # Which power of two the solver balances by depends on the layer: 1.5 times the weights may tip it.
    tipped = 0
    for seed in range(8):
        parent = seeded(nn.Sequential(nn.Conv2d(3, 6, 3, padding=1)), seed)
        averaged = AveragedModel(parent)
        with torch.no_grad():
            averaged.module[0].weight.mul_(1.5)
        mapping = {"0": "3x3:2x > 1x1:3x > 1x1"}
        result = morph(parent, mapping, example_inputs=images(1, 8), seed=seed)
        alone = morph(averaged.module, mapping, example_inputs=images(1, 8), seed=seed)
        rebuild_ema(result, averaged)
        mine, kept, other = (
            torch.stack([edge.weight.detach().norm() for edge in model[0].edges.children()])
            for model in (result.model, averaged.module, alone.model)
        )
        assert ((kept / mine).log2().abs() < 0.7).all()  # 1.5 is 2 ** 0.58
        tipped += bool(((other / mine).log2().abs() > 0.7).any())
    assert tipped  # without the care, some would differ


@pytest.mark.parametrize("norm", ["neutral", "calibrated", "paper", "group"])
def test_norms(norm: str) -> None:
    parent, _, averaged = averaged_parent("ema")
    before = outputs(averaged.module)
    batches = [images(4, 8, seed=seed) for seed in range(2)]
    result = grown(parent, norm=norm, calibration=batches if norm in ("calibrated", "paper") else None)
    rebuild_ema(result, averaged)
    if norm == "paper":
        assert gap(outputs(averaged.module), before) > 1e-2
    else:
        assert gap(outputs(averaged.module), before) < 1e-5
    for key, value in result.model.state_dict().items():
        if ".norms." in key and ("running" in key or "tracked" in key):
            assert torch.equal(averaged.module.state_dict()[key], value)


@pytest.mark.parametrize(
    "options", [{"method": "alternating"}, {"method": "stepwise"}, {"fill": "dense"}, {"noise": 0.0}], ids=str
)
def test_methods(options: dict[str, Any]) -> None:
    parent, _, averaged = averaged_parent("ema")
    before = outputs(averaged.module)
    rebuild_ema(grown(parent, {"blocks.0.conv1": "3x3:2x > 1x1"}, **options), averaged)
    assert gap(outputs(averaged.module), before) < 1e-5


def test_a_site_without_weights() -> None:
    result = morph(small(), {"blocks.0.shortcut": "0.5*id | 0.5*id"}, example_inputs=images())
    averaged = AveragedModel(small())
    before = outputs(averaged.module)
    parity = rebuild_ema(result, averaged)
    assert [each.exact for each in parity] == [True]
    assert gap(before, outputs(averaged.module)) < 1e-6


def test_a_kept_parent() -> None:
    parent, _, averaged = averaged_parent("ema")
    before = outputs(averaged.module)
    result = grown(parent, {"blocks.0.conv1": "3x3:0.25x > 1x1"}, keep_parent=True)
    assert result.sites[0].status == "KEPT_PARENT"
    rebuild_ema(result, averaged)
    assert gap(outputs(averaged.module), before) < 1e-5


def test_another_dtype_and_memory_format() -> None:
    parent, _, averaged = averaged_parent("ema")
    averaged.module.double().to(memory_format=torch.channels_last)
    with torch.no_grad():
        before = averaged.module.eval()(images(4, 8).double())
    result = grown(parent)
    rebuild_ema(result, averaged)
    assert all(each.dtype == torch.float64 for each in averaged.module.parameters())
    weight = averaged.module.get_parameter(
        next(n for n, p in averaged.module.named_parameters() if p.shape[-1:] == (3,))
    )
    assert weight.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert gap(averaged.module(images(4, 8).double()), before) < 1e-10


def test_a_network_that_is_the_site() -> None:
    parent = seeded(nn.Conv2d(3, 4, 3, padding=1))
    averaged = AveragedModel(parent)
    result = morph(parent, {"": "3x3 > 1x1"}, example_inputs=images(1, 8))
    rebuild_ema(result, averaged)
    assert isinstance(averaged.module, MorphedModule)
    assert gap(outputs(averaged), outputs(parent)) < 1e-5


def test_morph_after_morph() -> None:
    parent, _, averaged = averaged_parent("ema")
    before = outputs(averaged.module)
    first = grown(parent)
    rebuild_ema(first, averaged)
    second = grown(first.model, {"stem": "3x3 > 1x1", "fc": "1 > 1"})
    rebuild_ema(second, averaged)
    assert gap(outputs(averaged.module), before) < 1e-5
    assert len(history_of(averaged.module)) == 2


# Layer-level operations.


def grow(model: nn.Module, operation: str, **options: Any) -> Result:
    x = images(4, 12)
    if operation == "widen":
        return widen(model, "blocks.0.conv1", "1.5x", example_inputs=x, seed=3, **options)
    if operation == "widen blob":
        return widen(model, "fc", "2x", blob="a", example_inputs=x, seed=3, **options)
    if operation == "deepen":
        return deepen(model, "stem", 3, example_inputs=x, seed=3, **options)
    if operation == "deepen edge":
        return deepen(model, "fc.edges.s_a", example_inputs=x, width=40, seed=3, **options)
    if operation == "grow_kernel":
        return grow_kernel(model, "blocks.*.conv1", 5, example_inputs=x, **options)
    return regrow(model, "fc", "1 > 1 | 1:24 > 1:8 > 1", example_inputs=x, act="silu", seed=3, **options)


OPERATIONS = ["widen", "widen blob", "deepen", "deepen edge", "grow_kernel", "regrow"]


@pytest.mark.parametrize(("name", "inplace"), [("ema", False), ("timm-v3", True)], ids=["copy", "inplace"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_average_grows_along(operation: str, name: str, inplace: bool) -> None:
    parent, optimizer, averaged = averaged_parent(name)
    first = grown(parent, {"fc": "1 > 1"})
    rebuild_ema(first, averaged)
    rebuild_optimizer(first, optimizer)
    fit(first.model, optimizer, 2)  # slopes leave 1
    update(averaged, first.model)
    before, mode = outputs(network(averaged)), network(averaged).training
    wanted = {p.requires_grad for p in network(averaged).parameters()}
    result = grow(first.model, operation, inplace=inplace)
    parities = rebuild_ema(result, averaged)
    child, mean = result.model, network(averaged)

    assert [parity.site for parity in parities] == [parity.site for parity in result.parity.sites]
    assert all(parity.exact for parity in parities)
    assert gap(outputs(mean), before) < 1e-5
    assert gap(outputs(child), before) > 1e-3  # else the child's weights would have done as well
    assert [(k, v.shape) for k, v in mean.state_dict().items()] == [(k, v.shape) for k, v in child.state_dict().items()]
    assert mean.training == mode
    assert {p.requires_grad for p in mean.parameters()} == wanted
    assert [record.sites for record in history_of(mean)] == [record.sites for record in result.history]
    twins = dict(child.named_parameters())
    for key, value in mean.named_parameters():
        if value.dim() > 1:
            assert float((value - twins[key]).detach().norm()) < 0.5 * float(twins[key].detach().norm()), key

    rebuild_optimizer(result, optimizer)
    fit(child, optimizer, 1)
    was, now = {key: value.clone() for key, value in mean.state_dict().items()}, child.state_dict()
    update(averaged, child)
    for key, value in mean.state_dict().items():
        if value.is_floating_point() and "running" not in key:
            assert torch.allclose(value, was[key] + 0.1 * (now[key] - was[key]), atol=1e-6), key


def test_newborn_norms_of_a_grown_module_take_the_childs_statistics() -> None:
    parent, _, averaged = averaged_parent("ema")
    batches = [images(4, 8, seed=seed) for seed in range(2)]
    first = grown(parent, {"blocks.0.conv1": "3x3 > 1x1"}, norm="calibrated", calibration=batches)
    rebuild_ema(first, averaged)
    before = outputs(averaged.module)
    result = regrow(
        first.model, "blocks.0.conv1", "3x3 > 1x1 | 1x1 > 1x1", example_inputs=images(), calibration=iter(batches)
    )
    rebuild_ema(result, averaged)
    assert gap(outputs(averaged.module), before) < 1e-5
    running = {k: v for k, v in result.model.state_dict().items() if ".norms." in k and "running" in k}
    assert len(running) == 8
    for key, value in running.items():
        assert torch.equal(averaged.module.state_dict()[key], value)


def test_the_scale_of_what_grew_follows_the_childs() -> None:
    tipped = 0
    for seed in range(8):
        parent = seeded(nn.Sequential(nn.Conv2d(3, 6, 3, padding=1)), seed)
        averaged = AveragedModel(parent)
        first = morph(parent, {"0": "3x3 | 1x1"}, example_inputs=images(1, 8), seed=seed, noise=0.5)
        rebuild_ema(first, averaged)
        with torch.no_grad():
            for parameter in averaged.module.parameters():
                parameter.mul_(1.5)
        graph = "3x3:2x > 1x1:3x > 1x1 | 1x1"
        result = regrow(first.model, "0", graph, example_inputs=images(1, 8), seed=seed)
        alone = regrow(averaged.module, "0", graph, example_inputs=images(1, 8), seed=seed)
        rebuild_ema(result, averaged)
        mine, kept, other = (
            torch.stack([edge.weight.detach().norm() for edge in model[0].edges.children()])
            for model in (result.model, averaged.module, alone.model)
        )
        assert ((kept / mine).log2().abs() < 0.7).all()
        tipped += bool(((other / mine).log2().abs() > 0.7).any())
    assert tipped


def test_a_copy_of_a_growth_result_cannot_grow_another() -> None:
    parent = small()
    result = grow(parent, "widen")
    averaged = AveragedModel(parent)
    refuse(copy.deepcopy(result), averaged, "the result of morph or of a layer-level.*not a copy or pickle")
    other = AveragedModel(small())
    other.module.fc = nn.Linear(8, 7)
    refuse(result, other, "not one of the parent: it differs at 'fc.bias'")
    rebuild_ema(result, averaged)
    refuse(result, averaged, ".")


# What cannot be done, and leaves the average as it was.


def refuse(result: Result, averaged: Any, message: str, error: type = NetmorphError) -> None:
    modules = [id(each) for each in network(averaged).modules()]
    before = {key: value.clone() for key, value in network(averaged).state_dict().items()}
    with pytest.raises(error, match=message):
        rebuild_ema(result, averaged)
    assert [id(each) for each in network(averaged).modules()] == modules
    assert equal(dict(network(averaged).state_dict()), before)


def test_strangers() -> None:
    result = grown(small())
    with pytest.raises(NetmorphError, match="this Linear holds no averaged network"):
        rebuild_ema(result, nn.Linear(2, 2))
    refuse(result, AveragedModel(nn.Linear(2, 2)), "the averaged network has no such layer.*site blocks.0.conv1")
    shortcut = grown(small(), {"blocks.0.shortcut": "1x1 > 1x1"})
    refuse(shortcut, AveragedModel(nn.Linear(2, 2)), "no such (layer|place).*site blocks.0.shortcut")
    other = small()
    other.fc = nn.Linear(8, 7)
    refuse(result, AveragedModel(other), "not one of the parent: it differs at 'fc.bias'")
    other = small()
    other.blocks[0].conv1 = nn.Conv2d(8, 8, 5, padding=2, bias=False)
    refuse(result, AveragedModel(other), "layer is not the one that was morphed")


def test_twice() -> None:
    parent, _, averaged = averaged_parent("ema")
    result = grown(parent)
    rebuild_ema(result, averaged)
    refuse(result, averaged, "has been morphed there already")


def test_another_operation_than_morph() -> None:
    parent = small()
    result = grown(parent)
    refuse(replace(result, history=(Record("toy", ()),)), AveragedModel(parent), "the result of morph .*'toy'")


def test_a_collapse() -> None:
    child = grown(small()).model
    result: Any = collapse(child, example_inputs=images())
    refuse(result, AveragedModel(child), "got a CollapseResult.*result of morph.*new average")


def test_a_wrapped_average() -> None:
    parent = small()
    refuse(grown(parent), AveragedModel(DistributedDataParallel(parent)), "already wrapped .DDP", SiteError)


def test_another_layout_cannot_be_averaged() -> None:
    parent = small()
    result = grown(parent, {"blocks.0.conv1": "3x3 > 3x3"})
    record = result.history[-1]
    site = record.sites[0]
    cut = next(cut for cut in (source_cut(site.graph), sink_cut(site.graph)) if cut != site.layout.cut)
    other = replace(site, layout=lay_out(site.graph, site.layout.site, (cut, cut), cut))
    changed = replace(result, history=(replace(record, sites=(other,)),))
    refuse(changed, AveragedModel(parent), "another layout of the graph.*site blocks.0.conv1")


def test_a_graph_that_held_the_parent_only() -> None:
    parent = small()
    averaged = AveragedModel(parent)
    with torch.no_grad():
        parent.blocks[0].conv1.weight[..., 0] = 0
    result = grown(parent, {"blocks.0.conv1": "3x2 > 1x1"})
    refuse(result, averaged, "blocks.0.conv1", InfeasibleMorph)
