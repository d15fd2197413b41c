import pytest
import torch
import torchvision
from tests.surgery.networks import images, left_alone, small
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.errors import SiteError
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.running.cost import Cost, CostChange, cost


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv1d(4, 6, 3, groups=2), (2, 4, 10), 2 * 8 * 6 * 2 * 3),
        (nn.Conv2d(3, 5, 3, stride=2, padding=1), (2, 3, 8, 8), 2 * 16 * 5 * 27),
        (nn.Conv3d(2, 2, 2), (1, 2, 3, 3, 3), 8 * 2 * 16),
        (nn.ConvTranspose2d(3, 5, 3, stride=2), (2, 3, 4, 4), 2 * 16 * 3 * 5 * 9),
        (nn.Linear(4, 8), (3, 4), 3 * 32),
        (nn.Linear(4, 8, bias=False), (3, 5, 4), 15 * 32),
        (nn.Linear(4, 8), (2, 3, 5, 4), 30 * 32),
    ],
)
def test_one_layer(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert cost(layer, torch.zeros(shape)).macs == macs
    assert cost(layer.bfloat16(), torch.zeros(shape, dtype=torch.bfloat16)).macs == macs


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, torch.sin, torch.cos, (self.fc(x),))


def test_operators_of_higher_order_are_passed_through() -> None:
    model, x = Branches(), torch.randn(3, 4)
    assert cost(model, x).macs == 3 * 32
    assert morph(model, {"fc": "1 > 1"}, example_inputs=x).parity.exact


def test_strides_do_not_hide_a_linear_layer() -> None:
    x = torch.zeros(3, 4, 2, 5).transpose(1, 3)
    assert cost(nn.Linear(4, 8, bias=False), x).macs == 30 * 32


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_linear_layers_count(groups: int) -> None:
    from netmorph.nn.edges import GroupedLinear

    assert cost(GroupedLinear(8, 4, groups), torch.zeros(3, 5, 8)).macs == 15 * 4 * 8 // groups


def test_one_matrix_for_a_whole_batch_counts_and_two_signals_do_not() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(5, 3))

        def forward(self, x: Tensor) -> Tensor:
            return (self.weight @ x) @ x.transpose(1, 2)

    assert cost(Mixer(), torch.zeros(2, 3, 4)).macs == 2 * 5 * 3 * 4


class Busy(nn.Module):
    """Calls one layer twice, a function once, and multiplies two signals, which is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.free = nn.Parameter(torch.zeros(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(self.fc(self.fc(x)), self.free)
        return x @ x.transpose(1, 2)


def test_the_whole_call_counts() -> None:
    assert cost(Busy(), torch.zeros(2, 3, 4)).macs == 3 * 6 * 16


@pytest.mark.parametrize("batch_first", [True, False])
def test_transformers_count_in_spite_of_their_fused_path(batch_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first).eval()
    found = cost(layer, torch.zeros(2, 5, 16))
    assert found.macs == 10 * (16 * 48 + 16 * 16 + 2 * 16 * 32)
    assert torch.backends.mha.get_fastpath_enabled()


def test_resnet18_costs_what_torchvision_says() -> None:
    weights = torchvision.models.ResNet18_Weights.DEFAULT.meta
    found = cost(torchvision.models.resnet18(), torch.zeros(1, 3, 224, 224))
    assert found.params == weights["num_params"]
    assert round(found.macs / 1e9, 3) == weights["_ops"]


def test_tied_parameters_count_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    assert (cost(model, torch.zeros(2, 3)).params, cost(model, torch.zeros(2, 3)).buffers) == (9 + 6 + 6, 7)


def test_counting_changes_nothing() -> None:
    model = small()
    with left_alone(model):
        cost(model, images())
    with left_alone(model), pytest.raises(SiteError, match="the model raised"):
        cost(model, torch.zeros(1))
    assert torch.backends.mha.get_fastpath_enabled()


def test_printing() -> None:
    change = CostChange(Cost(1000, 0, 2000), Cost(3000, 1, 4000))
    assert str(change) == "parameters 1,000 -> 3,000, MACs 2,000 -> 4,000"
    assert str(change.after) == "3,000 parameters, 4,000 MACs"
    assert change.to_dict()["after"] == change.after.to_dict() == {"params": 3000, "buffers": 1, "macs": 4000}


@pytest.mark.parametrize("inplace", [False, True])
def test_the_parent_is_measured_before_it_is_changed(inplace: bool) -> None:
    parent, x = small(), images()
    before = cost(parent, x)
    result = morph(parent, {"stem": "3x3 > 1x1 | 1x1"}, example_inputs=x, inplace=inplace)
    assert result.cost == CostChange(before, cost(result.model, x))
    assert result.cost.after.params > before.params
