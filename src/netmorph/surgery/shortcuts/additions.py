"""Residual additions in a traced block: `x + f(x)`, where f has a layer of its own."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.fx import Graph, Node

_FUNCTIONS = (operator.add, operator.iadd, torch.add)
_METHODS = ("add", "add_")


@dataclass(frozen=True)
class Residual:
    """An identity shortcut: one operand of an addition, on which the other depends through a layer.

    Attributes:
        addition: the sum.
        side: which of its operands the shortcut carries.
    """

    addition: Node
    side: int

    @property
    def operand(self) -> Node:
        """What the shortcut carries."""
        return _operands(self.addition)[self.side]

    @property
    def other(self) -> Node:
        """The branch beside it."""
        return _operands(self.addition)[1 - self.side]


def residuals(graph: Graph) -> list[Residual]:
    """Return the identity shortcuts of a block's own code, in the order of their additions."""
    through = _through(graph)
    return [
        Residual(addition, side)
        for addition in _additions(graph)
        for side, operand in enumerate(_operands(addition))
        if operand in through[_operands(addition)[1 - side]]
    ]


def enters_as_argument(graph: Graph) -> str | None:
    """Return the argument that is added to a branch which does not depend on it, as DLA's blocks have; None if none."""
    through = _through(graph)
    for addition in _additions(graph):
        one, two = _operands(addition)
        for operand, other in ((one, two), (two, one)):
            apart = operand.op == "placeholder" and operand not in through[other]
            if apart and any(node.op == "placeholder" for node in through[other]):
                return str(operand.target)
    return None


def _additions(graph: Graph) -> Iterator[Node]:
    """Yield the additions of two different values that the code computes."""
    for node in graph.nodes:
        called = node.op == "call_function" and node.target in _FUNCTIONS
        if called or (node.op == "call_method" and node.target in _METHODS):
            pair = node.args
            if len(pair) == 2 and all(isinstance(each, Node) for each in pair) and pair[0] is not pair[1]:
                yield node


def _operands(addition: Node) -> tuple[Node, Node]:
    one, two = addition.args
    assert isinstance(one, Node)
    assert isinstance(two, Node)
    return one, two


def _through(graph: Graph) -> dict[Node, set[Node]]:
    """Return for each node those that it depends on by a path with a layer on it."""
    above: dict[Node, set[Node]] = {}
    through: dict[Node, set[Node]] = {}
    for node in graph.nodes:
        inputs = node.all_input_nodes
        above[node] = {node}.union(*(above[each] for each in inputs))
        apart = above if node.op == "call_module" else through
        through[node] = set[Node]().union(*(apart[each] for each in inputs))
    return through
