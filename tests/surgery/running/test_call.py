import copy
import random
from collections import deque, namedtuple

import numpy as np
import pytest
import torch
from tests.surgery.networks import images, left_alone, scripted, small
from torch import nn

from netmorph.errors import SiteError
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.growth.find_reader import follow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.plan import plan
from netmorph.surgery.parity.network import verify
from netmorph.surgery.running import restore as kept
from netmorph.surgery.running.call import Call, describe, fixed_rng, reason, undisturbed
from netmorph.surgery.running.cost import cost
from netmorph.surgery.sites.find import find_sites

Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("example", "args", "kwargs"),
    [
        (1, 1, 0),
        ((1, 2), 2, 0),
        ([1, 2], 1, 0),
        ({"x": 1, "y": 2}, 0, 2),
        ({1: 2}, 1, 0),
        (Pair(1, 2), 1, 0),
    ],
    ids=["one", "tuple", "list", "dict", "dict without names", "named tuple"],
)
def test_example_inputs_become_arguments(example: object, args: int, kwargs: int) -> None:
    call = Call.of(example)
    assert (len(call.args), len(call.kwargs)) == (args, kwargs)
    assert Call.of(call) is call


def test_the_model_may_write_on_its_inputs() -> None:
    x = {"x": torch.zeros(3), "more": [torch.zeros(2), (torch.zeros(1), "text")]}

    class Writer(nn.Module):
        def forward(self, x: torch.Tensor, more: list) -> torch.Tensor:
            more[1][0].add_(1)
            return x.add_(1)

    assert Call.of(x).run(Writer()).sum() == 3
    assert x["x"].sum() == 0
    assert x["more"][1][0].sum() == 0


def test_inputs_with_a_gradient_are_cloned_without_it() -> None:
    x = (torch.ones(2, requires_grad=True) * 2,)
    assert not Call.of(x).run(nn.Identity()).requires_grad


def test_what_the_model_raised_is_told_with_shapes() -> None:
    with pytest.raises(
        SiteError, match=r"RuntimeError: .*channels.*\(2, 4, 8, 8\) float32.*Remedy: pass example_inputs"
    ):
        Call.of(torch.zeros(2, 4, 8, 8)).run(small())


def test_descriptions_of_odd_arguments() -> None:
    call = Call.of({"x": [torch.zeros(2), 3], "y": None})
    assert describe(call) == "(x=[(2,) float32, int], y=NoneType)"
    assert reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x" * 1000))) == 300


def test_map_changes_every_tensor() -> None:
    call = Call.of(({"a": [torch.ones(1)]}, torch.ones(1), 3)).map(lambda t: t + 1)
    assert call.args[0]["a"][0] == call.args[1] == 2
    assert call.args[2] == 3


def test_a_run_leaves_no_trace() -> None:
    model = small().train()
    model.blocks[0].eval()
    model(images()).sum().backward()
    with left_alone(model), undisturbed(model):
        model.train()
        model(images())
        model.blocks[0].seen = 3
        model.blocks[0].bn1.running_mean = torch.ones(8)
        model.fc.weight = nn.Parameter(torch.zeros(5, 8))


def test_the_random_numbers_are_the_same_every_time() -> None:
    draws = []
    for _ in range(2):
        torch.rand(1), random.random(), np.random.rand()
        with fixed_rng():
            draws.append((float(torch.rand(1)), random.random(), np.random.rand()))
    assert draws[0] == draws[1]


def test_autocast_is_off_inside() -> None:
    layer = nn.Linear(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.zeros(1, 2)).dtype is torch.bfloat16
        with undisturbed(layer):
            assert layer(torch.zeros(1, 2)).dtype is torch.float32


def test_scripted_modules_keep_their_mode() -> None:
    model = scripted(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    with undisturbed(model):
        model.eval()
    assert model.training


class Remembers(nn.Module):
    """Writes to whatever it holds each time that it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.code = nn.Linear(3, 3), nn.Parameter(torch.zeros(3), requires_grad=False)
        self.calls, self.cache, self.log, self.last = [0], {"nested": [1]}, {1}, deque([1, 2], 2)
        self.own = torch.Generator().manual_seed(1), random.Random(1), np.random.default_rng(1)
        self.torch, self.python, self.numpy = self.own

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x)
        self.calls[0] += 1
        self.cache["y"] = self.cache["nested"].append(2)
        self.log.add(2)
        self.last.append(3)
        if self.training:
            with torch.no_grad():
                self.code += 1
        drawn = torch.rand(1, generator=self.torch) + self.python.random() + self.numpy.random()
        return y + drawn.float() + self.code + self.calls[0]


def test_what_a_model_holds_is_left_as_it_is() -> None:
    """Counters in lists, caches, codebooks and random generators of a model's own."""
    model, x = Remembers(), torch.randn(4, 3)
    draws = (torch.rand(1, generator=copy.deepcopy(model).torch), copy.deepcopy(model.own[1]).random())
    with left_alone(model):
        assert morph(model, {"fc": "1 > 1"}, example_inputs=x).parity.deterministic
        assert cost(model, x).macs == 36
    assert (model.calls, model.cache, model.log, list(model.last)) == ([0], {"nested": [1]}, {1}, [1, 2])
    assert draws == (torch.rand(1, generator=model.torch), model.python.random())
    assert model.numpy.random() == np.random.default_rng(1).random()


class Graph(nn.Module):
    """Holds a sparse adjacency matrix, and a memory that grows."""

    def __init__(self, layout: torch.layout, grows: bool = False) -> None:
        super().__init__()
        self.fc, self.bn, self.grows = nn.Linear(3, 3), nn.BatchNorm1d(3), grows
        self.register_buffer("adjacency", torch.eye(4).to_sparse(layout=layout))
        self.register_buffer("memory", torch.zeros(1, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.grows:
            self.memory.data = torch.cat([self.memory, x])
        return self.bn(torch.sparse.mm(self.adjacency, self.fc(x))) + self.memory.mean(0)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_buffers_are_left_as_they_are(layout: torch.layout) -> None:
    model, x = Graph(layout).train(), torch.randn(4, 3)
    assert [site.name for site in find_sites(model, x)] == ["fc"]
    assert verify(model, model, x).train_max_rel == 0
    assert morph(model, {"fc": "1 > 1"}, example_inputs=x, inplace=True).parity.exact
    assert all(module.training for module in model.modules())
    assert torch.equal(model.adjacency.to_dense(), torch.eye(4))
    assert model.bn.num_batches_tracked == 0


def test_buffers_that_become_another_kind_of_tensor_are_put_back() -> None:
    model = nn.BatchNorm1d(3).double()
    with left_alone(model), undisturbed(model):
        model.running_mean.data = model.running_mean.float()
    assert model.running_mean.dtype is torch.float64


def test_a_buffer_that_grows_is_put_back() -> None:
    model = Graph(torch.sparse_coo, grows=True)
    verify(model, model, torch.randn(4, 3))
    assert model.memory.shape == (1, 3)


def test_all_is_put_back_though_one_part_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tensor: torch.Tensor, values: torch.Tensor) -> None:
        raise NotImplementedError

    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3)).train()
    monkeypatch.setattr(kept, "_write", fail)
    with pytest.raises(NotImplementedError), undisturbed(model):
        model.eval()
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("verb", ["morph", "plan", "verify", "cost", "widen"])
def test_layers_without_a_shape_are_refused(verb: str) -> None:
    """Their first run would be ours, and what it makes of them cannot be undone."""
    model, x = nn.Sequential(nn.Conv2d(3, 3, 1), nn.LazyConv2d(2, 1)), images()
    verbs = {
        "morph": lambda: morph(model, {"0": "1x1 > 1x1"}, example_inputs=x),
        "plan": lambda: plan(model, {"0": "1x1 > 1x1"}, example_inputs=x),
        "verify": lambda: verify(model, model, x),
        "cost": lambda: cost(model, x),
        "widen": lambda: widen(model, "0", example_inputs=x),
    }
    with pytest.raises(SiteError, match=r"lazily initialised layers: LazyConv2d.*Remedy: run the model once on data"):
        verbs[verb]()
    assert [site.name for site in find_sites(model, x)] == ["0"]
    assert model[1].has_uninitialized_params()
    assert model[1].in_channels == 0


def test_lazy_norms_cannot_be_copied() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.LazyBatchNorm2d())
    with pytest.raises(SiteError, match="lazily initialised layers: LazyBatchNorm2d"):
        find_sites(model, images())
    assert model[1].has_uninitialized_params()


def test_what_is_made_in_inference_mode_learns() -> None:
    parent = small()
    with torch.inference_mode():
        x = images()
        child = morph(parent, {"stem": "3x3 > 1x1", "fc": "1 > 1"}, example_inputs=x, act=None).model
        wide = widen(child, "blocks.0.conv1", example_inputs=x)
        plain = collapse(wide.model, example_inputs=x).model
        assert torch.is_inference_mode_enabled()
    for model in (child, wide.model, plain):
        assert not any(tensor.is_inference() for tensor in model.state_dict().values())
        model(images()).sum().backward()


class Frozen(nn.Module):
    """Keeps its norm in eval mode by an override of `train` that returns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def train(self, mode: bool = True) -> None:
        super().train(mode)
        self.bn.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.bn(self.conv(x))


def test_train_may_return_nothing() -> None:
    model, x = Frozen(), images()
    with left_alone(model):
        assert verify(model, model, x).train_max_rel == 0
        assert cost(model, x).macs == 9 * x.shape[0] * 256
        assert follow(model, Call.of(x), "conv", None)
        assert morph(model, {"conv": "1x1 > 1x1", "shortcut": "1x1 > 1x1"}, example_inputs=x).parity.exact


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning", "ignore:.*deprecated:DeprecationWarning")
def test_models_that_know_no_mode_are_run_as_they_are() -> None:
    """Frozen TorchScript has no attribute `training`; what was exported refuses `eval` and `train`."""
    model, x = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval(), images()
    frozen = torch.jit.freeze(scripted(model))
    assert verify(model, frozen, x).max_rel < 1e-6
    assert not hasattr(frozen, "training")
    exported = torch.export.export(model, (x,)).module()
    modes = [module.training for module in exported.modules()]
    parity = verify(model, exported, x)
    assert parity.max_rel < 1e-6
    assert "cannot be put in train mode: NotImplementedError" in parity.note
    assert [module.training for module in exported.modules()] == modes


class OfOneDictionary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"y": self.b(self.a(batch["x"]).relu())}


def test_a_model_of_one_dictionary() -> None:
    model, x = OfOneDictionary(), torch.randn(3, 4)
    example = ({"x": x},)
    child = morph(model, {"b": "1 > 1"}, example_inputs=example, norm="calibrated", calibration=[example]).model
    assert verify(model, child, example).max_rel < 1e-5
    assert widen(model, "a", "2x", example_inputs=example).parity.exact
    assert plan(model, {"b": "1 > 1"}, example_inputs=example).feasible
    assert cost(model, example).macs == 3 * (24 + 12)
    with pytest.raises(SiteError, match=r"pass \(\{...\},\) if its forward takes one dictionary") as error:
        morph(model, {"b": "1 > 1"}, example_inputs={"x": x})
    assert "example_inputs (x=(3, 4) float32)" in str(error.value)
    assert describe(Call.of(example)) == "({'x': (3, 4) float32})"
