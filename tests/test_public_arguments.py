"""What is no name, no network, no graph, no path and no result is refused by every public verb, in one message."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netmorph as nm

WRONG: dict[str, Any] = {
    "list": ["a", "b"],
    "tuple": ("0",),
    "nothing": None,
    "empty": {},
    "dictionary": {"0": 1},
    "set": {"0"},
    "integer": 3,
    "float": 1.5,
    "truth": True,
    "bytes": b"0",
    "path": Path("0"),
    "tensor": torch.ones(1),
    "object": object(),
}


def x() -> Tensor:
    return torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))


@cache
def child() -> nn.Module:
    return nm.morph(net(), {"0": "3x3 > 1x1"}, example_inputs=x()).model


# What takes a value, and those of the wrong ones that are right there.
PLACES: dict[str, tuple[Callable[[Any], object], set[str]]] = {
    "widen(site)": (lambda v: nm.widen(net(), v, example_inputs=x()), set()),
    "widen(model)": (lambda v: nm.widen(v, "0", example_inputs=x()), set()),
    "widen(width)": (lambda v: nm.widen(net(), "0", v, example_inputs=x()), set()),
    "widen(blob)": (lambda v: nm.widen(child(), "0", blob=v, example_inputs=x()), set()),
    "deepen(site)": (lambda v: nm.deepen(net(), v, example_inputs=x()), set()),
    "deepen(model)": (lambda v: nm.deepen(v, "0", example_inputs=x()), set()),
    "deepen(kernel)": (lambda v: nm.deepen(net(), "0", v, example_inputs=x()), {"integer"}),
    "deepen(width)": (lambda v: nm.deepen(net(), "0", width=v, example_inputs=x()), {"nothing"}),
    "grow_kernel(site)": (lambda v: nm.grow_kernel(net(), v, 5, example_inputs=x()), set()),
    "grow_kernel(model)": (lambda v: nm.grow_kernel(v, "0", 5, example_inputs=x()), set()),
    "grow_kernel(kernel)": (lambda v: nm.grow_kernel(net(), "0", v, example_inputs=x()), set()),
    "regrow(site)": (lambda v: nm.regrow(child(), v, "3x3 > 3x3", example_inputs=x()), set()),
    "regrow(model)": (lambda v: nm.regrow(v, "0", "3x3 > 3x3", example_inputs=x()), set()),
    "regrow(graph)": (lambda v: nm.regrow(child(), "0", v, example_inputs=x()), set()),
    "morph(model)": (lambda v: nm.morph(v, {"0": "3x3 > 1x1"}, example_inputs=x()), set()),
    "morph(mapping)": (lambda v: nm.morph(net(), v, example_inputs=x()), set()),
    "morph(graph)": (lambda v: nm.morph(net(), {"0": v}, example_inputs=x()), set()),
    "morph(act)": (lambda v: nm.morph(net(), {"0": "3x3 > 1x1"}, example_inputs=x(), act=v), {"nothing"}),
    "morph(norm)": (lambda v: nm.morph(net(), {"0": "3x3 > 1x1"}, example_inputs=x(), norm=v), {"nothing"}),
    "morph(example_inputs)": (lambda v: nm.morph(net(), {"0": "3x3 > 1x1"}, example_inputs=v), set()),
    "plan(model)": (lambda v: nm.plan(v, {"0": "3x3 > 1x1"}, example_inputs=x()), set()),
    "plan(mapping)": (lambda v: nm.plan(net(), v, example_inputs=x()), set()),
    "plan(graph)": (lambda v: nm.plan(net(), {"0": v}, example_inputs=x()), set()),
    "collapse(model)": (nm.collapse, set()),
    "collapse(example_inputs)": (lambda v: nm.collapse(child(), v), {"nothing"}),
    "verify(parent)": (lambda v: nm.verify(v, net(), x()), set()),
    "verify(child)": (lambda v: nm.verify(net(), v, x()), set()),
    "find_sites(model)": (lambda v: nm.find_sites(v, x()), set()),
    "find_sites().select": (lambda v: nm.find_sites(net(), x()).select(v), set()),
    "calibrate(child)": (lambda v: nm.calibrate(v, [x()]), set()),
    "cost(model)": (lambda v: nm.cost(v, x()), set()),
    "param_groups(child)": (lambda v: nm.param_groups(v, lr=0.1), set()),
    "param_groups(newborn)": (
        lambda v: nm.param_groups(child(), lr=0.1, newborn=v),
        {"tuple", "nothing", "empty", "dictionary", "set"},
    ),
    "rebuild_optimizer(result)": (lambda v: nm.rebuild_optimizer(v, torch.optim.SGD(net().parameters())), set()),
    "rebuild_ema(result)": (lambda v: nm.rebuild_ema(v, net()), set()),
    "save(child)": (lambda v: nm.save(v, "nowhere"), set()),
    "save(folder)": (lambda v: nm.save(net(), v), {"path"}),
    "load(folder)": (nm.load, set()),
    "load(into)": (lambda v: nm.load("nowhere", v), set()),
    "build(name)": (nm.build, set()),
    "draw(what)": (lambda v: nm.draw(v, "nowhere.svg"), set()),
    "draw(path)": (lambda v: nm.draw("3x3", v), set()),
    "parse(text)": (nm.parse, set()),
    "reduce(graph)": (nm.reduce, set()),
    "solve(target)": (lambda v: nm.solve(v, "3x3 > 1x1"), set()),
    "solve(graph)": (lambda v: nm.solve(torch.ones(2, 2, 3, 3), v), set()),
    "module_filter(graph)": (lambda v: nm.module_filter(v, {}), set()),
    "module_filter(filters)": (lambda v: nm.module_filter("3x3", v), set()),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("place", PLACES)
def test_refused(place: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, right = PLACES[place]
    if wrong in right:
        call(WRONG[wrong])
        return
    with pytest.raises(nm.NetmorphError) as caught:
        call(WRONG[wrong])
    assert len(str(caught.value)) < 1000
    assert list(tmp_path.iterdir()) == []


def test_several_names_are_told_what_to_do() -> None:
    with pytest.raises(nm.SiteError, match=r"expected one name or glob of places, got a list: \['0', '2'\].*one glob"):
        nm.widen(net(), ["0", "2"], example_inputs=x())  # type: ignore[arg-type]
