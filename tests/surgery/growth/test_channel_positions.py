import pytest
import torch
from tests.surgery.growing import pictures
from torch import nn

from netmorph.errors import SiteError
from netmorph.surgery.growth.channel_positions import Lanes
from netmorph.surgery.growth.find_reader import follow
from netmorph.surgery.running.call import Call

HERE = Lanes(4, 1, 3)


def test_spread() -> None:
    assert Lanes(2, 1, 2, 2, 3).spread(torch.tensor([1, 0])).tolist() == [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]


@pytest.mark.parametrize(
    ("module", "lanes", "fits"),
    [
        (nn.Conv2d(3, 1, 1), HERE, True),
        (nn.Conv2d(3, 1, 1), Lanes(3, 0, 3), True),
        (nn.Conv2d(3, 1, 1), Lanes(4, 3, 3), False),
        (nn.Conv2d(6, 1, 1), Lanes(4, 1, 3, 2), False),
        (nn.Linear(6, 1), Lanes(2, 1, 3, 2), True),
        (nn.Linear(6, 1), Lanes(3, 1, 3), False),
        (nn.BatchNorm2d(3), HERE, True),
        (nn.BatchNorm2d(6), Lanes(4, 1, 3, 2), False),
        (nn.PReLU(4), HERE, False),
        (nn.LayerNorm(3), HERE, False),
        (nn.LayerNorm(3), Lanes(4, 3, 3), True),
    ],
)
def test_modules(module: nn.Module, lanes: Lanes, fits: bool) -> None:
    assert lanes.fit(module) == fits


def test_following_leaves_no_trace() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1))
    before = [dict(module.__dict__) for module in net.modules()]
    trails = follow(net, Call.of(pictures()), "0", torch.tensor([0, 1, 2, 3, 1]))
    assert [(trail.reader, trail.why, len(trail.steps)) for trail in trails] == [("2", "", 2)]
    assert [dict(module.__dict__) for module in net.modules()] == before
    with pytest.raises(SiteError, match="the model raised"):
        follow(net, Call.of(pictures(channels=5)), "0", None)
    assert follow(net, Call.of(pictures(channels=5)), "0", None, train=True) == []
    assert [dict(module.__dict__) for module in net.modules()] == before
