"""Random weights at the cost of a copy: distributed as asked for, different in every row and tensor."""

import pytest
import torch
from benchmarks.zoo.cheap_noise import PERIOD, CheapNoise
from timm.layers import trunc_normal_
from torch import nn


def test_the_initialisers_get_what_they_ask_for():
    with CheapNoise():
        uniform = nn.init.uniform_(torch.empty(500, 1000), -3, 5)
        normal = nn.init.normal_(torch.empty(500, 1000), 2.0, 0.5)
        cut = nn.init.trunc_normal_(torch.empty(500, 1000), std=0.02)
        again = torch.empty(1000).uniform_(to=2.0)
    assert float(uniform.min()) == pytest.approx(-3, abs=0.01)
    assert float(uniform.max()) == pytest.approx(5, abs=0.01)
    assert float(uniform.mean()) == pytest.approx(1, abs=0.02)
    assert (float(normal.mean()), float(normal.std())) == pytest.approx((2.0, 0.5), abs=0.01)
    assert float(cut.std()) == pytest.approx(0.02, rel=0.01)
    assert float(again.max()) == pytest.approx(2, abs=0.02)


def test_no_two_rows_and_no_two_tensors_are_alike():
    with CheapNoise():
        one = nn.Linear(1024, 2100).weight
        other = nn.Linear(1024, 2100).weight
    assert one.numel() > 2 * PERIOD
    assert torch.linalg.matrix_rank(one[-1024:].double()) == 1024
    assert not torch.equal(one, other)
    assert len(torch.unique(one[:, 0])) > 2000


def test_a_long_tensor_is_as_normal_as_a_short_one():
    with CheapNoise():
        weight = trunc_normal_(torch.empty(1300, 1000), std=1.0)
        lone = torch.full((1300, 1000), 0.5).erfinv_()
    assert float(weight.std()) == pytest.approx(0.88, abs=0.01)  # cut at two standard deviations
    assert float(weight.abs().max()) <= 2
    assert torch.equal(lone, torch.full((1300, 1000), 0.5).erfinv())


def test_it_is_the_same_at_every_time_and_leaves_other_draws_alone():
    def weights():
        with CheapNoise():
            return nn.Conv2d(3, 5, 3).weight.detach()

    assert torch.equal(weights(), weights())
    with CheapNoise():
        torch.manual_seed(0)
        double = torch.empty(5, dtype=torch.float64).normal_()
        named = torch.empty(5).normal_(generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    assert torch.equal(double, torch.empty(5, dtype=torch.float64).normal_())
    assert torch.equal(named, torch.empty(5).normal_(generator=torch.Generator().manual_seed(1)))
