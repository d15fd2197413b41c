"""Eq. 8: the identity at slope 1, phi at slope 0, each channel on its own, for any phi."""

from dataclasses import replace

import pytest
import torch
from tests.nn.samples import build, noise
from torch import nn
from torch.nn import functional as F

from netmorph.errors import GraphError
from netmorph.nn import MorphedModule, slopes
from netmorph.nn.activations import (
    act_at,
    act_name,
    build_activation,
    name_of,
    phi_name,
    plain_name,
    symmetry_of,
    with_acts_at,
)

PHI = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "SiLU": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "hardswish": F.hardswish,
    "leaky_relu": F.leaky_relu,
    "LeakyReLU": F.leaky_relu,
    "elu": F.elu,
    "mish": F.mish,
    "softplus": F.softplus,
    "auto": F.relu,
    "prelu": F.relu,
}
SHAPES = {0: (2, 5, 3), 1: (2, 3, 5), 2: (2, 3, 5, 4), 3: (2, 3, 5, 4, 2)}


@pytest.mark.parametrize("dims", SHAPES)
@pytest.mark.parametrize("name", PHI)
def test_a_blend_of_phi_and_the_identity_by_channel(name: str, dims: int) -> None:
    act = build_activation(name, 3, dims)
    x = noise(*SHAPES[dims])
    assert torch.equal(act(x), x)
    a = torch.tensor([0.0, 1.0, 0.25])
    act.weight.data.copy_(a)
    a = a.view(-1, *(1,) * dims)
    torch.testing.assert_close(act(x), (1 - a) * PHI[name](x) + a * x)


def test_relu_is_a_plain_prelu_where_channels_are_on_dimension_1() -> None:
    assert type(build_activation("relu", 3, 2)) is nn.PReLU


def test_slopes_of_a_linear_site_are_on_the_last_dimension_of_a_cube() -> None:
    act = build_activation("relu", 8, 0)
    act.weight.data.zero_()[3] = 1
    y = act(-torch.ones(8, 8, 8))
    assert torch.equal(y[..., 3], -torch.ones(8, 8))
    assert int(y.count_nonzero()) == 64


@pytest.mark.parametrize("shape", [(8,), (0, 8), (2, 0, 8)])
@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_linear_shapes_of_any_rank(name: str, shape: tuple[int, ...]) -> None:
    assert build_activation(name, 8, 0)(torch.ones(shape)).shape == shape


@pytest.mark.parametrize("name", ["relu", "gelu"])
def test_slopes_learn_from_birth(name: str) -> None:
    act = build_activation(name, 3, 1)
    act(noise(2, 3, 5)).square().sum().backward()
    assert bool((act.weight.grad != 0).all())


@pytest.mark.parametrize(
    ("name", "hint"),
    [("relux", "did you mean 'relu'"), ("hard_swich", "did you mean 'hardswish'"), ("glu", "celu, elu")],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(GraphError, match=f"{name}.*is not an activation.*{hint}"):
        build_activation(name, 3, 2)


def test_none_is_no_activation() -> None:
    assert build_activation("none", 3, 2) is None
    assert not list(build("3 > 3 > 1", act=None).acts)


def test_the_graph_overrides_the_activation_of_a_blob() -> None:
    layout = build("3 > 1 > 1 > 1").layout
    layout = replace(layout, graph=replace(layout.graph, activation_items=(("a", "tanh"), ("b", "none"))))
    for act in ("gelu", None):
        made = MorphedModule(layout, act=act)
        assert isinstance(made.acts["a"].phi, nn.Tanh)
        assert "b" not in made.acts
        assert ("c" in made.acts) == (act is not None)


def test_slopes_lists_what_weight_decay_should_leave_alone() -> None:
    net = nn.Sequential(nn.PReLU(4), build("3 > 1 | 1", norm="layer"), build("1 > 1", dims=0, act="gelu"))
    found = dict(slopes(net))
    named = dict(net.named_parameters())
    assert set(found) == {name for name in named if ".acts." in name or name.endswith(".slope")}
    assert all(found[name] is named[name] for name in found)
    assert len(found) == 1 + 3 + 1
    assert [name for name, _ in slopes(net[2])] == ["acts.a.weight"]


def test_slopes_skips_a_replaced_activation() -> None:
    net = build("3 > 1 > 1")
    first = next(iter(net.acts))
    net.acts.set_submodule(net.acts.key(first), nn.ReLU())
    assert len(slopes(net)) == 1


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("GELU(approximate=tanh)", "gelu(approximate=tanh)"),
        ("leaky_relu(negative_slope=0.01)", "leakyrelu"),
        ("LeakyReLU( negative_slope = .2 )", "leakyrelu(negative_slope=0.2)"),
        ("hardtanh(max_val=3,min_val=-2)", "hardtanh(min_val=-2.0, max_val=3.0)"),
        ("relu()", "relu"),
        ("auto", "relu"),
        ("none", None),
    ],
)
def test_names_with_settings(name: str, written: str | None) -> None:
    assert phi_name(name) == written == phi_name(written)
    made = build_activation(name, 2, 1)
    assert (None if made is None else name_of(made)) == written


@pytest.mark.parametrize(
    "name",
    [
        "gelu(approximate=x)",
        "gelu(approximate=1)",
        "gelu(tanh)",
        "leakyrelu(slope=2)",
        "leakyrelu(negative_slope=inf)",
        "leakyrelu(negative_slope=0.1, negative_slope=0.2)",
        "hardtanh(min_val=3, max_val=1)",
        "relu(x=1)",
        "gelu(",
        "none(x=1)",
    ],
)
def test_settings_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(GraphError, match="is not a setting of|is not an activation"):
        phi_name(name)


PLAIN = {
    "relu": nn.ReLU,
    "gelu(approximate=tanh)": nn.GELU,
    "leakyrelu(negative_slope=0.2)": nn.LeakyReLU,
    "elu": nn.ELU,
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_name_is_phi_itself(name: str) -> None:
    act = build_activation(f"plain_{name}", 3, 2)
    assert type(act) is PLAIN[name]
    assert not list(act.parameters())
    x = noise(2, 3, 4, 4)
    parametric = build_activation(name, 3, 2)
    parametric.weight.data.zero_()
    torch.testing.assert_close(act(x), parametric(x))
    assert act_name(act) == f"plain_{name}"
    assert act_name(parametric) == name


def test_plain_names_are_written_in_one_way() -> None:
    assert phi_name("plain_ReLU") == phi_name("plain_auto") == plain_name("relu") == plain_name("plain_relu")
    assert phi_name("plain_none") is None
    assert phi_name("plain_leaky_relu(negative_slope=0.01)") == "plain_leakyrelu"
    assert plain_name(None) is None
    with pytest.raises(GraphError, match="did you mean 'relu'"):
        phi_name("plain_relux")
    with pytest.raises(GraphError, match="is not an activation"):
        phi_name("plain_plain_plain_x")


def test_only_slope_is_parametric() -> None:
    assert [act_at(birth, "gelu") for birth in ("slope", "pair", "zero", "cancel")] == ["gelu", *["plain_gelu"] * 3]
    assert act_at("slope", "plain_gelu") == "gelu"
    assert act_at("pair", None) is None
    graph = replace(build("3 > 1 > 1").layout.graph, activation_items=(("a", "relu"), ("b", "none")))
    assert with_acts_at("zero", graph, ["a", "b"]).activations == {"a": "plain_relu", "b": "none"}
    assert with_acts_at("zero", graph, ["b"]).activations == {"a": "relu", "b": "none"}


ODD = {
    "relu": 1.0,
    "leakyrelu(negative_slope=0.2)": 1.2,
    "gelu": 1.0,
    "gelu(approximate=tanh)": 1.0,
    "silu": 1.0,
    "hardswish": 1.0,
    "softplus": 1.0,
    "logsigmoid": 1.0,
    "plain_relu": 1.0,
}
SIDES = {"relu": (1.0, 0.0), "leakyrelu(negative_slope=0.2)": (1.0, 0.2), "plain_relu": (1.0, 0.0)}
NOT_ODD = ("elu", "celu", "selu", "mish", "tanh", "sigmoid", "relu6", "hardtanh", "softsign", "tanhshrink", "rrelu")


@pytest.mark.parametrize("name", ODD)
def test_what_pairs_pass_on(name: str) -> None:
    found = symmetry_of(name)
    assert found.odd == pytest.approx(ODD[name], rel=1e-12)
    assert found.sides == (pytest.approx(SIDES[name]) if name in SIDES else None)
    x = noise(100, seed=1, dtype=torch.float64) * torch.logspace(-3, 3, 100, dtype=torch.float64)
    phi = build_activation(plain_name(name), 1, 0)
    torch.testing.assert_close(phi(x) - phi(-x), found.odd * x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "name", [*NOT_ODD, "leakyrelu(negative_slope=-1.0)", "hardshrink", "softshrink", "hardsigmoid"]
)
def test_what_pairs_do_not_pass_on(name: str) -> None:
    assert symmetry_of(name).odd is None


def test_a_symmetry_is_found_whatever_the_default_device() -> None:
    with torch.device("meta"):
        assert symmetry_of("relu").odd == 1.0
