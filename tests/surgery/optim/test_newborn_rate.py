"""New parameters at a rate of their own in the optimizer that trained the parent."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.surgery.networks import small
from tests.surgery.training import equal, fit, grown, loss_of, members, states
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.nn import slopes
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer


def test_newborns_and_their_slopes_come_apart_and_survivors_stay() -> None:
    parent = small()
    optimizer = torch.optim.AdamW(parent.parameters(), 0.01, weight_decay=0.1)
    fit(parent, optimizer, 3)
    before = states(parent, optimizer)
    result = grown(parent)
    rebuilt = rebuild_optimizer(result, optimizer, newborn_lr_factor=0.1)
    child = result.model
    blends = [name for name, _ in slopes(child)]
    old, new, apart = members(child, optimizer)
    assert apart == blends
    assert sorted([*new, *apart]) == sorted(rebuilt.joined)
    assert old == [name for name, _ in child.named_parameters() if name not in rebuilt.joined]
    assert "blocks.1.conv2.bias" in old  # the layer's own
    assert rebuilt.new_groups == (1, 2)
    groups = optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.1, 0.0]
    assert [group["lr"] for group in groups] == [0.01, pytest.approx(0.001), pytest.approx(0.001)]
    assert all(group["betas"] == groups[0]["betas"] for group in groups)
    after = states(child, optimizer)
    assert after.keys() == set(rebuilt.kept)
    assert all(equal(before[name], after[name]) for name in rebuilt.kept)
    losses = fit(child, optimizer, 20)
    assert losses[-1] < losses[0]


def test_the_first_step_of_adam_is_softer() -> None:
    """The parent is about as good as it can be; full steps of all newborn weights at once throw the child back."""

    def after_a_step(factor: float) -> tuple[float, float]:
        torch.manual_seed(1)
        parent = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
        x = torch.randn(16, 3, 12, 12)
        with torch.no_grad():
            target = parent(x) + 0.1 * torch.randn(16, 4, 12, 12)
        optimizer = torch.optim.Adam(parent.parameters(), 0.005)
        child = morph(parent, {"2": "3x3:2x > 1x1 | 1x1"}, example_inputs=x[:2], seed=0)
        rebuild_optimizer(child, optimizer, newborn_lr_factor=factor)
        found = []
        for _ in range(2):
            loss = nn.functional.mse_loss(child.model(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found[0], found[1]

    (before, full), (same, tenth) = after_a_step(1.0), after_a_step(0.1)
    assert before == pytest.approx(same, rel=1e-6)
    assert max(before, tenth) < full


def test_every_origin_has_its_own_copy() -> None:
    parent = small()
    groups = [
        {"params": parent.stem.parameters(), "lr": 0.1},
        {"params": parent.blocks[0].parameters(), "lr": 0.2, "weight_decay": 0.5, "mine": ["x"]},
        {"params": parent.fc.parameters(), "lr": 0.3},
        {"params": parent.blocks[1].parameters(), "lr": 0.4, "momentum": 0.7},
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    result = grown(parent)
    rebuilt = rebuild_optimizer(result, optimizer, newborn_lr_factor=2)
    for name, index in rebuilt.joined.items():
        group, home = optimizer.param_groups[index], 1 if name.startswith("blocks.0") else 3
        assert group["netmorph_newborn_of"] == home
        assert group["lr"] == 2 * optimizer.param_groups[home]["lr"]
        assert group["momentum"] == optimizer.param_groups[home]["momentum"]
    assert len(optimizer.param_groups) == 8
    copied = [group for group in optimizer.param_groups[4:] if "mine" in group]
    assert len(copied) == 2
    assert all(group["mine"] == ["x"] and group["mine"] is not groups[1]["mine"] for group in copied)


def test_a_later_morph_goes_on_with_the_copy_and_the_factor_is_on_the_old_rate() -> None:
    parent = small()
    optimizer = torch.optim.SGD(parent.parameters(), 0.1, weight_decay=0.5)
    first = grown(parent, {"stem": "3x3 > 1x1"})
    rebuild_optimizer(first, optimizer, newborn_lr_factor=0.5)
    second = grown(first.model, {"blocks.0.conv1": "3x3 > 1x1"})
    rebuilt = rebuild_optimizer(second, optimizer, newborn_lr_factor=0.5)
    assert rebuilt.new_groups == ()
    assert set(rebuilt.joined.values()) == {1, 2}
    # At another factor, inside the first module, where the origin is itself in the copy:
    third = grown(second.model, {"stem.edges.s_a": "3x3 > 1x1"})
    rebuilt = rebuild_optimizer(third, optimizer, newborn_lr_factor=0.25)
    assert rebuilt.new_groups == (3, 4)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.05, 0.05, 0.025, 0.025]
    # With none, new parameters join their origin, wherever that is.
    fourth = grown(third.model, {"blocks.1.conv1": "3x3 > 1x1"})
    rebuilt = rebuild_optimizer(fourth, optimizer)
    assert {index for name, index in rebuilt.joined.items() if ".edges." in name} == {0}


def test_a_chosen_group_is_taken_as_it_is() -> None:
    parent = small()
    optimizer = torch.optim.SGD([{"params": parent.parameters()}, {"params": [], "lr": 0.7}], 0.1)
    result = grown(parent)
    rebuilt = rebuild_optimizer(result, optimizer, groups={"blocks.0.*": 1}, newborn_lr_factor=0.5)
    rates = {name: optimizer.param_groups[index]["lr"] for name, index in rebuilt.joined.items()}
    assert {rate for name, rate in rates.items() if name.startswith("blocks.0")} == {0.7}
    assert {rate for name, rate in rates.items() if name.startswith("blocks.1")} == {0.05}


def test_an_optimizer_without_decay_needs_one_copy_and_names_go_along() -> None:
    parent = small()
    optimizer = torch.optim.Rprop(parent.named_parameters(), 0.01)
    result = grown(parent)
    rebuilt = rebuild_optimizer(result, optimizer, newborn_lr_factor=0.5)
    assert rebuilt.new_groups == (1,)
    for group, names in zip(optimizer.param_groups, members(result.model, optimizer), strict=True):
        assert group["param_names"] == names


def test_a_rate_that_is_a_tensor() -> None:
    parent = small()
    optimizer = torch.optim.Adam(parent.parameters(), torch.tensor(0.01), weight_decay=0.1)
    result = grown(parent)
    rebuild_optimizer(result, optimizer, newborn_lr_factor=0.5)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert all(isinstance(rate, torch.Tensor) for rate in rates)
    assert [rate.item() for rate in rates] == pytest.approx([0.01, 0.005, 0.005])
    fit(result.model, optimizer, 3)


def test_state_dicts_are_loaded_without_unpickling(tmp_path) -> None:
    parent = small()
    optimizer = torch.optim.SGD(parent.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    rebuild_optimizer(grown(parent), optimizer, newborn_lr_factor=0.5)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    assert equal(torch.load(tmp_path / "state.pt", weights_only=True), optimizer.state_dict())


@pytest.mark.parametrize("factor", [0, -1.0, float("nan"), float("inf")])
def test_factors_that_make_no_sense(factor: float) -> None:
    parent = small()
    optimizer = torch.optim.SGD(parent.parameters(), 0.1)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(NetmorphError, match="must be positive, got"):
        rebuild_optimizer(grown(parent), optimizer, newborn_lr_factor=factor)
    assert equal(optimizer.state_dict(), before)
    assert loss_of(parent).isfinite()
