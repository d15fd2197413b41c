"""What a result prints: ten lines at most; `summary()` has all of it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from netmorph.models.resnet_cifar import CifarResNet
from netmorph.solver.solve import solve
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.plan import plan
from netmorph.surgery.optim.rebuild_ema import rebuild_ema
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer
from netmorph.surgery.sites.find import find_sites

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def many(depth: int = 12) -> nn.Sequential:
    return nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(depth)])


def morphed_everywhere() -> Any:
    return morph(many(), {str(i): f"3x3:{3 + i} > 1x1" for i in range(12)}, example_inputs=X, act=None)


RESULTS: dict[str, Callable[[], Any]] = {
    "morph": morphed_everywhere,
    "widen": lambda: widen(many(), "*[02468]", "2x", example_inputs=X),
    "collapse": lambda: collapse(morphed_everywhere().model, X),
    "plan": lambda: plan(many(), {str(i): f"3x3:{1 + i % 7} > 1x1" for i in range(12)}, example_inputs=X),
    "parity": lambda: morphed_everywhere().parity,
}


@pytest.mark.parametrize("name", RESULTS)
def test_ten_lines_and_a_summary(name: str) -> None:
    result = RESULTS[name]()
    for text in (str(result), repr(result)):
        assert 0 < text.count("\n") < 10 or name == "parity"
        assert max(map(len, text.splitlines())) < 300
    assert "summary()" in str(result) or name == "widen"
    assert all(f"{place}: " in result.summary() or f"{place}\n" in result.summary() for place in ("0", "2", "8"))


def test_what_a_morph_says() -> None:
    parent = CifarResNet(8, num_classes=5, width=4)
    optimizer = torch.optim.SGD(parent.parameters(), 0.1)
    averaged = torch.optim.swa_utils.AveragedModel(parent)
    result = morph(parent, {"layer?.0.conv1": "3x3 > 1x1 | 1x1"}, example_inputs=X)
    text = str(result)
    assert "'layer1.0.conv1', 'layer2.0.conv1', 'layer3.0.conv1': conv -> 3x3 > 1x1 | 1x1" in text
    assert f"parameters {result.cost.before.params:,} -> {result.cost.after.params:,}" in text
    assert "parity  the same" in text
    assert text.count("note ") == len(result.notices) == 1
    rebuilt = rebuild_optimizer(result, optimizer)
    assert (
        str(rebuilt).splitlines()[1]
        == "departed  3: 'layer1.0.conv1.weight', 'layer2.0.conv1.weight', 'layer3.0.conv1.weight'"
    )
    assert repr(rebuilt) == str(rebuilt)
    assert all(len(repr(each)) < 250 for each in rebuild_ema(result, averaged))


def test_many_notices_are_counted() -> None:
    parent = nn.Sequential(nn.Conv2d(3, 3, 1, device="cpu"), nn.BatchNorm2d(3, affine=False, track_running_stats=False))
    parent[0].weight.register_hook(lambda gradient: gradient)
    parent[0].requires_grad_(False)
    parent[0].register_state_dict_pre_hook(lambda *_: None)
    result = morph(parent, {"0": "1x1 > 1x1"}, example_inputs=X, calibration=[X])
    assert len(result.notices) == 6
    assert str(result).count("note ") == 3
    assert "and 4 more: summary() has all of it" in str(result)
    assert all(notice in result.summary() for notice in result.notices)


def test_values_show_themselves_in_one_line() -> None:
    parent = many(2)
    result = morph(parent, {"0": "3x3 > 1x1"}, example_inputs=X)
    planned = plan(parent, {"0": "3x3 > 1x1"}, example_inputs=X)
    shown = [*result.sites, *result.history, *result.parity.sites, result.sites[0].layout, result.sites[0].graph]
    shown += [*find_sites(parent, X), *planned, planned[0].plan, solve(parent[0], "3x3 > 1x1")]
    shown += [*widen(parent, "0", "2x", example_inputs=X).sites, *collapse(result.model).collapsed]
    for value in shown:
        assert repr(value).startswith(f"<{type(value).__name__} ")
        assert len(repr(value)) < 250
        assert "\n" not in repr(value)
