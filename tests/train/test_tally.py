import pytest
import torch

from netmorph.train.tally import Tally

CPU = torch.device("cpu")


def test_batches_count_by_their_size():
    tally = Tally(CPU)
    tally.add(torch.tensor(1.0), torch.tensor(1), 4)
    tally.add(torch.tensor(3.0), torch.tensor(0), 1)
    assert tally.read() == pytest.approx((7 / 5, 20.0))


def test_what_was_added_may_be_overwritten_afterwards():
    tally, loss, wrong = Tally(CPU), torch.tensor(1.0), torch.tensor(1)
    tally.add(loss, wrong, 2)
    loss.fill_(9)
    wrong.fill_(9)
    assert tally.read() == pytest.approx((1.0, 50.0))


def test_several_processes_share_a_mean():
    tally = Tally(CPU)
    tally.add(torch.tensor(2.0), torch.tensor(1), 2)
    assert tally.read(lambda own: own + torch.tensor([2.0, 0.0, 3.0])) == pytest.approx((6 / 5, 20.0))
    assert tally.count == 5
