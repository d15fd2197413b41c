"""Norms after an edge: the identity at birth, on the right dimension, for every rank."""

import math

import pytest
import torch
from tests.nn.samples import build, noise
from torch import nn
from torch.nn import functional as F

from netmorph.errors import GraphError
from netmorph.graph.spec import Edge, Fixed, ModuleGraph
from netmorph.nn import MorphedModule
from netmorph.nn.norm import LastBatchNorm, build_norm, named, norm_kind, norm_name, norm_settings

SHAPES = {0: (2, 5, 6), 1: (2, 6, 5), 2: (2, 6, 5, 4), 3: (2, 6, 5, 4, 2)}
BATCH = ("calibrated", "neutral", "paper")
TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize("name", ["calibrated", "neutral", "group", "layer"])
def test_the_identity_at_birth_to_two_units_in_the_last_place(name: str, dims: int, dtype: torch.dtype) -> None:
    norm = build_norm(name, 6, dims, dtype=dtype)
    norm.eval()
    x = 100 * noise(*SHAPES[dims], dtype=torch.float64).to(dtype)
    y = norm(x)
    assert y.dtype == dtype
    assert bool(((y - x).abs() <= 2 * torch.finfo(dtype).eps * x.abs()).all())


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize("name", BATCH)
def test_batch_norm_of_the_sites_rank(name: str, dims: int) -> None:
    norm = build_norm(name, 6, dims)
    assert type(norm) is (LastBatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims]
    assert norm.running_mean.tolist() == [0] * 6
    assert norm.running_var.tolist() == [1] * 6
    torch.testing.assert_close(norm.weight, torch.full((6,), math.sqrt(1 + norm.eps)))
    assert norm.bias.tolist() == [0] * 6


def test_last_batch_norm_normalises_the_last_dimension_of_a_cube() -> None:
    norm, x = LastBatchNorm(6), noise(6, 6, 6) + torch.arange(6.0)
    y = norm(x)
    torch.testing.assert_close(y.mean((0, 1)), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 1)))


@pytest.mark.parametrize("dims", [0, 1, 2])
def test_synchronised_norms_norm_the_same_dimension(dims: int) -> None:
    module = build("1 > 1", c_in=6, c_out=6, dims=dims, norm="neutral")
    x = noise(*{0: (6, 6, 6), 1: (2, 6, 5), 2: (2, 6, 5, 4)}[dims])
    wanted, state = module.train()(x), {key: value.clone() for key, value in module.state_dict().items()}
    twin = build("1 > 1", c_in=6, c_out=6, dims=dims, norm="neutral")
    for _ in range(2):  # converting twice changes nothing
        twin = nn.SyncBatchNorm.convert_sync_batchnorm(twin)
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in twin.norms.children())
    assert type(twin) is MorphedModule
    torch.testing.assert_close(twin.train()(x), wanted)
    assert list(twin.state_dict()) == list(state)
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(value, state[key], msg=key)
    torch.testing.assert_close(twin.eval()(x), module.eval()(x))


@pytest.mark.parametrize("dims", SHAPES)
def test_a_blended_group_norm_is_a_group_norm_at_slope_0(dims: int) -> None:
    norm, x = build_norm("group", 6, dims), noise(*SHAPES[dims])
    norm.num_groups = 2
    norm.slope.data.copy_(torch.tensor([0.0] * 5 + [1.0]))
    rows = x if dims else x.flatten(0, 1)
    expected = F.group_norm(rows, 2).reshape(x.shape)
    last = (slice(None), 5) if dims else (..., 5)
    expected[last] = x[last]
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize(
    ("channels", "groups"), [(2, 1), (6, 1), (8, 2), (16, 4), (32, 8), (96, 16), (128, 32), (192, 32), (7, 1)]
)
def test_each_group_has_several_channels(channels: int, groups: int) -> None:
    assert build_norm("group", channels, 2).num_groups == groups


def test_a_group_norm_at_a_linear_site_depends_on_its_input() -> None:
    """Groups of one channel gave the constant beta, and a ValueError for a single sample."""
    norm = build_norm("group", 16, 0).eval()
    norm.slope.data.zero_()
    one, other = norm(noise(1, 16)), norm(noise(1, 16) * torch.arange(16.0))
    assert not torch.allclose(one, other, atol=0.1)


@pytest.mark.parametrize("dims", SHAPES)
def test_a_blended_layer_norm_normalises_the_channels_of_each_position(dims: int) -> None:
    norm, x = build_norm("layer", 6, dims), noise(*SHAPES[dims])
    norm.slope.data.fill_(0.25)
    axis = 1 if dims else -1
    whole = (x - x.mean(axis, keepdim=True)) / (x.var(axis, correction=0, keepdim=True) + norm.eps).sqrt()
    torch.testing.assert_close(norm(x), 0.75 * whole + 0.25 * x)


def test_an_edge_may_be_named_as_the_container_names_its_own() -> None:
    layout = build("3 > 1").layout
    graph = ModuleGraph.from_edges([Edge("kinds", "s", "a", (3,)), Edge("forward", "a", "t")])
    specs = {"kinds": layout.specs["s_a"], "forward": layout.specs["a_t"]}
    net = MorphedModule(type(layout)(graph, layout.site, specs, layout.cuts, layout.cut), norm="neutral")
    assert dict(net.norms.kinds) == {"kinds": "neutral", "forward": "neutral"}
    assert "norms.kinds_.weight" in net.state_dict()


@pytest.mark.parametrize("name", ["group", "layer"])
def test_a_blended_norms_slope_learns_from_birth(name: str) -> None:
    norm = build_norm(name, 6, 1)
    norm(noise(2, 6, 5)).square().sum().backward()
    assert bool((norm.slope.grad != 0).all())


@pytest.mark.parametrize(("name", "hint"), [("calibratd", "did you mean 'calibrated'"), ("spectral", "the norms are")])
def test_an_unknown_name_is_refused(name: str, hint: str) -> None:
    with pytest.raises(GraphError, match=f"'{name}' is not a norm.*{hint}"):
        build_norm(name, 6, 2)


def test_no_norm() -> None:
    assert build_norm(None, 6, 2) is None
    assert build_norm("none", 6, 2) is None
    assert not list(build("3 > 1").norms)


def test_norms_stand_on_edges_with_weights_and_the_graph_overrides_them() -> None:
    edges = [
        Edge("first", "s", "a", (3,), norm="group"),
        Edge("bare", "a", "t", norm="none"),
        Edge("plain", "a", "t"),
        Edge("skip", "a", "t", fixed=Fixed()),
    ]
    layout = build("3 > 1").layout
    graph = ModuleGraph.from_edges(edges)
    net = MorphedModule(
        type(layout)(graph, layout.site, {e.name: layout.specs["a_t"] for e in edges}, (), frozenset("s"))
    )
    assert list(net.norms) == ["first"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("calibrated(momentum=0.01,eps=1e-3)", "calibrated(eps=0.001, momentum=0.01)"),
        ("neutral(momentum=none, sync=yes)", "neutral(momentum=none, sync=yes)"),
        ("group(eps=1e-05)", "group"),
        ("none", None),
    ],
)
def test_names_with_settings(name: str, written: str | None) -> None:
    assert norm_name(name) == written == norm_name(written)
    made = build_norm(name, 4, 2)
    kind = norm_kind(name)
    assert (None if made is None or kind is None else named(kind, norm_settings(made))) == written


@pytest.mark.parametrize(
    "name",
    [
        "neutral(eps=-1)",
        "neutral(eps=nan)",
        "neutral(eps=none)",
        "neutral(momentum=2)",
        "neutral(sync=1)",
        "neutral(x=1)",
        "group(momentum=0.1)",
        "none(eps=1)",
        "neutral(",
    ],
)
def test_settings_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(GraphError, match="is not a setting of|is not a norm"):
        build_norm(name, 4, 2)
