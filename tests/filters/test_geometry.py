from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import sites

from netmorph.errors import GraphError
from netmorph.filters.geometry import ConvSpec, per_dimension

CONVOLUTIONS = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}


@pytest.mark.parametrize(
    ("value", "dims", "expected"), [(3, 2, (3, 3)), ((3,), 3, (3, 3, 3)), ((1, 2), 2, (1, 2)), (5, 0, ())]
)
def test_per_dimension(value: int | tuple[int, ...], dims: int, expected: tuple[int, ...]) -> None:
    assert per_dimension(value, dims, "kernel") == expected


@pytest.mark.parametrize("value", [np.int64(3), [np.int32(3), 3], np.array([3, 3])])
def test_any_whole_number_will_do(value: Any) -> None:
    found = per_dimension(value, 2, "kernel")
    assert found == (3, 3)
    assert {type(each) for each in found} == {int}


@pytest.mark.parametrize("value", [2.0, "2", None, (1, 1.5), (1, "x"), ["3x3"]])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    with pytest.raises(GraphError, match="stride must be an integer, or one for each dimension, got"):
        per_dimension(value, 2, "stride")


def test_per_dimension_names_both_counts() -> None:
    with pytest.raises(GraphError, match="kernel 1x2x3 has 3 dimensions, the site has 2.*kernel 1"):
        per_dimension((1, 2, 3), 2, "kernel")


@given(st.integers(1, 3).flatmap(lambda dims: sites(dims=dims)), st.integers(0, 4))
def test_output_size_is_pytorchs(spec: ConvSpec, spare: int) -> None:
    size = [extent + spare for extent in spec.extent]
    pads = [p for pair in reversed(spec.padding) for p in pair]
    x = torch.nn.functional.pad(torch.zeros(1, spec.c_in, *size), pads)
    weight = torch.zeros(spec.weight_shape)
    y = CONVOLUTIONS[spec.dims](x, weight, stride=spec.stride, dilation=spec.dilation)
    assert tuple(y.shape[2:]) == spec.output_size(size)


@given(st.integers(0, 3).flatmap(lambda dims: sites(dims=dims)))
def test_dictionary_round_trips(spec: ConvSpec) -> None:
    assert ConvSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    "change", [{"c_in": "3"}, {"c_in": True}, {"kernel": 3}, {"kernel": [1.5]}, {"padding": [[1]]}, {"groups": None}]
)
def test_a_foreign_dictionary_is_refused(change: dict[str, object]) -> None:
    data = ConvSpec.same(4, 4).to_dict() | change
    with pytest.raises(GraphError, match="invalid description of a convolution"):
        ConvSpec.from_dict(data)
    with pytest.raises(GraphError, match="'groups'"):
        ConvSpec.from_dict({key: value for key, value in ConvSpec.same(4, 4).to_dict().items() if key != "groups"})


@given(sites(same=True, strides=False))
def test_same_keeps_the_size(spec: ConvSpec) -> None:
    assert spec.output_size((7, 9)) == (7, 9)


def test_same_pads_even_kernels_more_after() -> None:
    assert ConvSpec.same(1, 1, (4, 3), dilation=(1, 2)).padding == ((1, 2), (2, 2))


def test_properties() -> None:
    spec = ConvSpec(4, 6, (3, 5), (1, 2), (2, 1), ((1, 2), (0, -1)), groups=2)
    assert (spec.dims, spec.taps, spec.extent, spec.offset) == (2, 15, (5, 5), (-1, 0))
    assert spec.weight_shape == (6, 2, 3, 5)
    assert spec.flat_shape == (6, 2, 15)
    assert spec.with_(groups=1).weight_shape == (6, 4, 3, 5)
    linear = ConvSpec(4, 6)
    assert (linear.dims, linear.taps, linear.weight_shape, linear.output_size(())) == (0, 1, (6, 4), ())


def test_text_names_what_is_not_default() -> None:
    assert str(ConvSpec(4, 6)) == "4->6"
    assert str(ConvSpec(4, 6, (3, 3))) == "4->6 kernel 3x3"
    spec = ConvSpec(4, 6, (3, 5), (1, 2), (2, 1), ((1, 2), (1, 1)), groups=2)
    assert str(spec) == "4->6 kernel 3x5 stride 1x2 dilation 2x1 padding (1,2)x1 groups 2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, (3,)), "at least 1"),
        ((1, 1, (3,), (0,)), "at least 1"),
        ((1, 1, (3, 3), (1, 1), (1, 1), ((0, 0),)), "one pair of paddings"),
        ((1, 1, (1, 1, 1, 1)), "0 to 3 dimensions"),
        ((4, 6, (1,), (1,), (1,), ((0, 0),), 4), "4 groups do not divide both 4 input and 6 output"),
        ((4, 6, (1,), (1, 1)), "stride 1x1 has 2 dimensions"),
    ],
)
def test_impossible_geometry_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        ConvSpec(*arguments)  # type: ignore[arg-type]
