import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import distance, impulse_response, response_of, taps_of
from tests.strategies import random_filter, seeds, sites

from netmorph.errors import GraphError
from netmorph.filters import ConvSpec, Filter

CONVOLUTIONS = {
    0: lambda x, weight, **_: torch.nn.functional.linear(x, weight),
    1: torch.nn.functional.conv1d,
    2: torch.nn.functional.conv2d,
    3: torch.nn.functional.conv3d,
}


def grouped(spec: ConvSpec, groups: int) -> ConvSpec:
    return spec.with_(c_in=spec.c_in * groups, c_out=spec.c_out * groups, groups=groups)


any_spec = st.builds(
    grouped,
    st.integers(0, 3).flatmap(lambda dims: sites(dims=dims, max_channels=3, largest_kernel=3)),
    st.sampled_from([1, 2, 4]),
)


@given(any_spec, seeds())
def test_a_filter_is_what_pytorch_computes(spec: ConvSpec, seed: int) -> None:
    filter_ = random_filter(spec, seed)
    size = [extent + 1 for extent in spec.extent]
    pads = [p for pair in reversed(spec.padding) for p in pair]

    def run(x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.pad(x, pads) if pads else x
        keywords = {"stride": spec.stride, "dilation": spec.dilation, "groups": spec.groups}
        weight = filter_.weight if spec.dims else filter_.dense().weight  # a linear layer has no groups
        return CONVOLUTIONS[spec.dims](x, weight, **keywords)

    found = impulse_response(run, spec.c_in, size)
    expected = response_of(taps_of(filter_), spec.stride, size, spec.output_size(size))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@given(any_spec, seeds())
def test_regrouping_changes_nothing(spec: ConvSpec, seed: int) -> None:
    filter_ = random_filter(spec, seed)
    for groups in (g for g in (1, 2, 4) if spec.groups % g == 0):
        again = filter_.regroup(groups)
        assert again.groups == groups
        assert distance(taps_of(again), taps_of(filter_)) == 0
    assert filter_.dense().weight.shape == (spec.c_out, spec.c_in, *spec.kernel)
    assert filter_.regroup(filter_.groups) is filter_


@given(any_spec, seeds(), st.data())
def test_trim_and_place_change_nothing(spec: ConvSpec, seed: int, data: st.DataObject) -> None:
    filter_ = random_filter(spec, seed)
    for dim in range(spec.dims):
        keep = data.draw(st.integers(1, spec.kernel[dim]))
        start = data.draw(st.integers(0, spec.kernel[dim] - keep))
        filter_.weight.narrow(dim + 2, 0, start).zero_()
        filter_.weight.narrow(dim + 2, start + keep, spec.kernel[dim] - start - keep).zero_()
    trimmed = filter_.trim()
    assert distance(taps_of(trimmed), taps_of(filter_)) == 0
    assert all(a <= b for a, b in zip(trimmed.kernel, filter_.kernel, strict=True))
    for dim, size in enumerate(trimmed.kernel):
        assert trimmed.weight.narrow(dim + 2, 0, 1).any()
        assert trimmed.weight.narrow(dim + 2, size - 1, 1).any()
    offset = tuple(o - 2 * d for o, d in zip(filter_.offset, filter_.dilation, strict=True))
    kernel = tuple(k + 3 for k in filter_.kernel)
    placed = trimmed.place(offset, filter_.dilation, kernel)
    assert (placed.offset, placed.kernel) == (offset, kernel)
    assert distance(taps_of(placed), taps_of(filter_)) == 0


def test_trimming_zero_keeps_one_tap() -> None:
    filter_ = Filter.of(torch.zeros(2, 2, 3, 3), ConvSpec.same(2, 2))
    assert filter_.trim().kernel == (1, 1)


def test_place_refuses_a_grid_that_misses_a_tap() -> None:
    filter_ = Filter.of(torch.ones(1, 1, 3), ConvSpec.same(1, 1, dims=1))
    with pytest.raises(GraphError, match=r"dimension 0: support at \[0, 1, 2\], grid of 2 steps of 2"):
        filter_.place((-1,), (2,), (2,))
    with pytest.raises(GraphError, match="not on the grid"):
        filter_.place((0,), (1,), (3,))


def test_place_may_keep_zeros() -> None:
    filter_ = Filter(torch.tensor([[[0.0, 1.0]]]), (-1,), (1,), (1,))
    assert torch.equal(filter_.place((0,), (1,), (2,)).weight, torch.tensor([[[1.0, 0.0]]]))
    with pytest.raises(GraphError, match=r"support at \[-1, 0\]"):
        filter_.place((0,), (1,), (2,), trim=False)


def test_identity() -> None:
    filter_ = Filter.identity(3, 2, scale=0.5)
    assert (filter_.c_in, filter_.c_out, filter_.dims, filter_.last) == (3, 3, 2, (0, 0))
    assert torch.equal(filter_.weight[..., 0, 0], 0.5 * torch.eye(3, dtype=torch.float64))
    assert filter_.to(torch.float32).weight.dtype == torch.float32


def test_last_counts_offset_and_dilation() -> None:
    assert Filter(torch.zeros(1, 1, 3, 1), (-2, 1), (2, 5), (1, 1)).last == (2, 1)


def test_mistakes_are_named() -> None:
    with pytest.raises(GraphError, match=r"weight \(1, 1, 3\), convolution \(1, 1, 3, 3\)"):
        Filter.of(torch.zeros(1, 1, 3), ConvSpec.same(1, 1))
    with pytest.raises(GraphError, match="one offset, dilation and stride"):
        Filter(torch.zeros(1, 1, 3), (0, 0), (1,), (1,))
    with pytest.raises(GraphError, match="2 groups do not divide 3 output channels"):
        Filter(torch.zeros(3, 1), (), (), (), groups=2)
    with pytest.raises(GraphError, match="3 groups are not a divisor of the filter's 4"):
        Filter(torch.zeros(4, 1), (), (), (), groups=4).blocks(3)
