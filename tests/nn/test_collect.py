"""Calibration (eq. 9): the measured moments, the identity in eval mode, close to it in train mode."""

import copy

import pytest
import torch
from tests.nn.samples import build, noise
from torch import nn

from netmorph.errors import SiteError
from netmorph.nn import collect
from netmorph.nn.collect import Moments


def batches(count: int = 3, scale: float = 3.0, shift: float = 5.0) -> list[torch.Tensor]:
    return [scale * noise(4 + i, 4, 6, 6, seed=i) + shift for i in range(count)]


def test_moments_are_those_of_all_batches_at_once() -> None:
    """A mean of a million standard deviations: naive sums of squares would lose every digit."""
    moments, rows = Moments(), noise(60, 3, dtype=torch.float64) + 1e6
    for part in rows.split([1, 0, 20, 39]):
        moments.update(part)
    assert moments.count == 60
    torch.testing.assert_close(moments.mean, rows.mean(0), rtol=1e-15, atol=0)
    torch.testing.assert_close(moments.squares / 60, rows.var(0, correction=0), rtol=1e-9, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_calibrated_norms_are_the_identity_in_eval_mode_and_nearly_so_in_train_mode(training: bool) -> None:
    plain = build("3 > 1 | 1")
    net = build("3 > 1 | 1", norm="calibrated").train(training)
    with torch.no_grad(), collect(net) as names:
        outputs = [net(x) for x in batches()]
    assert names == ["norms.s_a", "norms.a_t", "norms.s_t"]
    for x, y in zip(batches(), outputs, strict=True):
        assert torch.equal(y, plain(x))  # the identity while collecting
    assert all(norm.training == training for norm in net.norms.children())
    x = torch.cat(batches())
    hidden = net.edges["s_a"](x)
    norm = net.norms["s_a"]
    torch.testing.assert_close(norm.running_mean, hidden.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, hidden.var((0, 2, 3), correction=0))
    assert int(norm.num_batches_tracked) == 0
    torch.testing.assert_close(net.eval()(x), plain(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(net.train()(x), plain(x), rtol=1e-4, atol=1e-4)  # the batch is all the data


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["constant", "large", "wide"])
def test_exact_in_eval_mode_whatever_the_statistics(kind: str, dtype: torch.dtype) -> None:
    """Channels without variance, with a mean far from 0, with a variance beyond float16's range."""
    net = build("1 > 1", 3, 3, dims=0, norm="calibrated", dtype=dtype)
    norm = net.norms["s_a"]
    x = {"constant": torch.full((9, 3), 2.5), "large": 1000 + noise(9, 3), "wide": 1e4 * noise(9, 3)}[kind].to(dtype)
    with torch.no_grad(), collect(net.edges), collect(net):
        net(torch.zeros(2, 3, dtype=dtype))
    with torch.no_grad(), collect(net) as names:
        assert names == ["norms.s_a", "norms.a_t"]  # calibrated, but has not learned: may be measured again
        norm(x)
        net.norms["a_t"](x)
    y = norm.eval()(x)
    assert bool(((y - x).abs() <= 4 * torch.finfo(dtype).eps * x.abs().max()).all())
    assert bool(norm.weight.isfinite().all())
    assert bool((norm.weight > 0).all())


def test_norms_converted_for_several_processes() -> None:
    net = build("1 > 1", 3, 3, dims=0, norm="calibrated").eval()
    x = 3 * noise(4, 5, 3) + 1
    expected = net(x)
    net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    with torch.no_grad(), collect(net):
        net(x)
    torch.testing.assert_close(net.norms["s_a"].running_mean, net.edges["s_a"](x).mean((0, 1)))
    torch.testing.assert_close(net.eval()(x), expected, rtol=1e-5, atol=1e-5)


def test_a_single_value_a_channel_is_data_in_train_mode_too() -> None:
    net = build("1 > 1", dims=0, norm="calibrated").train()
    with collect(net):
        net(noise(1, 4))
        net(noise(1, 4, seed=1))
    hidden = net.edges["s_a"](torch.cat([noise(1, 4), noise(1, 4, seed=1)]))
    torch.testing.assert_close(net.norms["s_a"].running_mean, hidden.mean(0))
    assert not net.norms["s_a"].running_var.requires_grad


def test_paper_takes_the_statistics_only() -> None:
    net = build("3 > 1", norm="paper")
    with collect(net):
        net(batches()[0])
    norm = net.norms["s_a"]
    assert norm.weight.tolist() == [1] * 6
    assert norm.bias.tolist() == [0] * 6
    hidden = net.edges["s_a"](batches()[0])
    torch.testing.assert_close(norm.running_mean, hidden.mean((0, 2, 3)))
    y = norm.eval()(hidden)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(6), atol=1e-4, rtol=0)


def test_norms_that_have_learned_blended_ones_and_the_networks_own_are_left_alone() -> None:
    learned = build("1 > 1", norm="neutral", c_out=4).train()
    learned(noise(2, 4, 5, 5))
    parent = nn.Sequential(
        nn.BatchNorm2d(4), learned, build("1 > 1", c_out=4, norm="layer"), build("3 > 1", norm="neutral")
    )
    before = copy.deepcopy(parent.state_dict())
    with collect(parent.eval()) as names:
        parent(noise(2, 4, 5, 5))
    assert names == ["3.norms.s_a", "3.norms.a_t"]
    after = parent.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {key.rsplit(".", 1)[0] for key in changed} == set(names)


def test_nothing_changes_if_the_block_raises() -> None:
    net = build("3 > 1", norm="calibrated").train()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(KeyError), collect(net):  # noqa: PT012 - the data come first
        net(noise(2, 4, 5, 5))
        raise KeyError
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(norm.training and not norm._forward_hooks for norm in net.norms.children())


def test_a_norm_without_data_is_an_error() -> None:
    net = nn.Sequential(build("3 > 1", norm="calibrated"))
    with pytest.raises(SiteError, match="no calibration data reached the norm '0.norms.s_a'"), collect(net):
        net(torch.zeros(0, 4, 5, 5))


def test_data_that_are_not_finite_are_an_error_and_change_nothing() -> None:
    net = build("3 > 1", norm="calibrated")
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(SiteError, match="not finite at the norm 'norms.s_a'"), collect(net):
        net(torch.full((2, 4, 5, 5), float("nan")))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_network_without_norms_has_nothing_to_calibrate() -> None:
    with collect(nn.Sequential(nn.Conv2d(1, 1, 1), build("3 > 1"))) as names:
        pass
    assert names == []
