import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import add_taps, compose_taps, distance, taps_of
from tests.strategies import random_filter, seeds, sites

from netmorph.errors import GraphError
from netmorph.filters import ConvSpec, Filter, add, compose
from netmorph.filters.compose import effective_kernel, morphism_count_suffices


@st.composite
def chains(draw: st.DrawFn) -> tuple[Filter, Filter]:
    dims = draw(st.integers(0, 3))
    one, two = (draw(sites(dims=dims, max_channels=2, largest_kernel=4)) for _ in range(2))
    groups = [draw(st.sampled_from([1, 2, 4])) for _ in range(2)]
    c_in, middle, c_out = (4 * draw(st.integers(1, 2)) for _ in range(3))
    inner = random_filter(one.with_(c_in=c_in, c_out=middle, groups=groups[0]), draw(seeds()))
    return random_filter(two.with_(c_in=middle, c_out=c_out, groups=groups[1]), draw(seeds())), inner


@given(chains())
def test_composition_is_that_of_single_taps(pair: tuple[Filter, Filter]) -> None:
    outer, inner = pair
    found = compose(outer, inner)
    assert found.stride == tuple(a * b for a, b in zip(outer.stride, inner.stride, strict=True))
    assert distance(taps_of(found), compose_taps(taps_of(outer), taps_of(inner), inner.stride)) < 1e-13


@given(st.integers(0, 3), st.lists(seeds(), min_size=1, max_size=4), st.data())
def test_sum_is_that_of_single_taps(dims: int, drawn: list[int], data: st.DataObject) -> None:
    stride = (data.draw(st.integers(1, 2)),) * dims
    filters = []
    for seed in drawn:
        spec = data.draw(sites(dims=dims, largest_kernel=4))
        groups = data.draw(st.sampled_from([1, 2, 4]))
        filters.append(random_filter(spec.with_(c_in=4, c_out=8, stride=stride, groups=groups), seed))
    assert distance(taps_of(add(*filters)), add_taps(*map(taps_of, filters))) < 1e-13


@given(chains())
def test_identity_is_neutral(pair: tuple[Filter, Filter]) -> None:
    filter_, _ = pair
    left = compose(Filter.identity(filter_.c_out, filter_.dims), filter_)
    right = compose(filter_, Filter.identity(filter_.c_in, filter_.dims))
    for found in (left, right):
        assert distance(taps_of(found), taps_of(filter_)) < 1e-15
        assert found.stride == filter_.stride


def test_mistakes_are_named() -> None:
    one = random_filter(ConvSpec.same(2, 3), 0)
    with pytest.raises(GraphError, match="outer 2->3, inner 2->3"):
        compose(one, one)
    with pytest.raises(GraphError, match="dimensions 2 and 1"):
        compose(random_filter(ConvSpec.same(3, 2), 0), random_filter(ConvSpec.same(2, 3, dims=1), 0))
    with pytest.raises(GraphError, match=r"2->3 stride \(1, 1\) and 2->3 stride \(2, 2\)"):
        add(one, random_filter(ConvSpec.same(2, 3, stride=2), 0))


def test_effective_kernel_of_non_square_kernels() -> None:
    assert effective_kernel([(3, 1), (1, 5), (2, 2)]) == (4, 6)


@pytest.mark.parametrize(
    ("c_mid", "k_unknown", "k_noise", "unknowns", "constraints", "rank"), [(3, 3, 3, 27, 25, 24), (2, 5, 3, 50, 49, 41)]
)
def test_equation_3_is_a_count_and_not_sufficient(
    c_mid: int, k_unknown: int, k_noise: int, unknowns: int, constraints: int, rank: int
) -> None:
    assert morphism_count_suffices(1, 1, c_mid, k_unknown, k_noise)
    noise = random_filter(ConvSpec.same(1, c_mid, k_noise), 0)
    columns = []
    for index in range(unknowns):
        weight = torch.zeros(unknowns, dtype=torch.float64)
        weight[index] = 1
        spec = ConvSpec.same(c_mid, 1, k_unknown)
        columns.append(compose(Filter.of(weight.reshape(spec.weight_shape), spec), noise).weight.flatten())
    system = torch.stack(columns, dim=1)
    assert system.shape == (constraints, unknowns)
    assert torch.linalg.matrix_rank(system, rtol=1e-9) == rank


def test_equation_3_where_it_fails() -> None:
    assert not morphism_count_suffices(1, 1, 2, 3, 3)
    assert morphism_count_suffices(4, 4, 4, 3, 1)
