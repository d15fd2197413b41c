"""Rewriting a block's own code: how it is called, what is traced, what the generated forward accepts."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from tests.surgery.networks import left_alone
from torch import Tensor, nn
from torch.fx import Graph

from netmorph.errors import NetmorphError, SiteError
from netmorph.surgery.shortcuts.additions import enters_as_argument, residuals
from netmorph.surgery.shortcuts.call_signature import Form
from netmorph.surgery.shortcuts.rewire import loosened, rewire, rewiring_of, traced
from netmorph.surgery.shortcuts.slots import Slot
from netmorph.surgery.shortcuts.trace import code_of

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)


class Masked(Block):
    """Passes `mask` on, branches on `scale` and `mode`, and has a number and an object as defaults."""

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        scale: bool = False,
        mode: str = "fc",
        power: int = 1,
        shape: tuple[int, ...] = (4,),
    ) -> Tensor:
        y = self.fc(x)
        y = y.masked_fill(mask, 0.0) if mask is not None else y
        y = 2 * y if scale else y
        y = y if mode == "fc" else -y
        return x + (y**power).reshape(-1, shape[0])


class Passes(Block):
    """Hands an argument on without a look at it."""

    def forward(self, x: Tensor, bias: Tensor | None = None, /, *, gain: Any = None, **more: Any) -> Tensor:
        return x + torch.nn.functional.linear(self.fc(x), self.fc.weight, bias)


class Asks(Block):
    def forward(self, x: Tensor, bias: Any = None) -> Tensor:
        y = self.fc(x)
        return x + (y + bias if isinstance(bias, Tensor) else y)


def rewritten(block: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    form = loosened(block, Form.of(block, args, kwargs))
    rewire(block, form, {"shortcut": nn.Identity()})
    return block


@pytest.mark.parametrize(
    ("args", "kwargs", "inputs", "fixed"),
    [
        ((X,), {}, {"x"}, {"mask": None, "scale": False, "mode": "fc"}),
        ((X, X > 0), {}, {"x", "mask"}, {"scale": False, "mode": "fc"}),
        ((X,), {"mode": "other", "scale": True}, {"x"}, {"mask": None, "scale": True, "mode": "other"}),
        ((X,), {"power": 3, "shape": (4,)}, {"x", "power", "shape"}, {"mask": None, "scale": False, "mode": "fc"}),
    ],
)
def test_a_form_tells_constants_from_inputs(args: Any, kwargs: Any, inputs: object, fixed: object) -> None:
    form = Form.of(Masked(), args, kwargs)
    assert (set(form.inputs), dict(form.fixed)) == (inputs, fixed)
    assert Form.from_dict(form.to_dict()) == form
    assert Slot.from_dict(Slot(form).to_dict()) == Slot(form)
    assert loosened(Masked(), form) == form  # its code branches on all of them


@pytest.mark.parametrize("kwargs", [{}, {"mask": X > 0}, {"scale": True}, {"mode": "other", "power": 2}])
def test_a_rewritten_block_takes_the_arguments_of_its_form(kwargs: dict[str, Any]) -> None:
    block = Masked()
    before = block(X, **kwargs)
    rewritten(block, X, **kwargs)
    assert torch.equal(block(X, **kwargs), before)
    defaults = {"mask": None, "scale": False, "mode": "fc", "power": 1}
    assert torch.equal(block(X, *(kwargs.get(name, value) for name, value in defaults.items())), before)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"mask": X > 0}, "'mask' .* must be None, .*it is Tensor"),
        ({"scale": True}, "'scale' .* must be False, .*it is True"),
        ({"scale": 0}, "'scale' .* must be False, .*it is 0"),
        ({"mode": "other"}, "'mode' .* must be 'fc'"),
        ({"power": 2}, "'power' .* must be 1"),
        ({"shape": (2, 2)}, "'shape' .* must be None"),
    ],
)
def test_a_rewritten_block_refuses_other_constants(given: dict[str, Any], found: str) -> None:
    block = rewritten(Masked(), X)
    with pytest.raises(SiteError, match=found):
        block(X, **given)


def test_an_argument_that_is_handed_on_is_free() -> None:
    block = Passes()
    form = loosened(block, Form.of(block, (X,), {"extra": X, "flag": True}))
    assert (set(form.inputs), form.fixed) == ({"x", "bias", "gain", "extra", "flag"}, ())
    bias, expected = torch.ones(4), Passes.forward(block, X, torch.ones(4))
    rewritten(block, X, extra=X, flag=True)
    assert torch.equal(block(X, bias), expected)
    assert torch.equal(block(X, bias=bias, gain=3), expected)


def test_code_that_asks_for_types_keeps_its_constants() -> None:
    block = rewritten(Asks(), X)
    with pytest.raises(SiteError, match="'bias' .* must be None"):
        block(X, torch.ones(4))


def test_keywords_without_a_default_come_last() -> None:
    class Keywords(Block):
        def forward(self, x: Tensor, mode: str = "a", *, y: Tensor) -> Tensor:
            return x + self.fc(y if mode == "b" else x * y)

    block = Keywords()
    before = block(X, y=X)
    assert torch.equal(rewritten(block, X, y=X)(X, y=X), before)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"inputs": ["x"]},
        {"inputs": "x", "fixed": {}},
        {"inputs": ["x"], "fixed": []},
        {"inputs": ["x", "x"], "fixed": {}},
        {"inputs": ["x"], "fixed": {"x": None}},
        {"inputs": ["x; import os"], "fixed": {}},
        {"inputs": [3], "fixed": {}},
        {"inputs": ["x"], "fixed": {"y": 3.0}},
        {"inputs": ["x"], "fixed": {"y": [1]}},
    ],
)
def test_descriptions_that_are_no_form(data: object) -> None:
    with pytest.raises(NetmorphError):
        Form.from_dict(data)
    with pytest.raises(NetmorphError):
        Slot.from_dict({"form": data} if data is not None else data)


def test_a_block_is_not_rewritten_for_two_forms() -> None:
    block = rewritten(Masked(), X)
    other = Form.of(block, (X,), {"scale": True})
    with pytest.raises(SiteError, match="for another way of calling it"):
        rewire(block, other, {"shortcut": nn.Identity()})


def test_tracing_changes_nothing_and_undoing_restores() -> None:
    block = Masked()
    form = Form.of(block, (X,), {})
    with left_alone(block):
        code = code_of(traced(block, form))
        rewire(block, form, {"shortcut": nn.Identity()})()
    assert type(block) is Masked
    assert rewiring_of(block) is None
    undo = rewire(block, form, {"shortcut": nn.Identity()})
    assert code_of(traced(block, form)) == code  # that of the original class
    assert rewiring_of(block).names == ("shortcut",)
    undo()
    with pytest.raises(SiteError, match="has no residual addition called 'other'.*it has 'shortcut'"):
        rewire(block, form, {"other": nn.Identity()})


def chain(*operations: str) -> tuple[Graph, dict[str, Any]]:
    """Return a graph of calls `name=function(operands)`, after placeholders x and y."""
    graph = Graph()
    nodes: dict[str, Any] = {name: graph.placeholder(name) for name in ("x", "y")}
    for operation in operations:
        name, call = operation.split("=", 1)
        function, operands = call.rstrip(")").split("(")
        args = tuple(nodes.get(each, 1) for each in operands.split(","))
        if function == "layer":
            nodes[name] = graph.call_module(function, args)
        elif function in ("add", "add_"):
            nodes[name] = graph.call_method(function, args)
        else:
            nodes[name] = graph.call_function({"+": operator.add, "+=": operator.iadd, "t": torch.add}[function], args)
    graph.output(nodes[name])
    return graph, nodes


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (["f=layer(x)", "s=+(x,f)"], [("s", 0)]),
        (["f=layer(x)", "s=+=(f,x)"], [("s", 1)]),
        (["f=layer(x)", "s=t(f,x)"], [("s", 1)]),
        (["f=layer(x)", "s=add(x,f)"], [("s", 0)]),
        (["f=layer(x)", "s=add_(f,x)"], [("s", 1)]),
        (["f=layer(x)", "s=+(x,f)", "g=layer(s)", "r=+(s,g)"], [("s", 0), ("r", 0)]),
        (["f=layer(x)", "s=+(x,f)", "g=layer(x)", "r=+(s,g)"], [("s", 0)]),
        (["f=layer(x)", "g=layer(f)", "s=+(f,g)"], [("s", 0)]),
        (["f=layer(x)", "s=+(x,1)", "r=+(f,f)"], []),
        (["f=+(x,y)", "s=+(x,f)"], []),
        (["f=layer(x)", "g=layer(y)", "s=+(f,g)"], []),
        (["f=layer(x,y)", "s=+(f,y)"], [("s", 1)]),
    ],
)
def test_residual_additions(operations: list[str], expected: list[tuple[str, int]]) -> None:
    graph, nodes = chain(*operations)
    found = residuals(graph)
    assert [(each.addition, each.side) for each in found] == [(nodes[name], side) for name, side in expected]
    assert all(each.operand is not each.other for each in found)
    assert enters_as_argument(graph) is None


@pytest.mark.parametrize("sides", ["f,y", "y,f"])
def test_residuals_that_enter_as_arguments(sides: str) -> None:
    assert enters_as_argument(chain("f=layer(x)", f"s=+({sides})")[0]) == "y"
