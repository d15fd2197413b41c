"""Identity shortcuts for which no module stands: found by proof, morphed, saved, and left alone where refused."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from tests.surgery.networks import left_alone, scripted, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torchvision.models.convnext import CNBlock
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.vision_transformer import EncoderBlock

from netmorph.errors import InfeasibleMorph, NetmorphError, SiteError
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.nn import MorphedModule
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.plan import plan
from netmorph.surgery.records.checkpoint import load, save
from netmorph.surgery.shortcuts import blocks
from netmorph.surgery.sites.find import find_sites


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shortcuts(model: nn.Module, x: Any) -> dict[str, tuple[int, int]]:
    """Return width and spatial dimensions of the shortcuts that no module stands for."""
    return {site.name: (site.spec.c_in, site.spec.dims) for site in find_sites(model, x) if site.slot is not None}


def resnet() -> nn.Module:
    with torch.random.fork_rng():
        return seeded(torchvision.models.resnet.ResNet(torchvision.models.resnet.BasicBlock, [2, 1, 1, 1]))


def mobile() -> nn.Module:
    with torch.random.fork_rng():
        return seeded(nn.Sequential(nn.Conv2d(3, 8, 1), InvertedResidual(8, 8, 1, 2), InvertedResidual(8, 12, 2, 2)))


def vit() -> nn.Module:
    with torch.random.fork_rng():
        layer = EncoderBlock(2, 8, 16, dropout=0.1, attention_dropout=0.0)
        return seeded(nn.Sequential(nn.Linear(4, 8), layer))


def swin() -> nn.Module:
    with torch.random.fork_rng():
        return seeded(nn.Sequential(nn.Linear(4, 8), SwinTransformerBlock(8, 2, [2, 2], [1, 1])))


def convnext() -> nn.Module:
    with torch.random.fork_rng():
        return seeded(nn.Sequential(nn.Conv2d(3, 8, 1), CNBlock(8, 1e-1, 0.5)))


# (network, input, shortcuts with their width and dimensions, graph)
NETWORKS = [
    pytest.param(
        resnet, (1, 3, 32, 32), {"layer1.0.downsample": (64, 2), "layer1.1.downsample": (64, 2)}, id="empty slots"
    ),
    pytest.param(mobile, (2, 3, 6, 5), {"1.shortcut": (8, 2)}, id="inverted residual"),
    pytest.param(vit, (2, 5, 4), {"1.shortcut": (8, 0), "1.shortcut_2": (8, 0)}, id="tokens"),
    pytest.param(swin, (2, 4, 8, 4), {"1.shortcut": (8, 0), "1.shortcut_2": (8, 0)}, id="maps, channels last"),
    pytest.param(convnext, (2, 3, 6, 5), {"1.shortcut": (8, 2)}, id="maps beside linear layers"),
]


@pytest.mark.parametrize(("make", "shape", "expected"), NETWORKS)
def test_shortcuts_of_known_blocks(make: Callable[[], nn.Module], shape: tuple[int, ...], expected: object) -> None:
    model = make()
    with left_alone(model):
        assert shortcuts(model, drawn(*shape)) == expected
    assert not [site for site in find_sites(model, drawn(*shape), shortcuts=False) if site.slot is not None]


@pytest.mark.parametrize("graph", ["0.5*id | 1x1 > 1x1", "1x1 > 1x1 | 1x1 > 1x1"])
@pytest.mark.parametrize(("make", "shape", "expected"), NETWORKS)
def test_shortcuts_morph_exactly_and_are_loaded_without_examples(
    make: Callable[[], nn.Module], shape: tuple[int, ...], expected: dict[str, Any], graph: str, tmp_path: Path
) -> None:
    parent, x = make(), drawn(*shape)
    graph = graph if expected[next(iter(expected))][1] else graph.replace("1x1", "1")
    with left_alone(parent):
        result = morph(parent, dict.fromkeys(expected, graph), example_inputs=x)
    assert result.parity.exact
    assert [site.name for site in result.sites] == list(expected)
    child = result.model
    assert all(isinstance(child.get_submodule(name), MorphedModule) for name in expected)
    assert [key for key in child.state_dict() if key in parent.state_dict()] == list(parent.state_dict())
    save(child, tmp_path / "child")
    again = load(tmp_path / "child", into=make())
    assert torch.equal(again.eval()(x), child.eval()(x))
    assert list(again.state_dict()) == list(child.state_dict())
    assert {type(module).__qualname__ for module in again.modules()} >= {type(m).__qualname__ for m in parent.modules()}


def test_a_shortcut_may_grow_a_kernel() -> None:
    for make, name in ((resnet, "layer1.*.downsample"), (mobile, "*.shortcut")):
        x = drawn(1, 3, 32, 32)
        result = morph(make(), {name: "0.5*id | 3x3 > 1x1"}, example_inputs=x)
        assert result.parity.exact
        assert all(site.graph.edges[1].kernel for site in result.sites)


def test_sites_lie_behind_all_that_their_blocks_hold() -> None:
    names = find_sites(nn.Sequential(vit()), drawn(2, 5, 4)).names
    assert names == ("0.0", "0.1.mlp.0", "0.1.mlp.3", "0.1.shortcut", "0.1.shortcut_2")


def test_shapes_and_positions_of_a_large_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_MOST_ELEMENTS", 100)
    site = find_sites(mobile(), drawn(7, 3, 6, 5))["1.shortcut"]
    assert (site.input_shape, site.positions, site.dtype) == ((7, 8, 6, 5), 210, torch.float32)


def test_a_plan_counts_them() -> None:
    planned = plan(mobile(), {"1.shortcut": "0.5*id | 1x1 > 1x1"}, example_inputs=drawn(2, 3, 6, 5))
    assert planned.feasible
    assert planned.cost.after.params - planned.cost.before.params == 128


def test_a_netmorph_block_has_a_module_there() -> None:
    model = CifarResNet(8)
    assert find_sites(model, drawn(1, 3, 8, 8)).select("*.shortcut").names == ("layer1.0.shortcut",)
    assert not shortcuts(model, drawn(1, 3, 8, 8))


# --- what a rewritten block is


def test_a_rewritten_block_is_still_its_class() -> None:
    parent = mobile()
    parent[1].note, calls = "kept", []
    handle = parent[1].register_forward_hook(lambda *_: calls.append(1))
    child = morph(parent, {"*.shortcut": "0.5*id | 1x1 > 1x1"}, example_inputs=drawn(2, 3, 6, 5)).model
    block = child[1]
    assert isinstance(block, InvertedResidual)
    assert (type(block).__name__, block.note, block.use_res_connect) == ("InvertedResidual", "kept", True)
    assert list(dict(block.named_children())) == ["conv", "shortcut"]
    calls.clear()
    child(drawn(2, 3, 6, 5))
    assert calls == [1]
    handle.remove()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_rewritten_block_can_be_copied(duplicate: Callable[[nn.Module], nn.Module]) -> None:
    x = drawn(2, 5, 4)
    child = morph(vit(), {"1.shortcut_2": "1 > 1 | 1"}, example_inputs=x).model.eval()
    twin = duplicate(child)
    assert torch.equal(twin(x), child(x))
    assert list(twin.state_dict()) == list(child.state_dict())
    with torch.no_grad():
        next(twin[1].shortcut_2.parameters()).mul_(2)
    assert not torch.equal(twin(x), child(x))


def test_a_second_morph_of_the_same_block(tmp_path: Path) -> None:
    x = drawn(2, 5, 4)
    first = morph(vit(), {"1.shortcut_2": "1 > 1"}, example_inputs=x).model
    names = [site.name for site in find_sites(first, x) if site.slot is not None]
    assert names == ["1.shortcut"]
    second = morph(first, {"1.shortcut": "0.5*id | 1 > 1"}, example_inputs=x, inplace=True)
    assert second.model is first
    assert second.parity.exact
    save(first, tmp_path / "child")
    assert torch.equal(load(tmp_path / "child", into=vit()).eval()(x), first.eval()(x))


@pytest.mark.filterwarnings("ignore")
def test_a_rewritten_block_compiles_without_a_break() -> None:
    x = drawn(2, 5, 4)
    child = morph(vit(), {"1.shortcut*": "0.5*id | 1 > 1"}, example_inputs=x).model.eval()
    compiled = torch.compile(child, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), child(x), atol=1e-6)


def test_every_new_parameter_learns() -> None:
    x = drawn(2, 3, 6, 5)
    child = morph(mobile(), {"*.shortcut": "0.5*id | 1x1 > 1x1"}, example_inputs=x).model.train()
    child(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in child[1].shortcut.parameters())


# --- in place, and back


class Slotted(nn.Module):
    """A block with an attribute for its shortcut that holds None, as a module's slot or not."""

    def __init__(self, *, registered: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.downsample: nn.Module | None
        if registered:
            self.register_module("downsample", None)
        else:
            self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.downsample is None else self.downsample(x)
        return self.bn(self.conv(x)) + short


@pytest.mark.parametrize("registered", [True, False])
def test_a_failed_morph_leaves_empty_slots_empty(registered: bool) -> None:
    model, x = nn.Sequential(Slotted(registered=registered)), drawn(2, 4, 5, 5)
    with left_alone(model), pytest.raises(InfeasibleMorph):
        morph(model, {"*.downsample": "1x1 > 1x1", "*.conv": "1x1 > 1x1"}, example_inputs=x, inplace=True)
    assert ("downsample" in model[0]._modules) == registered
    assert model[0].downsample is None
    result = morph(model, {"*.downsample": "1x1 > 1x1"}, example_inputs=x, inplace=True)
    assert result.model is model
    assert isinstance(model[0].downsample, MorphedModule)


def test_a_failed_morph_leaves_blocks_as_they_were() -> None:
    model, x = vit(), drawn(2, 5, 4)
    with left_alone(model), pytest.raises(InfeasibleMorph):
        morph(model, {"1.shortcut*": "1 > 1", "0": "1:1 > 1"}, example_inputs=x, inplace=True)
    assert type(model[1]) is EncoderBlock
    morph(model, {"1.shortcut": "1 > 1"}, example_inputs=x, inplace=True)
    changed = type(model[1])
    with left_alone(model), pytest.raises(InfeasibleMorph):
        morph(model, {"1.shortcut_2": "1 > 1", "0": "1:1 > 1"}, example_inputs=x, inplace=True)
    assert type(model[1]) is changed


def test_a_training_model_stays_in_its_modes() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Slotted()).train()
    model[1].eval()
    child = morph(model, {"1.downsample": "1x1 > 1x1"}, example_inputs=drawn(2, 3, 5, 5)).model
    assert [module.training for module in (child, child[0], child[1], child[1].downsample)] == [
        True,
        True,
        False,
        False,
    ]


# --- what is no shortcut, or cannot be one


class Branch(nn.Module):
    """`x + conv(x)`, to be varied."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.conv(x))


class ReadsTraining(Branch):
    def forward(self, x: Tensor) -> Tensor:
        return x + F.dropout(self.conv(x), 0.5, self.training)


class BranchesOnValues(Branch):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if x.mean() < 9 else x


class OverwritesInput(Branch):
    def forward(self, x: Tensor) -> Tensor:
        x += self.conv(x)
        return x


class OverwritesNeeded(Branch):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z = y
        z += self.conv(y)
        return y * z


class Broadcasts(Branch):
    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return mean + self.conv(mean).expand_as(x)


class Remembers(Branch):
    def forward(self, x: Tensor) -> Tensor:
        self.last = self.conv(x)
        return x + self.last


class Counts(Branch):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) * torch.tensor(2.0)


class FreezesPart(Branch):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.conv(x)
        return x + y


class FreezesAll(Branch):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class WantsGradients(Branch):
    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            y = self.conv(x)
        return x + y


class WantsPrecision(Branch):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            y = self.conv(x.float())
        return x + y


class SkipsAtTimes(Branch):
    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.rand(1).item() < 0.5:
            return x
        return x + self.conv(x)


class SkipsByPython(Branch):
    def forward(self, x: Tensor) -> Tensor:
        return x if random.random() < 0 else x + self.conv(x)


class SkipsByNumpy(Branch):
    def forward(self, x: Tensor) -> Tensor:
        return x if np.random.rand() < 0 else x + self.conv(x)


class Logs(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.log: dict[str, list[Tensor]] = {"means": []}

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        self.log["means"].append(y.mean())
        return x + y


class Variadic(Branch):
    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0] + self.conv(inputs[0])


class Crowded(Branch):
    shortcut = residual = identity = None


REFUSED = [
    pytest.param(ReadsTraining, "not the same in train and in eval mode", id="self.training"),
    pytest.param(BranchesOnValues, "torch.fx cannot trace its code: TraceError", id="control flow"),
    pytest.param(OverwritesInput, "add in place to a tensor used elsewhere", id="input overwritten"),
    pytest.param(OverwritesNeeded, "add in place to a tensor used elsewhere", id="needed operand overwritten"),
    pytest.param(Broadcasts, "another shape than the sum", id="broadcast"),
    pytest.param(Remembers, "stores something on the block", id="state"),
    pytest.param(Counts, "stores something on the block", id="new constant"),
    pytest.param(Logs, "stores something on the block", id="a list"),
    pytest.param(FreezesPart, "switches gradients or autocast", id="no_grad"),
    pytest.param(FreezesAll, "switches gradients or autocast", id="no_grad around it"),
    pytest.param(WantsGradients, "switches gradients or autocast", id="enable_grad"),
    pytest.param(WantsPrecision, "switches gradients or autocast", id="autocast"),
    pytest.param(SkipsAtTimes, "draws random numbers", id="stochastic depth"),
    pytest.param(SkipsByPython, "draws random numbers", id="Python's random"),
    pytest.param(SkipsByNumpy, "draws random numbers", id="numpy's random"),
    pytest.param(Variadic, "variable number of arguments", id="variadic"),
    pytest.param(Crowded, "has attributes called 'shortcut', 'residual', 'identity' already", id="names"),
]


@pytest.mark.parametrize(("kind", "reason"), REFUSED)
def test_blocks_that_are_refused(kind: type[nn.Module], reason: str) -> None:
    model, x = nn.Sequential(kind()), drawn(2, 4, 5, 5)
    with left_alone(model):
        sites = find_sites(model, x)
    assert not [site for site in sites if site.slot is not None]
    assert reason in sites.refused["0.shortcut"]
    with pytest.raises(SiteError, match="cannot be morphed"):
        morph(model, {"0.shortcut": "1x1 > 1x1"}, example_inputs=x)


def test_tracing_leaves_no_proxies_and_no_autocast() -> None:
    model = nn.Sequential(Logs())
    find_sites(model, drawn(2, 4, 5, 5))
    assert model[0].log == {"means": []}
    assert not torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cuda")


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (torchvision.models.resnet18, 5),
        (torchvision.models.mobilenet_v2, 10),
        (torchvision.models.efficientnet_b0, 9),
        (torchvision.models.convnext_tiny, 18),
        (torchvision.models.swin_t, 24),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_torchvisions_shortcuts_are_found(make: Callable[..., nn.Module], count: int) -> None:
    sites = find_sites(make(num_classes=4), drawn(1, 3, 64, 64))
    assert len([site for site in sites if site.slot is not None]) == count


class Adds(nn.Module):
    """Adds what it is given, as DLA's blocks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        if shortcut is None:
            shortcut = x
        out = self.conv(x)
        out += shortcut
        return out


class Tree(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = Adds(), Adds()

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x, x))


def test_a_residual_that_enters_as_an_argument_is_refused() -> None:
    sites = find_sites(Tree(), drawn(1, 4, 3, 3))
    assert "enters the block as the argument 'shortcut'" in sites.refused["one.shortcut"]
    assert "two.shortcut" in sites.names


def test_a_block_that_is_called_in_several_ways_is_refused() -> None:
    class Mixed(Tree):
        def forward(self, x: Tensor) -> Tensor:
            return self.one(self.one(x), x)

    assert find_sites(Mixed(), drawn(1, 4, 3, 3)).refused["one.shortcut"] == "its block is called in several ways"


def test_additions_that_are_no_shortcuts_are_passed_over() -> None:
    class Sums(Branch):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum() > 0:  # cannot be traced, and adds nothing to its input
                x = x * 1
            return self.conv(x) + self.conv(2 * x) + torch.ones(4, 1, 1)

    class Positions(Branch):
        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x + torch.ones_like(x)) + 1

    for kind in (Sums, Positions):
        sites = find_sites(nn.Sequential(kind()), drawn(1, 4, 3, 3))
        assert (sites.names, sites.refused) == (("0.conv",), {})


def test_one_of_several_shortcuts_may_be_refused() -> None:
    class Two(Branch):
        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean((2, 3), keepdim=True)
            x = mean + self.conv(mean).expand_as(x)
            return x + self.drop(self.conv(x))

    sites = find_sites(nn.Sequential(Two()), drawn(1, 4, 3, 3))
    assert "another shape than the sum" in sites.refused["0.shortcut"]
    assert sites.select("*.shortcut*").names == ("0.shortcut_2",)


class Lookalikes(nn.Module):
    """Attributes that hold None, none of them on a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.skip_never = self.proj_branch = self.short_twice = self.down_other = self.ident_raises = None
        self.shortcut_scaled = self.proj_mode = self.other = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        for name in ("proj_branch", "short_twice", "short_twice"):
            y = y if getattr(self, name) is None else getattr(self, name)(y if name == "proj_branch" else x) * 1
        if self.down_other is not None:
            self.down_other(x[:, :2])
        if self.ident_raises is not None:
            raise ValueError("no projection here")
        if self.proj_mode is not None and self.training:
            y = self.proj_mode(y)
        return x + y if self.shortcut_scaled is None else self.shortcut_scaled(x) + 2 * y


def test_empty_attributes_that_are_no_slots() -> None:
    model = nn.Sequential(Lookalikes())
    with left_alone(model):
        found = shortcuts(model, drawn(1, 4, 3, 3))
    assert found == {"0.shortcut": (4, 2)}  # of the addition, where no attribute stands


def test_a_block_with_an_empty_attribute_and_no_addition() -> None:
    class Chain(Branch):
        def __init__(self) -> None:
            super().__init__()
            self.skip = None

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) if self.skip is None else self.conv(self.skip(x))

    with left_alone(model := nn.Sequential(Chain())):
        sites = find_sites(model, drawn(1, 4, 3, 3))
    assert (sites.names, sites.refused) == (("0.conv",), {})


def test_a_rewritten_block_that_is_called_otherwise() -> None:
    class Powers(Branch):
        def forward(self, x: Tensor, power: int = 1) -> Tensor:
            x = x + self.conv(x) ** power
            return x + self.drop(self.conv(x))

    child = morph(Powers(), {"shortcut": "1x1 > 1x1"}, example_inputs=drawn(1, 4, 3, 3)).model
    assert "shortcut_2" in find_sites(child, drawn(1, 4, 3, 3)).names
    refused = find_sites(child, (drawn(1, 4, 3, 3), 1)).refused
    assert "rewritten before, for another way of calling it" in refused["shortcut_2"]


def test_bitwise_equality() -> None:
    x = torch.tensor([1.0, float("nan"), float("inf")])
    assert blocks.same(x, x.clone())
    assert not blocks.same(x, x + 1)
    assert not blocks.same(x, x.double())
    assert not blocks.same(x, x[:2])


def test_a_slot_in_a_block_that_raises_in_train_mode() -> None:
    assert shortcuts(nn.Sequential(Slotted()), drawn(1, 4, 1, 1)) == {"0.downsample": (4, 2)}


def test_blocks_that_cannot_run_alone_are_refused() -> None:
    class Fragile(Branch):
        def __init__(self) -> None:
            super().__init__()
            self.ready: list[int] = []

        def forward(self, x: Tensor) -> Tensor:
            self.ready.pop()
            return x + self.conv(x)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Fragile()

        def forward(self, x: Tensor) -> Tensor:
            self.block.ready.append(1)
            return self.block(x)

    sites = find_sites(Whole(), drawn(1, 4, 3, 3))
    assert "torch.fx cannot trace its code: IndexError" in sites.refused["block.shortcut"]


def test_what_cannot_be_copied_cannot_be_tried() -> None:
    class Handle:
        def __deepcopy__(self, memo: dict[int, object]) -> object:
            raise TypeError("no copies")

    class Handled(Branch):
        def forward(self, x: Tensor, handle: Handle) -> Tensor:
            return x + self.conv(x)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Handled()

        def forward(self, x: Tensor) -> Tensor:
            return self.block(x, Handle())

    assert find_sites(Whole(), drawn(1, 4, 3, 3)).names == ("block.conv",)


def test_shared_wrapped_scripted_and_parametrized_blocks_are_left_out() -> None:
    shared = Branch()
    replaced = Branch()
    replaced.forward = lambda x: x + replaced.conv(x)
    special = Branch()
    special.weight = nn.Parameter(torch.ones(4))
    parametrize.register_parametrization(special, "weight", nn.Identity())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(shared, shared, scripted(Branch()), replaced, special, torch.compile(Branch()))
    assert blocks.blocks_of(model) == {"5": model[5]} or not blocks.blocks_of(model)
    assert not shortcuts(nn.Sequential(shared, shared, replaced, special), drawn(1, 4, 3, 3))


def test_the_model_itself_may_be_the_block() -> None:
    model, x = Branch(), drawn(1, 4, 3, 3)
    assert shortcuts(model, x) == {"shortcut": (4, 2)}
    result = morph(model, {"shortcut": "3x3 > 1x1"}, example_inputs=x)
    assert result.parity.exact
    assert type(model) is Branch
    assert isinstance(result.model.shortcut, MorphedModule)


def test_a_name_that_is_taken() -> None:
    class Named(Branch):
        def __init__(self) -> None:
            super().__init__()
            self.shortcut = "none"

    assert list(shortcuts(nn.Sequential(Named()), drawn(1, 4, 3, 3))) == ["0.residual"]


# --- checkpoints


def test_a_parent_without_the_place(tmp_path: Path) -> None:
    for make, shape, name in ((vit, (2, 5, 4), "1.shortcut_2"), (resnet, (1, 3, 32, 32), "layer1.0.downsample")):
        graph = "1 > 1" if make is vit else "1x1 > 1x1"
        save(morph(make(), {name: graph}, example_inputs=drawn(*shape)).model, tmp_path / "child")
        for parent, message in (
            (nn.Sequential(nn.Linear(4, 8), Adds()), "has no|cannot trace"),
            (nn.Linear(1, 1), "no such place"),
        ):
            with left_alone(parent), pytest.raises(NetmorphError, match=message):
                load(tmp_path / "child", into=parent)
        taken = make()
        setattr(taken.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], nn.ReLU())
        with left_alone(taken), pytest.raises(NetmorphError, match="has no"):
            load(tmp_path / "child", into=taken)


# --- other libraries


def test_timms_blocks() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet10t", num_classes=2)
    assert shortcuts(model, drawn(1, 3, 32, 32)) == {"layer1.0.downsample": (64, 2)}
    model = timm.create_model("dla34", num_classes=2)
    sites = find_sites(model, drawn(1, 3, 32, 32))
    refused = {name for name, why in sites.refused.items() if "enters the block as the argument" in why}
    assert "level2.tree1.shortcut" in refused
    assert shortcuts(model, drawn(1, 3, 32, 32))["level2.tree2.shortcut"] == (64, 2)
