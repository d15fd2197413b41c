"""What every verb promises: subclass `VerbContract`, say how the verb is called, and get a test of each promise.

A verb takes a network and example inputs and returns a `Result` whose network computes what the parent did.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tests.surgery.growing import gap, replays, resnet
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from netmorph.errors import NetmorphError
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.optim.rebuild_ema import rebuild_ema
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer
from netmorph.surgery.records.history import history_of
from netmorph.surgery.records.record import Record

X = torch.randn(4, 3, 12, 11, generator=torch.Generator().manual_seed(3))
Y = torch.arange(4)


class Counting(nn.Module):
    """A network whose code refuses to run once it has another number of parameters."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.expected = self.count()

    def count(self) -> int:
        """Return the number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch of images to logits."""
        if self.count() != self.expected:
            raise RuntimeError("another number of parameters")
        return self.network(x)


class VerbContract:
    """The promises; a subclass whose name begins with `Test` is collected.

    Attributes:
        operation: name of the verb, as results print it.
        recorded: name under which it is recorded, where that is another verb's.
        site: where it is applied, in the network that `parent` returns.
        seeded: whether what is new is random.
    """

    operation: ClassVar[str]
    recorded: ClassVar[str] = ""
    site: ClassVar[str]
    seeded: ClassVar[bool] = True

    def parent(self) -> nn.Module:
        """Return a network that has been trained, as far as a verb can tell."""
        return resnet()

    def apply(self, model: nn.Module, site: str, *, inplace: bool = False, seed: int = 0) -> Result:
        """Call the verb with `X` as the example."""
        raise NotImplementedError

    def test_the_function_is_kept_in_both_modes(self) -> None:
        parent = self.parent()
        result = self.apply(parent, self.site)
        for scale in (1e-2, 1.0, 1e2):
            assert gap(parent, result.model, scale * X) < 1e-6
            assert gap(parent, result.model, scale * X, train=True) < 1e-6
        assert result.parity.exact
        assert all(site.exact for site in result.parity.sites)
        assert result.parity.max_rel < 1e-5

    def test_something_grew(self) -> None:
        result = self.apply(self.parent(), self.site)
        assert result.cost.after.params > result.cost.before.params

    def test_a_copy_leaves_the_parent_alone_and_in_place_is_the_same(self) -> None:
        parent = self.parent()
        before, history = copy.deepcopy(parent.state_dict()), history_of(parent)
        child = self.apply(parent, self.site).model
        assert child is not parent
        assert history_of(parent) == history
        _same(parent.state_dict(), before)
        assert not {id(p) for p in parent.parameters()} & {id(p) for p in child.parameters()}
        there = self.apply(parent, self.site, inplace=True).model
        assert there is parent
        _same(there.state_dict(), child.state_dict())

    def test_modes_and_random_generators_are_left_as_they_are(self) -> None:
        parent = self.parent().train()
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        child = self.apply(parent, self.site).model
        assert torch.equal(torch.rand(1), expected)
        assert child.training
        assert parent.training

    def test_the_seed_decides(self) -> None:
        one, again, other = (self.apply(self.parent(), self.site, seed=seed).model.state_dict() for seed in (1, 1, 2))
        _same(one, again)
        assert any(not torch.equal(one[key], other[key]) for key in one) is self.seeded

    def test_a_failure_changes_nothing(self) -> None:
        parent = Counting(self.parent())
        before, modules, history = copy.deepcopy(parent.state_dict()), list(parent.modules()), history_of(parent)
        with pytest.raises(NetmorphError, match="another number of parameters"):
            self.apply(parent, f"network.{self.site}", inplace=True)
        _same(parent.state_dict(), before)
        assert list(parent.modules()) == modules
        assert history_of(parent) == history

    def test_an_unknown_site_is_refused(self) -> None:
        with pytest.raises(NetmorphError, match="nowhere"):
            self.apply(self.parent(), "nowhere")

    def test_it_is_recorded_and_replayed(self, tmp_path: Path) -> None:
        parent = self.parent()
        result = self.apply(parent, self.site)
        record = result.history[-1]
        assert record.operation == (self.recorded or self.operation)
        assert record.sites == result.sites
        assert history_of(result.model) == result.history
        assert Record.from_dict(json.loads(json.dumps(record.to_dict()))) == record
        replays(result.model, self.parent(), tmp_path / "child", X)

    def test_the_optimizer_goes_on(self) -> None:
        model = self.parent()
        optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)
        _step(model, optimizer)
        moments = {id(p): state["momentum_buffer"].clone() for p, state in optimizer.state.items()}
        result = self.apply(model, self.site, inplace=True)
        rebuild_optimizer(result, optimizer)
        held = [p for group in optimizer.param_groups for p in group["params"]]
        assert sorted(map(id, held)) == sorted(map(id, result.model.parameters()))
        stayed = [p for p in held if id(p) in moments]
        assert stayed
        assert all(torch.equal(optimizer.state[p]["momentum_buffer"], moments[id(p)]) for p in stayed)
        _step(result.model, optimizer)
        assert all(parameter in optimizer.state for parameter in result.model.parameters())

    def test_an_average_follows(self) -> None:
        model = self.parent()
        averaged = AveragedModel(model, avg_fn=lambda old, new, _: (old + new) / 2)
        averaged.update_parameters(model)
        _step(model, torch.optim.SGD(model.parameters(), 0.01))
        averaged.update_parameters(model)
        reference = copy.deepcopy(averaged.module)
        result = self.apply(model, self.site, inplace=True)
        assert all(parity.exact for parity in rebuild_ema(result, averaged))
        assert gap(reference, averaged.module, X) < 1e-5
        averaged.update_parameters(result.model)

    def test_what_is_lost_is_said(self) -> None:
        parent = self.parent()
        next(parent.parameters()).register_hook(lambda gradient: gradient)
        notices = self.apply(parent, self.site).notices
        assert any("gradient hooks" in notice for notice in notices)

    def test_it_prints_ten_lines_at_most(self) -> None:
        result = self.apply(self.parent(), self.site)
        lines = str(result).splitlines()
        assert repr(result) == str(result)
        assert lines[0].startswith(f"{self.operation}: ")
        assert len(lines) <= 10
        assert any(line.startswith("parity  the same") for line in lines)
        assert any(line.startswith("cost ") for line in lines)
        assert self.site in result.summary()
        assert "<table>" in result._repr_html_()


def _same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert list(one) == list(other)
    assert all(torch.equal(one[key], other[key]) for key in one)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model.eval()(X), Y).backward()
    optimizer.step()
    optimizer.zero_grad()
