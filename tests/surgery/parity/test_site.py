import math

import pytest
import torch
from tests.surgery.networks import left_alone
from torch import Tensor, nn

from netmorph.errors import ParityError
from netmorph.filters import ConvSpec
from netmorph.graph.notation import parse
from netmorph.nn import MorphedModule
from netmorph.solver.solve import solve
from netmorph.surgery.parity.site import site_parity, tolerance_of


def morphed(layer: nn.Module, notation: str, *, norm: str | None = None) -> MorphedModule:
    solution = solve(layer, notation)
    module = MorphedModule(solution.layout, bias=layer.bias is not None, norm=norm, dtype=layer.weight.dtype)
    module.load_filters(solution.filters)
    if layer.bias is not None:
        module.bias.data.copy_(layer.bias.data)
    return module


def conv(dtype: torch.dtype = torch.float32, **options: object) -> nn.Conv2d:
    return nn.Conv2d(6, 8, **{"kernel_size": 3, "padding": 1, **options}).to(dtype)


def x(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 4 / 128), (torch.float16, 4 / 1024)],
)
def test_tolerances(dtype: torch.dtype, bound: float) -> None:
    assert tolerance_of(dtype) == bound
    layer = conv(dtype)
    module = morphed(layer, "3x3 > 1x1 | 1x1")
    with left_alone(layer), left_alone(module):
        parity = site_parity(layer, module, x(2, 6, 9, 7, dtype=dtype), site="here")
    assert parity.exact
    assert (parity.dtype, parity.tolerance, parity.site) == (dtype, bound, "here")
    assert 0 < parity.max_abs < bound * 10
    assert parity.train == pytest.approx(parity.measured[0].train)
    recorded, synthetic = parity.measured
    assert (recorded.source, recorded.input_shape) == ("recorded", (2, 6, 9, 7))
    assert (synthetic.source, synthetic.input_shape) == ("synthetic", (1, 6, 4, 5))
    assert str(parity).startswith("here: recorded (2, 6, 9, 7): interior ")


def test_an_empty_batch_is_no_input() -> None:
    layer = conv()
    parity = site_parity(layer, morphed(layer, "3x3 > 1x1"), x(0, 6, 9, 7))
    assert parity.exact
    assert [each.source for each in parity.measured] == ["synthetic", "synthetic"]


def test_the_interior_is_where_the_window_lies_inside() -> None:
    """An error at one output only shows on its own side."""
    layer = conv(stride=2, bias=False)
    for place, inside in (((0, 3), False), ((2, 2), True), ((3, 1), True), ((4, 4), False)):
        module = morphed(layer, "3x3 > 1x1")

        def spoiled(value: Tensor, old: object = module.forward, place: tuple[int, int] = place) -> Tensor:
            y = old(value)
            y[:, :, place[0] : place[0] + 1, place[1] : place[1] + 1] += 10.0  # nowhere on a smaller input
            return y

        module.forward = spoiled
        first = site_parity(layer, module, x(1, 6, 9, 9), check=False).measured[0]
        assert (first.interior > 1, first.border > 1) == (inside, not inside)


@pytest.mark.parametrize(
    ("layer", "notation", "shape", "border"),
    [
        (conv(padding=0), "3x3 > 1x1", (1, 6, 5, 5), False),
        (nn.Linear(6, 8), "1:2x > 1", (3, 4, 6), False),
        (nn.Conv1d(6, 8, 4, padding=3), "4 > 1", (2, 6, 11), True),
        (nn.Conv3d(4, 4, 2, padding=1, bias=False), "2 | 1 > 1", (1, 4, 3, 4, 5), True),
        (conv(kernel_size=1), "1x1 > 3x3", (1, 6, 5, 5), True),
        (conv(dilation=2, padding=2), "3x3 > 1x1", (1, 6, 4, 4), True),
    ],
)
def test_every_rank_and_geometry(layer: nn.Module, notation: str, shape: tuple[int, ...], border: bool) -> None:
    parity = site_parity(layer, morphed(layer, notation), x(*shape))
    assert parity.exact
    assert (parity.measured[1].border is not None) is border
    assert parity.measured[1].interior is not None


def test_unbatched_inputs() -> None:
    layer = conv()
    assert site_parity(layer, morphed(layer, "3x3 > 1x1"), x(6, 5, 5)).exact


def test_without_a_record_two_synthetic_sizes_are_used() -> None:
    layer = conv()
    parity = site_parity(layer, morphed(layer, "3x3 > 1x1"), None)
    assert [each.source for each in parity.measured] == ["synthetic"] * 2
    assert len({each.input_shape for each in parity.measured}) == 2


def test_an_identity_is_measured_too() -> None:
    module = MorphedModule(solve(torch.eye(4).reshape(4, 4, 1, 1), "0.5*id | 1x1 > 1x1").layout)
    module.load_filters(solve(torch.eye(4).reshape(4, 4, 1, 1), "0.5*id | 1x1 > 1x1").filters)
    assert site_parity(nn.Identity(), module, x(2, 4, 3, 3)).exact
    only_fixed = MorphedModule(solve(torch.eye(4).reshape(4, 4, 1, 1), "id").layout)
    assert site_parity(nn.Identity(), only_fixed, x(2, 4, 3, 3)).max_abs == 0


def test_any_module_can_be_measured() -> None:
    layer, same = conv(), conv()
    same.load_state_dict(layer.state_dict())
    assert site_parity(layer, same, None).max_abs == 0
    assert site_parity(nn.Identity(), nn.Identity(), x(1, 2, 3, 3), spec=ConvSpec(2, 2, (1, 1))).max_abs == 0


def test_a_wrong_module_is_refused_with_numbers_and_remedies() -> None:
    layer = conv()
    module = morphed(layer, "3x3 > 1x1")
    with torch.no_grad():
        module.edges["s_a"].weight[0] += 1e-3
    with pytest.raises(
        ParityError, match=r"site here; graph '3x3 > 1x1'; .*interior .*border .*tolerance 1e-05.*Remedy"
    ):
        site_parity(layer, module, None, site="here")
    assert not site_parity(layer, module, None, check=False).exact


def test_another_shape_is_refused() -> None:
    with pytest.raises(ParityError, match=r"another shape.*expected \(1, 8, 5, 5\)"):
        site_parity(conv(), conv(padding=0), None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_cannot_be_compared(bad: float) -> None:
    layer = conv()
    with pytest.raises(ParityError, match="own output is not finite"):
        site_parity(layer, morphed(layer, "3x3 > 1x1"), torch.full((1, 6, 4, 4), bad))


def test_a_zero_layer_is_measured_relative_to_its_input() -> None:
    layer = conv(bias=False)
    module = morphed(layer, "3x3 > 1x1")
    layer.weight.data.zero_()
    assert site_parity(layer, module, torch.ones(1, 6, 4, 4), check=False).max_rel > 0.01
    module.edges["a_t"].weight.data.zero_()
    assert site_parity(layer, module, torch.zeros(1, 6, 4, 4)).max_abs == 0


def test_train_mode_is_reported_and_statistics_restored() -> None:
    layer = conv()
    module = morphed(layer, "3x3 > 1x1", norm="neutral")
    with left_alone(module):
        parity = site_parity(layer, module, x(2, 6, 5, 5))
    assert parity.exact
    assert parity.train > 0.01


def test_train_mode_that_raises_is_not_measurable() -> None:
    layer = nn.Linear(6, 8)
    parity = site_parity(layer, morphed(layer, "1 > 1", norm="neutral"), x(1, 6))
    assert parity.exact
    assert parity.train is None
    assert "train mode none" in str(parity)


def test_a_layout_that_ignores_the_border_is_caught_there_alone() -> None:
    """Composing two zero-padded 3x3 is the composed convolution inside only."""
    layer = nn.Conv2d(4, 4, 5, padding=2, bias=False).double()
    chain = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(2))).double()
    graph = parse("3x3 > 3x3")
    from netmorph.filters import Filter
    from netmorph.solver import module_filter

    spec = ConvSpec.same(4, 4, 3)
    names = [edge.name for edge in graph.edges]
    filters = {name: Filter.of(conv.weight.detach(), spec) for name, conv in zip(names, chain, strict=True)}
    layer.weight.data.copy_(module_filter(graph, filters).weight)
    parity = site_parity(layer, chain, None, check=False)
    assert parity.interior < 1e-10
    assert parity.border > 1e-3
    with pytest.raises(ParityError):
        site_parity(layer, chain, None)
