import torch
from torch import nn

from netmorph.models.size import params_mib


def test_parameters_and_statistics_count_four_bytes_each():
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3), nn.PReLU(3), nn.Linear(3, 4))
    assert params_mib(model) * 2**20 == 4 * (6 + 4 * 3 + 3 + 12 + 4)


def test_norms_without_statistics_and_other_buffers():
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.LayerNorm(3))
    model.register_buffer("table", torch.zeros(100))
    assert params_mib(model) * 2**20 == 4 * 12
