import torch
from torch import nn

from netmorph.lab.slopes import SlopeWatch
from netmorph.surgery.morph import morph
from netmorph.train.rows import EpochRow


class Ear:
    def __init__(self):
        self.heard = []

    def batch(self, done, total):
        self.heard.append((done, total))

    def epoch(self, row):
        self.heard.append(row.epoch)


def row(epoch):
    return EpochRow(epoch, 0.1, 1.0, 50.0, 1.0, 50.0, 1.0, 10, 100.0)


def test_slopes_are_noted_each_epoch_and_all_is_passed_on():
    net = morph(nn.Conv2d(2, 3, 3), {"": "3x3 > 1x1"}, example_inputs=torch.zeros(1, 2, 8, 8)).model
    ear = Ear()
    watch = SlopeWatch(net, ear, before=4)
    watch.batch(1, 2)
    watch.epoch(row(1))
    with torch.no_grad():
        net.acts.a.weight.copy_(torch.tensor([0.0, 0.5, 1.0]))
    watch.epoch(row(2))
    assert ear.heard == [(1, 2), 1, 2]
    assert watch.rows == [
        {"epoch": 5, "slope": "acts.a.weight", "mean": 1.0, "low": 1.0, "high": 1.0},
        {"epoch": 6, "slope": "acts.a.weight", "mean": 0.5, "low": 0.0, "high": 1.0},
    ]


def test_nobody_need_listen():
    watch = SlopeWatch(nn.Linear(1, 1), None)
    watch.batch(1, 2)
    watch.epoch(row(1))
    assert watch.rows == []
