"""Functions of copied channels: which give copies, at any size of numbers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from netmorph.surgery.growth.channel_positions import Lanes
from netmorph.surgery.growth.separate_channels import lanes_after

INDEX = torch.tensor([0, 1, 2, 2, 0])
HERE = Lanes(4, 1, 3)
X = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("function", "lanes"),
    [
        (torch.relu, HERE),
        (lambda x: F.avg_pool2d(x, 2), HERE),
        (lambda x: F.softmax(x, -1), HERE),
        (lambda x: x > 0, HERE),
        (lambda x: x.mean((2, 3)), Lanes(2, 1, 3)),
        (lambda x: x.flatten(1), Lanes(2, 1, 3, 1, 24)),
        (lambda x: x.permute(0, 2, 3, 1), Lanes(4, 3, 3)),
        (lambda x: x.permute(0, 2, 3, 1).flatten(1), Lanes(2, 1, 3, 24, 1)),
        (lambda x: x.permute(0, 2, 1, 3).flatten(1), Lanes(2, 1, 3, 4, 6)),
        (lambda x: x.transpose(0, 1), Lanes(4, 0, 3)),
        (lambda x: x.flatten(0, 1), Lanes(3, 0, 3, 2, 1)),
        (lambda x: x.sum(1), "mixes channels"),
        (lambda x: x.cumsum(1), "mixes channels"),
        (lambda x: x.flip(1), "mixes channels"),
        (lambda x: F.softmax(x, 1), "mixes channels"),
        (lambda x: x[:, :2], "mixes channels"),
        (lambda x: x.sum(), "mixes channels"),
        (lambda x: x.tolist(), "mixes channels"),
        (lambda x: x * torch.ones(3, 1, 1), "depends on there being 3 channels"),
        (lambda x: x.view(2, 3, 24), "depends on there being 3 channels"),
    ],
)
def test_functions(function: Callable[[Tensor], object], lanes: Lanes | str) -> None:
    assert lanes_after(function, function, [X], [HERE], INDEX) == lanes


def test_what_runs_in_one_dtype_only() -> None:
    weight = torch.tensor([0.5, 2.0])

    def single(x: Tensor) -> Tensor:
        return F.conv1d(x.flatten(0, -2).unsqueeze(1), weight.view(1, 1, 2)).view(*x.shape[:-1], -1)

    assert lanes_after(single, single, [X], [HERE], INDEX) is None
    assert lanes_after(single, single, [X.float()], [HERE], INDEX) == HERE

    def coupled(x: Tensor) -> Tensor:
        return single(x) + 1e-6 * single(x).sum(1, keepdim=True)

    assert lanes_after(coupled, coupled, [X.float()], [HERE], INDEX) == "mixes channels"


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (torch.logical_not, X > 0, HERE),
        (lambda x: x.any(1, keepdim=True) | x, X > 0, HERE),
        (lambda x: x.sum(1, keepdim=True) + x, X > 0, "mixes channels"),
        (lambda x: 2 * x - 1, (4 * X).int(), HERE),
        (lambda x: torch.ones(9)[x], (4 * X).int().clamp(0, 8), Lanes(4, 1, 3)),  # any other index would raise
        (lambda x: x.abs(), torch.complex(X, X), HERE),
        (lambda x: x * x.sum(1, keepdim=True), torch.complex(X, X), "mixes channels"),
        (lambda x: F.binary_cross_entropy(x, x, reduction="none"), X.sigmoid(), HERE),  # defined between 0 and 1 only
        (lambda x: x.relu(), X.to_sparse(), "reads no plain tensor of at least one number"),
        (lambda x: x.relu(), X[:0], "reads no plain tensor of at least one number"),
        (lambda x: x / 0, X, HERE),
        (torch.log, X, HERE),
        (lambda x: torch.log(x) + x.sum(1, keepdim=True), X, "mixes channels"),
        (lambda x: x[x > 0], X, "mixes channels"),
    ],
)
def test_other_numbers(function: Callable[[Tensor], object], x: Tensor, expected: Lanes | str) -> None:
    found = lanes_after(function, function, [x], [HERE], INDEX)
    assert found == expected or (isinstance(expected, str) and str(found).startswith(expected))


def test_what_is_defined_for_the_example_only() -> None:
    def strict(x: Tensor) -> Tensor:
        assert torch.equal(x, X) or torch.equal(x, HERE.copied(X, INDEX))
        return x

    assert "other numbers than the example's" in str(lanes_after(strict, strict, [X], [HERE], INDEX))


def test_several_inputs_and_functions_of_their_own_width() -> None:
    def product(x: Tensor, y: Tensor) -> Tensor:
        return x * y.movedim(-1, 1)

    last = Lanes(4, 3, 3)
    inputs, lanes = [X, X.movedim(1, -1).contiguous()], [HERE, last]
    assert lanes_after(product, product, inputs, lanes, INDEX) == HERE
    scale = torch.tensor([1.0, 2.0, 3.0]).view(-1, 1, 1)
    assert lanes_after(lambda x: x * scale, lambda x: x * scale[INDEX], [X], [HERE], INDEX) == HERE
    assert "mixes channels" in str(
        lanes_after(lambda x: x * scale, lambda x: x * scale[INDEX.flip(0)], [X], [HERE], INDEX)
    )


def test_inputs_are_left_as_they_are() -> None:
    before = X.clone()
    assert lanes_after(torch.relu_, torch.relu_, [X], [HERE], INDEX) == HERE
    assert torch.equal(X, before)
