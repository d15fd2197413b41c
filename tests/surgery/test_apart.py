"""Functions of copied channels: which give copies, at any size of numbers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from netmorph.surgery.apart import lanes_after
from netmorph.surgery.lanes import Lanes

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
        (lambda x: x.sum(1), "does not keep channels apart"),
        (lambda x: x.cumsum(1), "does not keep channels apart"),
        (lambda x: x.flip(1), "does not keep channels apart"),
        (lambda x: F.softmax(x, 1), "does not keep channels apart"),
        (lambda x: x[:, :2], "does not keep channels apart"),
        (lambda x: x.sum(), "does not keep channels apart"),
        (lambda x: x.tolist(), "does not keep channels apart"),
        (lambda x: x * torch.ones(3, 1, 1), "depends on there being 3 channels"),
        (lambda x: x.view(2, 3, 24), "depends on there being 3 channels"),
    ],
)
def test_functions(function: Callable[[Tensor], object], lanes: Lanes | str) -> None:
    assert lanes_after(function, function, [X], [HERE], INDEX) == lanes
