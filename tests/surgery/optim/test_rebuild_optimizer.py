"""An optimizer drives the child as it drove the parent: survivors keep all, newborns join their layer's group."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.surgery.networks import images, small
from tests.surgery.training import SITES, DistributedDataParallel, equal, fit, grown, loss_of, members, states
from torch import nn
from torch.optim import Optimizer

from netmorph.errors import NetmorphError, SiteError
from netmorph.nn import slopes
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.optim.rebuild_optimizer import check_optimizer, rebuild_optimizer

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=1e-3),
    "sgd-plain": lambda p: torch.optim.SGD(p, 0.02),
    "sgd-fused": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True, fused=True),
    "adam": lambda p: torch.optim.Adam(p, 0.003, weight_decay=1e-3),
    "adam-amsgrad-foreach": lambda p: torch.optim.Adam(p, 0.003, amsgrad=True, foreach=True),
    "adam-tensor-lr": lambda p: torch.optim.Adam(p, torch.tensor(0.003), weight_decay=1e-3),
    "adamw-fused": lambda p: torch.optim.AdamW(p, 0.003, fused=True),
    "nadam": lambda p: torch.optim.NAdam(p, 0.003),
    "radam": lambda p: torch.optim.RAdam(p, 0.003),
    "adamax": lambda p: torch.optim.Adamax(p, 0.003),
    "adadelta": lambda p: torch.optim.Adadelta(p, 0.3),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.003, initial_accumulator_value=0.1, weight_decay=1e-3),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.0003, momentum=0.9, centered=True),
    "rprop": lambda p: torch.optim.Rprop(p, 0.0003),
    "asgd": lambda p: torch.optim.ASGD(p, 0.01),
    "adafactor": lambda p: torch.optim.Adafactor(p, 0.01),
}


def trained(factory: Callable[..., Optimizer] = OPTIMIZERS["sgd"]) -> tuple[nn.Module, Optimizer]:
    parent = small()
    optimizer = factory(parent.parameters())
    fit(parent, optimizer, 3)
    optimizer.zero_grad()
    return parent, optimizer


def newborn(result: Result) -> list[str]:
    inside = tuple(f"{name}." for name in SITES)
    return [n for n, _ in result.model.named_parameters() if n.startswith(inside) and not n.endswith("conv2.bias")]


@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on(name: str, inplace: bool) -> None:
    parent, optimizer = trained(OPTIMIZERS[name])
    old, before, had = loss_of(parent).item(), states(parent, optimizer), dict(parent.named_parameters())
    stateful = bool(before)
    result = grown(parent, inplace=inplace)
    rebuilt = rebuild_optimizer(result, optimizer)
    child = result.model

    gone = {"blocks.0.conv1.weight", "blocks.1.conv2.weight"}
    assert set(rebuilt.departed) == gone
    assert set(rebuilt.kept) == set(had) - gone
    assert sorted(rebuilt.joined) == sorted(newborn(result))
    assert not rebuilt.left_out
    now = dict(child.named_parameters())
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in now.values()}
    after = states(child, optimizer)
    assert not any(had[lost] in optimizer.state for lost in gone)
    for key in rebuilt.kept:
        assert (key in after) == stateful
        assert equal(before.get(key), after.get(key)), key

    losses = fit(child, optimizer, 21)
    assert losses[0] == pytest.approx(old, abs=1e-5)
    assert losses[20] < losses[0]
    for key in newborn(result):
        assert now[key].grad is not None, key
        assert now[key].grad.abs().sum() > 0, key
        assert (now[key] in optimizer.state) == stateful, key


@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
def test_one_group_ends_in_the_childs_order_and_slopes_apart(inplace: bool) -> None:
    parent, optimizer = trained()
    result = grown(parent, inplace=inplace)
    rebuilt = rebuild_optimizer(result, optimizer)
    blends = [name for name, _ in slopes(result.model)]
    assert blends
    others = [name for name, _ in result.model.named_parameters() if name not in blends]
    assert members(result.model, optimizer) == [others, blends]
    assert rebuilt.new_groups == (1,)
    first, second = optimizer.param_groups
    assert (first["weight_decay"], second["weight_decay"]) == (1e-3, 0.0)
    own = {"params", "weight_decay", "netmorph_slopes_of"}
    assert {k: v for k, v in second.items() if k not in own} == {k: v for k, v in first.items() if k not in own}


def test_users_order_is_kept() -> None:
    parent = small()
    optimizer = torch.optim.SGD(reversed(list(parent.parameters())), 0.01)
    result = grown(parent)
    rebuilt = rebuild_optimizer(result, optimizer)
    names = [name for name in members(result.model, optimizer)[0] if name in rebuilt.kept]
    assert names == list(reversed([name for name, _ in parent.named_parameters() if name in rebuilt.kept]))


def test_newborns_join_the_group_of_their_layer() -> None:
    parent = small()
    groups = [
        {"params": parent.stem.parameters(), "lr": 0.1},
        {"params": parent.blocks[0].parameters(), "lr": 0.2, "weight_decay": 0.5, "mine": ["x"]},
        {"params": parent.fc.parameters(), "lr": 0.3},
        {"params": parent.blocks[1].parameters(), "lr": 0.4, "weight_decay": 0.0, "momentum": 0.7},
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    result = grown(parent)
    rebuilt = rebuild_optimizer(result, optimizer)
    blends = {name for name, _ in slopes(result.model)}
    for name, index in rebuilt.joined.items():
        home = 1 if name.startswith("blocks.0") else 3
        if name in blends:
            assert index >= 4
            assert optimizer.param_groups[index]["netmorph_slopes_of"] == home
        else:
            assert index == home
    fourth, fifth = optimizer.param_groups[4:]
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in (fourth, fifth)] == [(0.2, 0.9, 0.0), (0.4, 0.7, 0.0)]
    assert fourth["mine"] == ["x"]
    assert fourth["mine"] is not optimizer.param_groups[1]["mine"]


def test_options_that_are_tensors_are_not_shared() -> None:
    parent = small()
    rates = torch.tensor(0.01), (torch.tensor(0.9), torch.tensor(0.99))
    optimizer = torch.optim.Adam(parent.parameters(), rates[0], betas=rates[1], foreach=False, weight_decay=0.1)
    rebuild_optimizer(grown(parent), optimizer)
    first, second = optimizer.param_groups
    for one, other in ((first["lr"], second["lr"]), *zip(first["betas"], second["betas"], strict=True)):
        assert torch.equal(one, other)
        assert one is not other


def test_without_weight_decay_slopes_need_no_group() -> None:
    parent = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SparseAdam(parent.parameters(), 0.01)
    result = morph(parent, {"0": "1 > 1"}, example_inputs=torch.randn(2, 4))
    assert set(rebuild_optimizer(result, optimizer).joined.values()) == {0}
    assert len(optimizer.param_groups) == 1


def test_an_emptied_group_stays_in_its_place() -> None:
    parent = small()
    rest = [p for p in parent.parameters() if p is not parent.stem.weight]
    optimizer = torch.optim.Adam([{"params": [parent.stem.weight]}, {"params": rest}], 0.01)
    result = grown(parent, {"stem": "3x3 > 1x1"})
    rebuild_optimizer(result, optimizer, groups={"*": 1})
    assert members(result.model, optimizer)[0] == []
    losses = fit(result.model, optimizer, 10)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
def test_several_morphs_in_a_row(inplace: bool) -> None:
    parent, optimizer = trained()
    first = grown(parent, {"blocks.1.conv2": "3x3 > 1x1"}, inplace=inplace)
    rebuild_optimizer(first, optimizer)
    fit(first.model, optimizer, 2)
    before = states(first.model, optimizer)
    # An earlier site, and an edge within what the first morph brought.
    nested = next(n for n, m in first.model.named_modules() if ".edges." in n and m.kernel_size == (3, 3))
    second = grown(first.model, {"blocks.0.conv1": "3x3 > 1x1", nested: "3x3 | 1x1 > 1x1"}, inplace=inplace)
    old = loss_of(second.model).item()
    rebuilt = rebuild_optimizer(second, optimizer)
    assert set(rebuilt.departed) == {"blocks.0.conv1.weight", f"{nested}.weight"}
    assert rebuilt.new_groups == ()
    blends = [name for name, _ in slopes(second.model)]
    others = [name for name, _ in second.model.named_parameters() if name not in blends]
    assert len(blends) == 3
    assert members(second.model, optimizer) == [others, blends]
    after = states(second.model, optimizer)
    assert all(equal(before[name], after[name]) for name in rebuilt.kept)
    losses = fit(second.model, optimizer, 20)
    assert losses[0] == pytest.approx(old, abs=1e-5)
    assert losses[-1] < losses[0]


def test_layers_that_were_not_trained_stay_so_unless_told() -> None:
    parent = small()
    head = [*parent.blocks[1].bn2.parameters(), *parent.fc.parameters()]
    optimizer = torch.optim.SGD(head, 0.01)
    rebuilt = rebuild_optimizer(grown(parent), optimizer)
    assert sorted(rebuilt.left_out) == sorted(newborn(grown(parent)))
    assert not rebuilt.joined
    assert len(rebuilt.kept) == 4
    assert len(optimizer.param_groups) == 1

    optimizer = torch.optim.SGD(head, 0.01)
    result = grown(parent)
    rebuilt = rebuild_optimizer(result, optimizer, groups={"blocks.0.*.acts.*": None, "blocks.0.*": 0})
    assert all(name.startswith("blocks.0") for name in rebuilt.joined)
    inside = [name for name in newborn(result) if name.startswith("blocks.0")]
    assert sorted(rebuilt.joined) == [name for name in sorted(inside) if ".acts." not in name]


def test_an_identity_far_from_weights_is_nobodys() -> None:
    parent = nn.Sequential(nn.Identity(), nn.BatchNorm2d(3))
    optimizer = torch.optim.SGD(parent.parameters(), 0.01)
    result = morph(parent, {"0": "1x1 > 1x1"}, example_inputs=images(2, 4))
    assert len(rebuild_optimizer(result, optimizer).left_out) == 3


def test_bias_alone_may_be_trained() -> None:
    parent = small()
    bias = parent.blocks[1].conv2.bias
    optimizer = torch.optim.SGD([bias], 0.01, momentum=0.9)
    fit(parent, optimizer, 2)
    kept = optimizer.state[bias]["momentum_buffer"]
    result = grown(parent, {"blocks.1.conv2": "3x3 > 1x1"}, inplace=True)
    rebuilt = rebuild_optimizer(result, optimizer)
    assert rebuilt.kept == ("blocks.1.conv2.bias",)
    assert optimizer.param_groups[0]["params"] == [parent.blocks[1].conv2.bias]
    assert optimizer.state[parent.blocks[1].conv2.bias]["momentum_buffer"] is kept
    assert len(optimizer.state) == 1


def test_frozen_parameters_that_are_held() -> None:
    parent = small()
    parent.blocks[0].conv1.weight.requires_grad_(False)
    optimizer = torch.optim.SGD(parent.parameters(), 0.01)
    result = grown(parent)
    rebuilt = rebuild_optimizer(result, optimizer)
    held = dict(result.model.named_parameters())
    assert all(held[n].requires_grad != n.startswith("blocks.0") for n in rebuilt.joined)
    losses = fit(result.model, optimizer, 10)
    assert losses[-1] < losses[0]


def test_foreign_parameters_stay() -> None:
    parent, temperature = small(), nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([{"params": parent.parameters()}, {"params": [temperature], "lr": 1.0}], 0.01)
    rebuild_optimizer(grown(parent), optimizer)
    assert optimizer.param_groups[1]["params"] == [temperature]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_names_of_parameters(prefix: str) -> None:
    parent = small()
    named = [(prefix + name, each) for name, each in parent.named_parameters()]
    optimizer = torch.optim.SGD(named, 0.01, momentum=0.9, weight_decay=0.1)
    result = grown(parent)
    rebuild_optimizer(result, optimizer)
    own = [[prefix + name for name in group] for group in members(result.model, optimizer)]
    assert [group["param_names"] for group in optimizer.param_groups] == own


@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
def test_a_norm_that_is_handed_on_keeps_its_state_under_its_new_name(inplace: bool) -> None:
    x = images(8, 9)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))
    net = morph(net, {"0": "3x3 > 1x1"}, example_inputs=x, calibration=[x]).model
    optimizer = torch.optim.SGD(net.named_parameters(), 0.01, momentum=0.9)
    net.train()(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    norm = net[0].norms["a_t"].weight
    momentum = optimizer.state[norm]["momentum_buffer"].clone()
    result = deepen(net, "0.edges.a_t", 1, example_inputs=x, calibration=[x], inplace=inplace)
    rebuilt = rebuild_optimizer(result, optimizer)
    assert rebuilt.departed == ("0.edges.a_t.weight",)
    assert {"0.norms.b_t.weight", "0.norms.b_t.bias"} <= set(rebuilt.kept)
    assert {"0.norms.a_b.weight", "0.norms.a_b.bias"} <= set(rebuilt.joined)
    handed = result.model[0].norms["b_t"].weight
    assert (handed is norm) == inplace
    assert optimizer.state[handed]["momentum_buffer"].equal(momentum)
    own = members(result.model, optimizer)
    assert [group["param_names"] for group in optimizer.param_groups] == own


@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
def test_edges_that_change_their_names_keep_their_state(inplace: bool) -> None:
    x = images(8, 9)
    net = morph(nn.Sequential(nn.Conv2d(3, 6, 3, padding=1)), {"0": "3x3 | 1x1"}, example_inputs=x).model
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    net(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    result = regrow(net, "0", "1x1 | 3x3", example_inputs=x, inplace=inplace)
    rebuilt = rebuild_optimizer(result, optimizer)
    assert (rebuilt.departed, dict(rebuilt.joined)) == ((), {})
    for each in result.model.parameters():
        assert optimizer.state[each]["momentum_buffer"].shape == each.shape


def test_names_that_are_not_the_networks_own() -> None:
    parent = small()
    optimizer = torch.optim.SGD([(f"p{i}", each) for i, each in enumerate(parent.parameters())], 0.01)
    result = grown(parent, {"stem": "3x3 > 1x1"})
    rebuild_optimizer(result, optimizer)
    names = optimizer.param_groups[0]["param_names"]
    assert names[0] == "p1"  # the stem's bias, which moved
    assert names[1] == next(name for name, _ in result.model.named_parameters() if "stem.edges" in name)


@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
def test_gradient_scaler_needs_nothing(inplace: bool) -> None:
    parent = small()
    optimizer = torch.optim.SGD(parent.parameters(), 0.01, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def step(model: nn.Module) -> float:
        optimizer.zero_grad()
        loss = loss_of(model)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        return loss.item()

    step(parent)
    result = grown(parent, inplace=inplace)
    rebuild_optimizer(result, optimizer)
    weights = [p.detach().clone() for p in result.model.parameters()]
    losses = [step(result.model) for _ in range(10)]
    assert losses[-1] < losses[0]
    assert all(not torch.equal(a, b) for a, b in zip(weights, result.model.parameters(), strict=True))
    assert scaler.get_scale() == 1024.0


def test_a_result_keeps_no_parent_alive() -> None:
    parent = small()
    weight = weakref.ref(parent.stem.weight)
    result = grown(parent)
    del parent
    gc.collect()
    assert weight() is None
    assert result.model is not None


def test_torchvision_resnet18() -> None:
    torchvision = pytest.importorskip("torchvision")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parent = torchvision.models.resnet18(num_classes=4)
        x, y = torch.randn(4, 3, 32, 32), torch.arange(4)
    optimizer = torch.optim.SGD(parent.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)

    def step(model: nn.Module) -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model.eval()(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    for _ in range(2):
        step(parent)
    old = nn.functional.cross_entropy(parent(x), y).item()
    before = states(parent, optimizer)
    mapping = {"layer1.*.conv1": "3x3 > 1x1 | 1x1", "layer2.0.conv1": "3x3 > 1x1", "layer2.0.downsample.0": "1x1 > 1x1"}
    result = morph(parent, mapping, example_inputs=x[:1])
    optimizer.zero_grad()
    rebuilt = rebuild_optimizer(result, optimizer)
    after = states(result.model, optimizer)
    assert len(rebuilt.departed) == 4
    assert len(rebuilt.kept) == len(before) - 4
    assert all(equal(before[name], after[name]) for name in rebuilt.kept)
    losses = [step(result.model) for _ in range(21)]
    assert losses[0] == pytest.approx(old, abs=1e-5)
    assert losses[-1] < losses[0]
    assert all(result.model.get_parameter(name).grad.abs().sum() > 0 for name in rebuilt.joined)


# What cannot be done, and leaves everything as it was.


def unchanged(optimizer: Optimizer) -> Callable[[], bool]:
    groups = [(list(group["params"]), {**group, "params": None}) for group in optimizer.param_groups]
    keys = list(optimizer.state)

    def same() -> bool:
        now = [(list(group["params"]), {**group, "params": None}) for group in optimizer.param_groups]
        ids = [([id(p) for p in params], rest) for params, rest in groups]
        return ids == [([id(p) for p in params], rest) for params, rest in now] and [id(k) for k in keys] == [
            id(k) for k in optimizer.state
        ]

    return same


def refuse(result: Result, optimizer: Optimizer, message: str, error: type = NetmorphError, **more: object) -> None:
    same = unchanged(optimizer)
    with pytest.raises(error, match=message) as caught:
        rebuild_optimizer(result, optimizer, **more)
    assert caught.value.remedies
    assert same()


def test_another_networks_optimizer() -> None:
    refuse(grown(small()), torch.optim.SGD(small().parameters(), 0.1), "holds no parameter of the network")


@pytest.mark.parametrize("inplace", [False, True], ids=["copy", "inplace"])
def test_twice(inplace: bool) -> None:
    parent, optimizer = trained()
    result = grown(parent, inplace=inplace)
    rebuild_optimizer(result, optimizer)
    refuse(result, optimizer, "already in the optimizer")


def test_twice_where_no_new_parameter_joined() -> None:
    parent = small()
    optimizer = torch.optim.SGD(parent.fc.parameters(), 0.1)
    result = grown(parent)
    rebuild_optimizer(result, optimizer)
    refuse(result, optimizer, "already in the optimizer")


def test_a_copy_of_the_result_knows_nothing() -> None:
    parent, optimizer = trained()
    refuse(copy.deepcopy(grown(parent)), optimizer, "holds no parameter of the network")


def test_a_morph_left_out() -> None:
    parent, optimizer = trained()
    first = grown(parent, {"stem": "3x3 > 1x1"}, inplace=True)
    second = grown(parent, {"blocks.0.conv1": "3x3 > 1x1"}, inplace=True)
    refuse(second, optimizer, r"still holds 'stem.weight'")
    rebuild_optimizer(first, optimizer)
    rebuild_optimizer(second, optimizer)
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in parent.parameters()}


def test_a_layer_put_back_is_no_stranger() -> None:
    parent, optimizer = trained()
    stem = parent.stem
    grown(parent, {"stem": "3x3 > 1x1"}, inplace=True)
    parent.stem = stem
    result = grown(parent, {"blocks.0.conv1": "3x3 > 1x1"}, inplace=True)
    assert "stem.weight" in rebuild_optimizer(result, optimizer).kept


def test_a_child_that_changed() -> None:
    parent, optimizer = trained()
    result = grown(parent)
    result.model.fc = nn.Linear(8, 5)
    refuse(result, optimizer, "'fc.weight' is no longer in the child")
    result = grown(parent)
    result.model.double()
    refuse(result, optimizer, r"'stem.weight' is torch.float64 on cpu and was torch.float32")
    result = grown(parent)
    result.model.blocks[0].conv1 = parent.blocks[0].conv1
    refuse(result, optimizer, r"'blocks.0.conv1.edges.\w+.weight' is no longer in the child")


def test_a_wrapped_child() -> None:
    parent, optimizer = trained()
    result = grown(parent)
    refuse(replace(result, model=DistributedDataParallel(result.model)), optimizer, "already wrapped .DDP", SiteError)


def test_state_over_all_parameters() -> None:
    parent = small()
    refuse(grown(parent), torch.optim.LBFGS(parent.parameters()), "shared by all parameters")


def test_wrappers_name_the_optimizer_inside() -> None:
    class Ahead(torch.optim.SGD):
        def __init__(self, inner: Optimizer) -> None:
            super().__init__([p for group in inner.param_groups for p in group["params"]], 0.1)
            self.base = inner

    class ZeroRedundancyOptimizer(torch.optim.SGD):
        pass

    parent, optimizer = trained()
    refuse(grown(parent), Ahead(optimizer), "wraps another optimizer.*optimizer.base")
    refuse(grown(parent), ZeroRedundancyOptimizer(parent.parameters(), 0.1), "shards its state over the ranks")
    with pytest.raises(NetmorphError, match="this is a list, not a torch.optim.Optimizer"):
        rebuild_optimizer(grown(parent), [optimizer])  # type: ignore[arg-type]


def test_what_cannot_follow_is_told_before_anything_is_changed() -> None:
    parent, optimizer = trained()
    check_optimizer(parent, optimizer)
    other = torch.optim.SGD(small().parameters(), 0.1)
    with pytest.raises(NetmorphError, match="state of LBFGS is shared by all parameters"):
        check_optimizer(parent, torch.optim.LBFGS(parent.parameters()))
    with pytest.raises(NetmorphError, match="holds no parameter of this network"):
        check_optimizer(parent, other)
    with pytest.raises(NetmorphError, match="holds a LambdaLR, which drives another optimizer"):
        check_optimizer(parent, optimizer, torch.optim.lr_scheduler.LambdaLR(other, lambda _: 1.0))
    with pytest.raises(SiteError, match="already wrapped .DDP"):
        check_optimizer(DistributedDataParallel(parent), optimizer)
    result = morph(parent, SITES, example_inputs=images(), inplace=True)
    with pytest.raises(NetmorphError, match="still holds '.*', which an earlier morph replaced"):
        check_optimizer(parent, optimizer)
    rebuild_optimizer(result, optimizer)
    check_optimizer(parent, optimizer)


def test_what_was_done_is_told_briefly() -> None:
    parent, optimizer = trained()
    rebuilt = rebuild_optimizer(grown(parent), optimizer)
    lines = str(rebuilt).splitlines()
    assert lines[0] == f"kept      {len(rebuilt.kept)} parameters with their state"
    assert lines[1].startswith(f"departed  {len(rebuilt.departed)}: 'blocks.0.conv1.weight'")
    assert lines[2].startswith(f"joined    {len(rebuilt.joined)} new ones")
    assert lines[3:] == ["added     group 1"]
    parent, optimizer = trained()
    rebuilt = rebuild_optimizer(grown(parent), optimizer, groups={"*.acts.*": None})
    assert f"left out  {len(rebuilt.left_out)}: " in str(rebuilt)


def test_an_optimizer_that_takes_no_more_groups() -> None:
    class Fixed(torch.optim.SGD):
        def add_param_group(self, param_group: dict[str, object]) -> None:
            if len(self.param_groups) == 2:
                raise ValueError("two are enough")
            super().add_param_group(param_group)

    parent = small()
    groups = [{"params": parent.blocks.parameters()}, {"params": [*parent.stem.parameters(), *parent.fc.parameters()]}]
    optimizer = Fixed(groups, 0.1)
    refuse(grown(parent), optimizer, "does not accept a group for new parameters.*two are enough")
    rebuild_optimizer(grown(parent), optimizer, groups={"*.acts.*": None})
    assert len(optimizer.param_groups) == 2


def test_groups_are_checked() -> None:
    parent, optimizer = trained()
    refuse(grown(parent), optimizer, "no new parameter matches 'stem.*'", groups={"stem.*": 0, "*": 0})
    refuse(grown(parent), optimizer, "to group 1 .1 groups", groups={"*.acts.*": 1})


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch >= 2.9")
def test_muon_beside_another() -> None:
    parent = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    muon = torch.optim.Muon([parent[0].weight, parent[2].weight], 0.02)
    other = torch.optim.AdamW([parent[0].bias, parent[2].bias], 0.01)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    result = morph(parent, {"0": "1 > 1"}, example_inputs=x)
    refuse(result, muon, r"Muon trains matrices only.*'0.acts.\w+.weight'")
    rebuilt = rebuild_optimizer(result, muon, groups={"*.acts.*": None})
    slope = slopes(result.model)[0][0]
    assert rebuilt.left_out == (slope,)
    rebuilt = rebuild_optimizer(result, other, groups={"*.acts.*": 0})
    assert rebuilt.joined == {slope: 1}
    assert len(rebuilt.left_out) == 2
    trained_now = [p for o in (muon, other) for g in o.param_groups for p in g["params"]]
    assert {id(p) for p in trained_now} == {id(p) for p in result.model.parameters()}
    for optimizer in (muon, other):
        optimizer.zero_grad()
    result.model(x).square().mean().backward()
    for optimizer in (muon, other):
        optimizer.step()
