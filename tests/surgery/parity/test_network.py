import math
from itertools import count

import pytest
import torch
from tests.surgery.networks import images, left_alone, small
from torch import Tensor, nn

from netmorph.errors import ParityError, SiteError
from netmorph.surgery.parity.network import verify


def test_a_model_equals_itself_and_its_copy() -> None:
    parent, child = small(), small()
    with left_alone(parent), left_alone(child):
        parity = verify(parent, child, images())
    assert (parity.max_abs, parity.max_rel, parity.train_max_rel) == (0, 0, 0)
    assert parity.exact
    assert parity.deterministic
    assert parity.tolerance == 1e-5
    assert str(parity) == "eval   output: max abs 0, relative 0\ntrain  output: max abs 0, relative 0"


def test_a_difference_is_reported_and_raised_on_request() -> None:
    parent, child = small(), small()
    with torch.no_grad():
        child.fc.bias[0] += 1
    parity = verify(parent, child, images())
    assert parity.max_abs == pytest.approx(1)
    assert not parity.exact
    with pytest.raises(ParityError, match=r"two models differ .output: max abs 1,.*tolerance 0.001"):
        verify(parent, child, images(), tolerance=1e-3)
    assert verify(parent, child, images(), tolerance=1e3).max_abs == parity.max_abs


class Returns(nn.Module):
    def __init__(self, value: object, *, train: object = None, noise: float = 0.0) -> None:
        super().__init__()
        self.value, self.late, self.noise, self.calls = value, train, noise, count(1)

    def forward(self, x: Tensor) -> object:
        calls = next(self.calls)
        if self.training and isinstance(self.late, Exception):
            raise self.late
        if self.noise:
            return self.value + calls * self.noise
        return self.late if self.training and self.late is not None else self.value


ONE = torch.ones(2)


def test_train_mode_is_not_measurable_where_the_model_raises() -> None:
    parity = verify(Returns(ONE, train=ValueError("no targets")), Returns(ONE), ONE)
    assert (parity.train, parity.max_abs) == (None, 0)
    assert math.isnan(parity.train_max_rel)
    assert "train  not measurable: the model raised on example_inputs: ValueError: no targets" in str(parity)


def test_nan_in_train_mode_is_only_reported() -> None:
    parity = verify(Returns(ONE, train=ONE * math.nan), Returns(ONE), ONE)
    assert parity.train is None
    assert "is NaN" in parity.note


def test_nan_in_eval_mode_is_an_error() -> None:
    with pytest.raises(ParityError, match="parent's own output '' is NaN"):
        verify(Returns(ONE * math.nan), Returns(ONE), ONE)


def test_nan_in_the_child_is_a_difference() -> None:
    assert verify(Returns(ONE), Returns(ONE * math.nan), ONE).max_abs == math.inf


def test_outputs_without_tensors_prove_nothing() -> None:
    parity = verify(Returns("text"), Returns("text"), ONE)
    assert math.isnan(parity.max_abs)
    assert math.isnan(parity.max_rel)
    assert not parity.exact
    assert "the models return no tensor" in str(parity)
    with pytest.raises(ParityError, match="return no tensor"):
        verify(Returns("text"), Returns("text"), ONE, tolerance=1.0)


def test_a_parent_that_is_not_deterministic_is_told() -> None:
    parity = verify(Returns(ONE, noise=0.5), Returns(ONE), ONE)
    assert parity.repeat == 1.0
    assert not parity.deterministic
    assert "not deterministic" in str(parity)


def test_random_layers_get_the_same_numbers() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand_like(x)

    assert verify(Noisy(), Noisy(), ONE).max_abs == 0


def test_a_child_that_raises_is_told() -> None:
    with pytest.raises(SiteError, match="the model raised"):
        verify(small(), nn.Linear(1, 1), images())


def test_the_coarsest_dtype_sets_the_tolerance() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).bfloat16())
    parity = verify(model[0], model[0], ONE)
    assert parity.tolerance == 1e-5
    model[0].forward = lambda x: model[0].weight.bfloat16() @ x.bfloat16()
    assert verify(model, model, ONE).tolerance == 4 * 2**-7
