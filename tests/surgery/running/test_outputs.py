import math
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from netmorph.errors import ParityError
from netmorph.surgery.running.outputs import compare, largest, largest_gap, tensors_in

Point = namedtuple("Point", "x y")
ONE = torch.ones(2)


@dataclass
class Output:
    logits: torch.Tensor
    hidden: Any = None


@pytest.mark.parametrize(
    ("output", "paths"),
    [
        (ONE, [""]),
        (None, []),
        ({"a": ONE, "b": [ONE, (ONE, None)]}, ["a", "b[0]", "b[1][0]"]),
        (OrderedDict(out=ONE, aux=ONE), ["out", "aux"]),
        (Point(ONE, [ONE]), ["x", "y[0]"]),
        (Output(ONE, Output(ONE, "text")), ["logits", "hidden.logits"]),
        ([Output, 1.5, True], ["[1]", "[2]"]),
    ],
)
def test_any_nesting(output: object, paths: list[str]) -> None:
    assert list(tensors_in(output)) == paths


def test_sparse_and_nested_tensors_are_compared_by_value() -> None:
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    found = tensors_in([torch.eye(2).to_sparse(), nested])
    assert found["[0]"].equal(torch.eye(2))
    assert found["[1]"].sum() == 5


def test_copies_are_kept() -> None:
    x = torch.zeros(2)
    found = tensors_in(x)
    x.add_(1)
    assert found[""].sum() == 0


def test_differences_are_relative_to_the_parents_maximum() -> None:
    (out,) = compare({"": torch.tensor([4.0, -8.0])}, {"": torch.tensor([4.0, -8.5])})
    assert (out.max_abs, out.max_rel, out.note) == (0.5, 0.0625, "")
    assert str(out) == "output: max abs 0.5, relative 0.0625"


@pytest.mark.parametrize(
    ("parent", "child", "note"),
    [
        ({"a": ONE}, {}, "only the parent returns it"),
        ({}, {"a": ONE}, "only the child returns it"),
        ({"a": ONE}, {"a": torch.ones(3)}, r"shapes (2,) and (3,)"),
        ({"a": ONE}, {"a": ONE * math.nan}, "the child's is NaN"),
    ],
)
def test_what_cannot_be_compared_is_infinitely_far(parent: dict, child: dict, note: str) -> None:
    (out,) = compare(parent, child)
    assert (out.max_abs, out.max_rel, out.note) == (math.inf, math.inf, note)
    assert note in str(out)


def test_nan_in_the_parent_is_an_error() -> None:
    with pytest.raises(ParityError, match="parent's own output 'a' is NaN.*check for NaN"):
        compare({"a": ONE * math.nan}, {"a": ONE})


def test_equal_infinities_are_equal() -> None:
    mask = torch.tensor([-math.inf, 1.0])
    (out,) = compare({"": mask}, {"": mask.clone()})
    assert out.max_rel == 0
    assert largest_gap(mask, -mask) == math.inf
    assert largest(mask) == 1


def test_zero_outputs() -> None:
    zero = torch.zeros(2)
    assert compare({"": zero}, {"": zero})[0].max_rel == 0
    assert compare({"": zero}, {"": ONE / 4})[0].max_rel == 0.25
    assert largest_gap(torch.zeros(0), torch.zeros(0)) == 0 == largest(torch.zeros(0))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.complex64, torch.bfloat16])
def test_every_dtype(dtype: torch.dtype) -> None:
    assert compare({"": ONE.to(dtype)}, {"": ONE.to(dtype)})[0].max_abs == 0
    assert compare({"": ONE.to(dtype)}, {"": torch.zeros(2, dtype=dtype)})[0].max_abs == 1
