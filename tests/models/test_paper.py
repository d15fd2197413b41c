from itertools import pairwise

import pytest
import torch
from tests.models.shaken import shaken
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.models.opening import load
from netmorph.models.paper import check_reach, grow, name_of, parse_net
from netmorph.models.paper_net import nets_of
from netmorph.models.registry import build
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer
from netmorph.surgery.records.checkpoint import save
from netmorph.surgery.running.calibrate import has_newborn_norm
from netmorph.surgery.running.cost import cost

# Every path of Table 1's column "Intermediate Phases", the direct way of each, and some that the paper did not go.
PATHS = [
    ["1c1", "1c1_2branch_half", "1c1_2branch"],
    ["1c1", "3c1", "3c3"],
    ["1c1_half", "1c1"],
    ["3c1"],
    ["3c3"],
    ["1c1_2branch"],
    ["3c3_2branch_half"],
    ["3c1_2branch"],
    ["1c1_half", "3c1_2branch"],
    ["3c1_half", "3c3_2branch_half", "3c3_2branch"],
]
TWICE = PATHS[0], PATHS[1], PATHS[8]
CASES = [
    *((path, "calibrated") for path in PATHS),
    *((path, "neutral") for path in TWICE),
    *((path, "neutral, then calibrated") for path in TWICE),
]
X = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def small(seed: int = 1) -> nn.Module:
    return shaken(CifarResNet(20, width=4, num_classes=5).double(), seed).eval()


def names(path: list[str]) -> list[tuple[str, str]]:
    """Return the (source, target) of each phase."""
    return list(pairwise(["resnet20", *(f"morph20_{each}" for each in path)]))


@pytest.mark.parametrize(
    ("path", "calibrated"), CASES, ids=lambda part: part if isinstance(part, str) else " ".join(part)
)
def test_every_phase_is_exact_and_ends_in_the_named_network(path, calibrated):
    model = small()
    for phase, (source, target) in enumerate(names(path)):
        batches = [X] if calibrated == "calibrated" or (phase and "then" in calibrated) else None
        grown = grow(model, source, target, example_inputs=X, seed=phase, calibration=batches)
        with torch.no_grad():
            before, after = model.eval()(X), grown.model.eval()(X)
        assert (after - before).abs().max() <= 1e-10 * before.abs().max()
        assert grown.max_rel <= 1e-10
        assert grown.max_abs == max(step.parity.max_abs for step in grown.steps)
        named = build(f"netmorph:{target}", width=4, num_classes=5).double()
        assert cost(grown.model, X) == cost(named, X)
        assert grown.model.state_dict().keys() == named.state_dict().keys()
        model = shaken(grown.model, 10 + phase)  # trained on, before the next


def test_what_was_trained_goes_on_and_what_is_new_takes_part():
    model = small()
    first = shaken(grow(model, "resnet20", "morph20_1c1", example_inputs=X).model, 3)
    second = grow(first, "morph20_1c1", "morph20_1c1_2branch", example_inputs=X).model
    old, new = (net.layer2[2].shortcut.state_dict() for net in (first, second))
    assert all(value.equal(new[key]) for key, value in old.items())
    fresh = [value for key, value in new.items() if key not in old and key.endswith("weight") and value.dim() == 4]
    assert len(fresh) == 2
    assert all(value.abs().max() > 0.01 for value in fresh)


def test_one_step_where_one_is_enough():
    first = grow(small(), "resnet20", "morph20_1c1", example_inputs=X)
    second = grow(first.model, "morph20_1c1", "morph20_3c3", example_inputs=X)
    assert [len(step.sites) for step in (*first.steps, *second.steps)] == [6, 6]
    half = grow(small(), "resnet20", "morph20_1c1_half", example_inputs=X)
    both = grow(half.model, "morph20_1c1_half", "morph20_3c1_2branch", example_inputs=X)
    assert [len(step.sites) for step in (*half.steps, *both.steps)] == [3, 3, 3]


def test_every_step_goes_through_batches_that_come_only_once():
    model = grow(small(), "resnet20", "morph20_1c1_half", example_inputs=X, calibration=[X]).model
    once, again = (
        grow(model, "morph20_1c1_half", "morph20_3c1", example_inputs=X, calibration=batches)
        for batches in (iter([X]), [X])
    )
    assert len(once.steps) == 2
    assert once.max_rel <= 1e-10
    for name, value in once.model.state_dict().items():
        assert value.equal(again.model.state_dict()[name]), name


def test_batchnorm_stands_behind_every_new_convolution():
    grown = grow(small(), "resnet20", "morph20_1c1", example_inputs=X, calibration=[X]).model
    assert has_newborn_norm(grown.layer1[1].shortcut)
    for norm in grown.layer1[1].shortcut.norms.children():
        assert not norm.running_var.eq(1).any()  # measured
    neutral = grow(small(), "resnet20", "morph20_1c1", example_inputs=X).model
    for norm in neutral.layer1[1].shortcut.norms.children():
        assert norm.running_var.eq(1).all()


@pytest.mark.parametrize("depth", [18, 34])
def test_imagenet_networks_grow(depth):
    parent = shaken(build(f"netmorph:resnet{depth}", num_classes=3, width=4).double(), 1)
    x = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grown = grow(parent, f"resnet{depth}", f"morph{depth}_1c1", example_inputs=x, calibration=[x])
    assert grown.max_rel <= 1e-10
    assert cost(grown.model, x) == cost(build(f"netmorph:morph{depth}_1c1", num_classes=3, width=4).double(), x)


def test_a_copy_or_the_network_itself():
    model = small()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert grow(model, "resnet20", "morph20_1c1", example_inputs=X).model is not model
    assert before.keys() == model.state_dict().keys()
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert grow(model, "resnet20", "morph20_1c1", example_inputs=X, inplace=True).model is model
    assert before.keys() < model.state_dict().keys()


def test_the_seed_decides():
    one, same, other = (grow(small(), "resnet20", "morph20_1c1", example_inputs=X, seed=seed) for seed in (1, 1, 2))
    weights = [each.model.layer1[1].shortcut.edges.s_a.weight for each in (one, same, other)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


def test_two_names_of_one_architecture():
    model = shaken(CifarResNet(14, width=4).double(), 1)
    half = grow(model, "resnet14", "morph14_1c1_half", example_inputs=X)
    whole = grow(half.model, "morph14_1c1_half", "morph14_1c1", example_inputs=X)
    assert (whole.steps, whole.max_abs, whole.max_rel) == ((), 0.0, 0.0)
    assert whole.model is not half.model


@pytest.mark.parametrize("inplace", [False, True])
def test_the_optimizer_goes_along_through_all_steps(inplace):
    model = grow(small(), "resnet20", "morph20_1c1_half", example_inputs=X).model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(X).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    grown = grow(model, "morph20_1c1_half", "morph20_3c1_2branch", example_inputs=X, inplace=inplace)
    assert len(grown.steps) == 2
    for step in grown.steps:
        rebuild_optimizer(step, optimizer)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in grown.model.parameters()}
    assert "momentum_buffer" in optimizer.state[grown.model.conv1.weight]


def test_a_grown_network_is_saved_without_naming_its_parent(tmp_path):
    model = shaken(build("netmorph:resnet14", width=4, num_classes=5).double(), 1)
    for source, target in [("resnet14", "morph14_1c1"), ("morph14_1c1", "morph14_1c1_2branch")]:
        model = grow(model, source, target, example_inputs=X, calibration=[X]).model
    save(model, tmp_path / "child")
    again = load(tmp_path / "child")
    with torch.no_grad():
        assert again.eval()(X).equal(model.eval()(X))
    grown = grow(again, "morph14_1c1_2branch", "morph14_3c1_2branch", example_inputs=X)
    assert grown.max_rel <= 1e-10


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("resnet26", "morph20_1c1", "depths differ.*grow it from resnet20"),
        ("morph20_1c1", "resnet20", "resnet20 cannot be grown from morph20_1c1"),
        ("morph20_3c1", "morph20_1c1", "less than that"),
        ("morph20_1c1", "morph20_1c1_half", "less than that"),
        ("morph20_1c1_2branch", "morph20_1c1_2branch_half", "less than that"),
        ("morph20_1c1", "morph20_3c1_half", "less than that"),
        ("morph20_1c1", "morph20_1c1_2branch", r"not a morph20_1c1 .*layer1\.1\.shortcut.*found Identity"),
        ("resnet14", "morph14_1c1", r"not a resnet14: 'layer1\.2\.shortcut' is superfluous"),
        ("resnet32", "morph32_1c1", r"not a resnet32: 'layer1\.3\.shortcut' is missing"),
        ("resnet18", "morph18_1c1", "not a resnet18"),
        ("resnet20", "morph20_2c2", "not a network of the paper"),
    ],
)
def test_what_cannot_be_grown_is_refused_before_any_work(source, target, said):
    model = small()
    with pytest.raises(NetmorphError, match=said):
        grow(model, source, target, example_inputs=X, inplace=True)
    assert all(type(model.get_submodule(place.name)) is nn.Identity for place in parse_net("morph20_1c1").places)


def test_another_morph_than_the_paper_s_is_refused():
    plain = build("netmorph:morph20_1c1", width=4, shortcut_scale=1.0).double()
    with pytest.raises(NetmorphError, match=r"expected 0\.5\*id \| 1x1 > 1x1, found id \| 1x1 > 1x1"):
        grow(plain, "morph20_1c1", "morph20_3c1", example_inputs=X)


@pytest.mark.parametrize("depth", [14, 20])
def test_a_network_is_told_by_its_shortcuts(depth):
    nets = nets_of(depth)
    assert len(nets) == 13
    found = [name_of(build(f"netmorph:{net.name}", num_classes=3), depth) for net in nets]
    same = [(parse_net(name).kernels, parse_net(name).places) for name in found]
    assert same == [(net.kernels, net.places) for net in nets]
    assert len(set(found)) == (13 if depth == 20 else 7)  # two blocks a stage: half of the rest is all of it


def test_a_network_of_no_name_is_told_so():
    for model in (build("netmorph:morph14_1c1", shortcut_scale=1.0), build("netmorph:resnet20"), nn.Linear(2, 2)):
        with pytest.raises(NetmorphError, match="neither a resnet14"):
            name_of(model, 14)


def test_reach_needs_no_network():
    check_reach("resnet20", "morph20_3c3_2branch")
    with pytest.raises(NetmorphError, match="grow it from resnet20"):
        check_reach("morph20_3c1", "morph20_1c1")
