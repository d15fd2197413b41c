"""What is kept of an input, and that no difference escapes a comparison on it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.surgery.networks import images, small
from torch import Tensor, nn

from netmorph.errors import ParityError
from netmorph.filters import ConvSpec
from netmorph.nn import MorphedModule
from netmorph.solver.solve import solve
from netmorph.surgery.morphing import solve_site as graft
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.parity.site import site_parity
from netmorph.surgery.parity.windows import windows, windows_of


@pytest.mark.parametrize(
    ("layer", "shape", "kept"),
    [
        (nn.Conv2d(3, 4, 3, padding=1), (8, 3, 56, 60), (1, 3, 5, 5)),
        (nn.Conv2d(3, 4, 3), (8, 3, 56, 60), (1, 3, 7, 7)),
        (nn.Conv2d(3, 4, 3, padding=1), (8, 3, 2, 60), (3, 3, 2, 5)),
        (nn.Conv2d(3, 4, 7, padding=3), (1, 3, 56, 56), (1, 3, 7, 7)),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 56, 56), (1, 3, 9, 9)),
        (nn.Conv2d(3, 4, 1), (8, 3, 3, 3), (3, 3, 3, 3)),
        (nn.Conv2d(3, 4, 3, padding=1), (3, 56, 60), (3, 5, 5)),
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (8, 3, 56, 60), (1, 3, 56, 60)),
        (nn.Conv1d(3, 4, 3, padding=1), (2, 3, 500), (1, 3, 32)),
        (nn.Conv3d(3, 4, 3, padding=1), (2, 3, 9, 9, 9), (1, 3, 3, 3, 3)),
        (nn.Linear(3, 4), (100, 3), (32, 3)),
        (nn.Linear(3, 4), (2, 197, 3), (1, 32, 3)),
        (nn.Linear(3, 4), (8, 4, 6, 3), (1, 4, 6, 3)),
        (nn.Linear(3, 4), (3,), (3,)),
        (nn.Identity(), (8, 3, 5, 5), (8, 3, 5, 5)),
    ],
)
def test_about_32_outputs_are_kept(layer: nn.Module, shape: tuple[int, ...], kept: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    found = windows_of(x, layer)
    assert found.shape == kept
    assert torch.equal(found, x[tuple(slice(size) for size in kept)])


@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    before=st.integers(-1, 3),
    after=st.integers(-1, 3),
    size=st.integers(1, 40),
    batch=st.integers(1, 50),
)
def test_every_part_gives_outputs(
    kernel: int, stride: int, dilation: int, before: int, after: int, size: int, batch: int
) -> None:
    spec = ConvSpec(2, 2, (kernel,), (stride,), (dilation,), ((before, after),))
    if spec.output_size((size,))[0] < 1:
        return
    part = windows(torch.zeros(batch, 2, size), spec)
    count = spec.output_size(tuple(part.shape[2:]))[0]
    assert 1 <= count <= spec.output_size((size,))[0]
    assert part.shape[0] == 1 or part.shape[0] * count <= 32
    assert min(batch * spec.output_size((size,))[0], 32) <= part.shape[0] * count * 2


def solved(layer: nn.Conv2d, notation: str) -> MorphedModule:
    solution = solve(layer, notation)
    module = MorphedModule(solution.layout, dtype=layer.weight.dtype)
    module.load_filters(solution.filters)
    return module


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": 2, "padding": 2}, {"groups": 2}])
def test_one_wrong_weight_anywhere_is_caught(options: dict[str, int]) -> None:
    """Each weight of each edge in turn, off by a hundredth of the largest: on the windows of a map of 56x56."""
    layer = nn.Conv2d(4, 6, 3, bias=False, **{"padding": 1, **options})
    module = solved(layer, "3x3*2 > 1x1*2 | 1x1*2" if options.get("groups") else "3x3 > 1x1 | 1x1")
    part = windows_of(torch.randn(2, 4, 56, 56, generator=torch.Generator().manual_seed(0)).relu(), layer)
    assert site_parity(layer, module, part).exact
    for weight in module.edges.parameters():
        flat = weight.data.view(-1)
        for index in range(flat.numel()):
            right = flat[index].clone()
            flat[index] += weight.detach().abs().max() / 100
            assert not site_parity(layer, module, part, check=False).exact
            flat[index] = right


@pytest.mark.parametrize("side", ["top", "left", "bottom", "right"])
def test_an_error_at_one_side_of_the_border_is_caught(side: str) -> None:
    layer = nn.Conv2d(4, 6, 3, padding=1, bias=False)
    module = solved(layer, "3x3 > 1x1")
    place = {
        "top": (0, slice(None)),
        "left": (slice(None), 0),
        "bottom": (-1, slice(None)),
        "right": (slice(None), -1),
    }[side]
    right = module.forward

    def spoiled(x: Tensor) -> Tensor:
        y = right(x)
        y[(..., *place)] *= 1.001
        return y

    module.forward = spoiled
    part = windows_of(torch.randn(1, 4, 56, 56), layer)
    parity = site_parity(layer, module, part, check=False)
    assert parity.measured[0].border > 1e-4
    assert parity.measured[1].border > 1e-4
    assert parity.interior < 1e-5


@pytest.mark.parametrize("site", ["stem", "blocks.0.conv2", "fc"])
def test_a_child_with_one_wrong_weight_is_refused(monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    """Whichever site it is, and however little the network's outputs show of it."""
    solve_right = graft.born
    parent, x = small(), images(size=40)
    layer = parent.get_submodule(site)

    def solve_wrong(birth: str, target: object, *args: object, **kwargs: object) -> object:
        solution = solve_right(birth, target, *args, **kwargs)
        if math.prod(target.weight.shape) == layer.weight.numel():  # all sites of this size
            filter_ = next(iter(solution.filters.values()))
            filter_.weight[(-1,) * filter_.weight.dim()] += filter_.weight.abs().max() / 100
        return solution

    mapping = {"stem": "3x3 > 1x1", "blocks.*.conv2": "3x3 > 1x1 | 1x1", "fc": "1 > 1"}
    assert morph(parent, mapping, example_inputs=x).parity.exact
    monkeypatch.setattr(graft, "born", solve_wrong)
    with pytest.raises(ParityError, match=f"site {site}"):
        morph(parent, mapping, example_inputs=x)
