"""How often a morph runs the network: parent and child share what one run tells."""

import pytest
import torch
from tests.surgery.networks import images, small
from torch import Tensor, nn

from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.plan import plan
from netmorph.surgery.running.cost import CostChange, cost
from netmorph.surgery.shortcuts.find import may_name_shortcut


class Counted(nn.Module):
    """A network that counts the runs of itself and of its copies, in eval and in train mode."""

    runs: tuple[list[bool], ...] = ([],)

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        Counted.runs[0].append(self.training)
        return self.inner(x)


@pytest.fixture
def runs() -> list[bool]:
    Counted.runs[0].clear()
    return Counted.runs[0]


def test_a_morph_runs_the_parent_three_times_and_the_child_once(runs: list[bool]) -> None:
    parent = Counted(small())
    x = images()
    result = morph(parent, {"inner.blocks.*.conv1": "3x3 > 1x1", "inner.fc": "1 > 1"}, example_inputs=x)
    assert runs == [False, True, False, False]
    assert result.parity.train is None
    assert result.cost == CostChange(cost(parent, x), cost(result.model, x))


def test_a_plan_runs_it_twice(runs: list[bool]) -> None:
    parent = Counted(small())
    found = plan(parent, {"inner.fc": "1 > 1"}, example_inputs=images())
    assert runs == [False, True]
    assert found.cost.before == cost(parent, images())


def test_norms_need_the_child_in_train_mode_too(runs: list[bool]) -> None:
    result = morph(Counted(small()), {"inner.fc": "1 > 1"}, example_inputs=images(), norm="neutral")
    assert runs == [False, True, False, False, True]
    assert result.parity.train is not None


class Auxiliary(nn.Module):
    """Has a head that runs in train mode only, as GoogLeNet has."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.aux = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.fc(x), self.aux(x)) if self.training else (self.fc(x),)


def test_what_only_train_mode_reaches_is_run_there() -> None:
    x = torch.randn(5, 4)
    result = morph(Auxiliary(), {"aux": "1:2x > 1"}, example_inputs=x)
    assert [each.path for each in result.parity.train or ()] == ["[0]", "[1]"]
    assert result.parity.train_max_rel < 1e-5
    assert result.parity.sites[0].measured[0].source == "recorded"
    assert morph(Auxiliary(), {"fc": "1:2x > 1"}, example_inputs=x).parity.train is None


@pytest.mark.parametrize(
    ("pattern", "may"),
    [
        ("blocks.0.conv1", False),
        ("blocks.*.conv1", False),
        ("blocks.0.*", True),
        ("*", True),
        ("blocks.*.shortcut", True),
        ("blocks.*.downsample", True),
        ("blocks.0.shortcut", False),
        ("blocks.0.conv9", True),
    ],
)
def test_shortcuts_are_looked_for_where_a_name_may_mean_one(pattern: str, may: bool) -> None:
    names = [name for name, _ in small().named_modules()]
    assert may_name_shortcut(pattern, names) is may


def test_the_fused_path_of_transformers_is_run_and_counted() -> None:
    """The fused operation reads weights that a morphed module has not, and its MACs count like any other's."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    net = nn.Sequential(nn.Linear(8, 8), encoder, nn.Linear(8, 3)).eval()
    x = torch.randn(2, 5, 8)
    result = morph(net, {"*": "1 > 1"}, example_inputs=x)
    assert [site.name for site in result.sites] == ["0", "2"]
    assert result.parity.exact
    macs = 10 * (8 * 24 + 8 * 8 + 2 * 8 * 16)
    assert result.cost.before.macs == 10 * (64 + 24) + 2 * macs
    assert result.cost.after == cost(result.model, x)
    assert cost(net.train(), x) == result.cost.before
