"""Groups for a fresh optimizer: newborns at their own rate, slopes never decayed, nothing twice or left out."""

from __future__ import annotations

import pytest
import torch
from tests.surgery.networks import images, small
from tests.surgery.training import SITES, fit, grown, members
from torch import nn

from netmorph.errors import SiteError
from netmorph.nn import slopes
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.optim.param_groups import param_groups
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer


def names(child: nn.Module, groups: list[dict[str, object]]) -> list[list[str]]:
    return members(child, torch.optim.SGD(groups, 0.1))


def test_by_default_all_others_and_slopes() -> None:
    child = grown(small()).model
    groups = param_groups(child, lr=0.1, weight_decay=0.5)
    blends = [name for name, _ in slopes(child)]
    others = [name for name, _ in child.named_parameters() if name not in blends]
    assert names(child, groups) == [others, blends]
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.5), (0.1, 0.0)]


def test_newborns_at_their_own_rate() -> None:
    child = grown(small()).model
    groups = param_groups(child, lr=0.1, newborn_lr=0.3, weight_decay=0.5)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.5), (0.3, 0.5), (0.3, 0.0)]
    old, new, blends = names(child, groups)
    inside = tuple(f"{name}." for name in SITES)
    assert all(name.startswith(inside) for name in (*new, *blends))
    assert [name for name in old if name.startswith(inside)] == ["blocks.1.conv2.bias"]
    assert blends == [name for name, _ in slopes(child)]
    assert sorted((*old, *new, *blends)) == sorted(name for name, _ in child.named_parameters())


def test_newborn_sites_may_be_named() -> None:
    child = grown(small()).model
    old, new, _, _ = names(child, param_groups(child, lr=0.1, newborn_lr=0.3, newborn=["blocks.0.conv1"]))
    assert all(name.startswith("blocks.0.conv1.") for name in new)
    assert any(name.startswith("blocks.1.conv2.edges") for name in old)
    with pytest.raises(SiteError, match="not a morphed module.*site stem.*'blocks.0.conv1'"):
        param_groups(child, lr=0.1, newborn=["stem"])


def test_norms_and_biases_may_be_spared() -> None:
    child = grown(small(), norm="neutral").model
    groups = param_groups(child, lr=0.1, newborn_lr=0.3, weight_decay=0.5, decay_norms_and_biases=False)
    rates = [(group["lr"], group["weight_decay"]) for group in groups]
    assert rates == [(0.1, 0.5), (0.1, 0.0), (0.3, 0.5), (0.3, 0.0), (0.3, 0.0)]
    shapes = [{parameter.dim() > 1 for parameter in group["params"]} for group in groups]
    assert shapes == [{True}, {False}, {True}, {False}, {False}]
    assert all(".norms." in name for name in names(child, groups)[3])
    assert groups[4]["netmorph_slopes_of"] == 2


def test_blended_norms_have_slopes_too() -> None:
    child = grown(small(), norm="group").model
    *_, blends = names(child, param_groups(child, lr=0.1))
    assert any(name.endswith(".slope") for name in blends)
    assert blends == [name for name, _ in child.named_parameters() if name in dict(slopes(child))]


def test_frozen_parameters_stay_out() -> None:
    child = grown(small()).model
    child.stem.requires_grad_(False)
    assert not any(name.startswith("stem") for group in names(child, param_groups(child, lr=0.1)) for name in group)


def test_without_anything_but_slopes() -> None:
    child = grown(small()).model
    for name, parameter in child.named_parameters():
        parameter.requires_grad_(name in dict(slopes(child)))
    (group,) = param_groups(child, lr=0.1)
    assert "netmorph_slopes_of" not in group


def test_a_network_that_was_not_morphed() -> None:
    parent = small()
    (group,) = param_groups(parent, lr=0.1, newborn_lr=1.0, weight_decay=0.5)
    assert group["params"] == list(parent.parameters())
    assert group["lr"] == 0.1


def test_it_trains_and_takes_the_next_morph() -> None:
    child = grown(small()).model
    groups = param_groups(child, lr=0.005, newborn_lr=0.01, weight_decay=1e-3)
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    losses = fit(child, optimizer, 20)
    assert losses[-1] < losses[0]
    result = morph(child, {"fc": "1 > 1"}, example_inputs=images(1, 8), inplace=True)
    rebuilt = rebuild_optimizer(result, optimizer)
    assert rebuilt.new_groups == (3,)  # the first group had no slopes yet
    assert optimizer.param_groups[2]["netmorph_slopes_of"] == 1
    assert optimizer.param_groups[3]["netmorph_slopes_of"] == 0
