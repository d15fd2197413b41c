"""The running module: what it computes, what it answers for, how it is copied, cast and replaced in part."""

import copy
import math
import weakref

import pytest
import torch
from hypothesis import given
from tests.nn.problems import Problem, close, module, problems
from tests.nn.samples import build, noise
from torch import Tensor, nn

from netmorph.errors import GraphError
from netmorph.filters import ConvSpec
from netmorph.graph.cuts import source_cut
from netmorph.graph.layout import lay_out
from netmorph.graph.notation import parse
from netmorph.nn import MorphedModule, slopes


def reference(net: MorphedModule, x: Tensor) -> Tensor:
    """The docstring's formula, blob by blob."""
    graph, site = net.layout.graph, net.layout.site
    fits = {edge.name: step.fit for edge in graph.edges for step in net._steps if step.edge == edge.name}
    at = {graph.source: x}
    for blob in graph.blobs[1:]:
        terms = []
        for edge in graph.incoming[blob]:
            y = at[edge.source]
            fit = fits[edge.name]
            y = net.edges[edge.name](y if fit is None else fit(y))
            terms.append(net.norms[edge.name](y) if edge.name in net.norms else y)
        total = torch.stack(terms).sum(0)
        at[blob] = net.acts[blob](total) if blob in net.acts else total
    return at[graph.sink] + net.bias.view(-1, *(1,) * site.dims)


@given(problems(border="zeros"))
def test_it_computes_the_sum_over_edges_at_every_blob(problem: Problem) -> None:
    net, x = module(problem, bias=True, norm="neutral").train(), problem.signal(batch=3)
    for index, (_, slope) in enumerate(slopes(net)):
        slope.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(index))
    if all(n > 1 for n in problem.size):  # BatchNorm in train mode wants more than one value a channel
        close(net(x), reference(net, x))
    net.eval()
    close(net(x), reference(net, x))


def test_a_bias_is_added_once_at_the_sink() -> None:
    for dims in range(4):
        net = build("3 > 1 | 1" if dims else "1 > 1 | 1", dims=dims, bias=True)
        x = torch.zeros((2, *(5,) * dims, 4) if dims == 0 else (2, 4, *(5,) * dims))
        assert torch.equal(net(x).movedim(1 if dims else -1, -1).reshape(-1, 6)[0], net.bias)
    assert build("3 > 1").bias is None


@pytest.mark.parametrize("border", ["zeros", "halo"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unbatched_and_empty_inputs(dims: int, border: str) -> None:
    net = build("3 > 1 | 2", dims=dims, border=border, norm="neutral", bias=True, act="gelu").eval()
    x = noise(3, 4, *(4,) * dims)
    torch.testing.assert_close(net(x[1]), net(x)[1])
    assert net(x[:0]).shape == (0, 6, *(4,) * dims)


def test_unbatched_where_channels_and_height_agree() -> None:
    """`nn.PReLU` on (C, H, W) with C = H would take rows for channels."""
    net = build("1 > 1", 6, 6)
    net.acts["a"].weight.data.copy_(torch.arange(6.0))
    x = noise(2, 6, 6, 6)
    torch.testing.assert_close(net(x[0]), net(x)[0])


def test_children_and_state_dict_have_the_graphs_names() -> None:
    net = build("3 > 1 | 0.5*id", 6, bias=True, norm="neutral")
    assert [type(net.edges[name]).__name__ for name in net.edges] == ["Conv2d", "Conv2d", "ScaledIdentity"]
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(net.state_dict()) == [
        "bias",
        "edges.s_a.weight",
        "edges.a_t.weight",
        *(f"norms.s_a.{key}" for key in norm),
        *(f"norms.a_t.{key}" for key in norm),
        "acts.a.weight",
    ]
    assert all(edge.bias is None for edge in net.edges.children() if isinstance(edge, nn.Conv2d))
    assert type(build("1 > 1", dims=0).edges["s_a"]) is nn.Linear


def test_it_answers_for_the_convolution_it_replaces() -> None:
    conv = nn.Conv2d(4, 8, (3, 5), 2, (1, 2), (1, 2), 2, padding_mode="circular")
    pads = tuple((p, p) for p in conv.padding)
    site = ConvSpec(4, 8, conv.kernel_size, conv.stride, conv.dilation, pads, 2, "circular")
    graph = parse("3 > 1")
    net = MorphedModule(lay_out(graph, site, [source_cut(graph)] * 2, source_cut(graph)))
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"]
    assert {name: getattr(net, name) for name in names} == {name: getattr(conv, name) for name in names}
    assert not hasattr(net, "in_features")


def test_it_answers_for_a_same_padded_even_kernel() -> None:
    graph = parse("4 > 1")
    site = ConvSpec.same(2, 2, 4)
    net = MorphedModule(lay_out(graph, site, [source_cut(graph)] * 2, source_cut(graph)))
    assert net.padding == nn.Conv2d(2, 2, 4, padding="same").padding


def test_it_answers_for_the_linear_layer_it_replaces() -> None:
    net = build("1 > 1", dims=0)
    assert (net.in_features, net.out_features) == (4, 6)
    assert not hasattr(net, "in_channels")


def test_it_has_no_weight_and_says_why() -> None:
    net = build("3 > 1")
    assert not hasattr(net, "weight")
    with pytest.raises(AttributeError, match="no single weight: its edges have"):
        _ = net.weight
    with pytest.raises(AttributeError, match="no attribute 'wieght'"):
        _ = net.wieght


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"bias": True}, "'3 > 1 | 1', 4->6 kernel 3x3 padding 1x1, bias=True"),
        ({"border": "halo"}, "'3 > 1 | 1', 4->6 kernel 3x3 padding 1x1, bias=False, border='halo'"),
    ],
)
def test_it_shows_its_graph_and_its_site(options: dict[str, object], shown: str) -> None:
    assert build("3 > 1 | 1", **options).extra_repr() == shown


def test_is_linear() -> None:
    net = build("3 > 1 | id", 6, norm="neutral")
    assert not net.train().is_linear  # batch statistics
    assert net.eval().is_linear
    net.acts["a"].weight.data[0] = 0.5
    assert not net.is_linear
    net.acts.set_submodule("a", nn.Identity())
    assert not net.is_linear  # an unknown activation
    assert build("3 > 1", act=None).is_linear
    assert build("1 > 1*dw", 6, dims=0).is_linear
    blended = build("3 > 1", act=None, norm="layer").train()
    assert blended.is_linear
    blended.norms["s_a"].slope.data.zero_()
    assert not blended.is_linear


def test_an_edge_may_be_morphed_again() -> None:
    net = build("3 > 1")
    inner = build("1 > 1", 6, 6)
    net.set_submodule("edges.a_t", inner)
    assert net.is_linear
    x = noise(2, 4, 5, 5)
    torch.testing.assert_close(net(x), inner(net.acts["a"](net.edges["s_a"](x))))
    assert "edges.a_t.edges.s_a.weight" in net.state_dict()
    inner.acts["a"].weight.data.zero_()
    assert not net.is_linear
    net.set_submodule("edges.a_t", nn.Dropout())
    assert not net.is_linear


def test_copies_are_independent_and_equal() -> None:
    net = build("3 > 1 | 1", norm="neutral", bias=True)
    other = copy.deepcopy(net)
    x = noise(2, 4, 5, 5)
    assert torch.equal(other.eval()(x), net.eval()(x))
    other.edges["s_a"].weight.data.zero_()
    assert not torch.equal(other(x), net(x))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_it_moves_to_another_dtype(act: str, dtype: torch.dtype) -> None:
    net = build("3 > 1 | 1 | 0.5*id", 6, norm="neutral", bias=True, act=act).to(dtype)
    y = net(noise(2, 6, 5, 5).to(dtype))
    assert y.dtype == dtype
    y.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == dtype for p in net.parameters())


@pytest.mark.parametrize("border", ["zeros", "halo"])
def test_channels_last_stays_channels_last(border: str) -> None:
    net = build("3 > 1 | 1 | 0.5*id", 6, norm="neutral", bias=True, border=border).eval()
    x = noise(2, 6, 5, 5)
    expected = net(x)
    y = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, expected)


def test_the_meta_device_costs_nothing() -> None:
    net = build("3 > 1 | 1", device="meta", norm="neutral", bias=True)
    assert all(p.is_meta for p in net.parameters())
    assert net(torch.empty(2, 4, 5, 5, device="meta")).shape == (2, 6, 5, 5)


def test_construction_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    build("3 > 1 | 1", norm="neutral", bias=True, act="gelu")
    build("1 > 1*dw", 6, dims=0, bias=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_default_device_and_dtype_change_where_weights_live_and_not_what_they_are() -> None:
    plain = build("3 > 1")
    with torch.device("meta"):
        assert build("3 > 1", norm="neutral").edges["s_a"].weight.is_meta
        other = build("3 > 1", device="cpu", dtype=torch.float64)
        fixed = build("3 > 1 | 0.5*id", 6, device="cpu")
    fixed.load_filters(fixed.filters())
    assert torch.equal(other.edges["s_a"].weight.float(), plain.edges["s_a"].weight)


@pytest.mark.parametrize(("option", "match"), [({"act": "gleu"}, "gelu"), ({"norm": "nuetral"}, "neutral")])
def test_a_name_is_checked_even_where_nothing_uses_it(option: dict[str, str], match: str) -> None:
    with pytest.raises(GraphError, match=f"did you mean '{match}'"):
        build("0.5*id", 6, **option)


def test_initial_weights_follow_the_seed_and_the_fan_in() -> None:
    one, two, three = (build("3:64 > 1", bias=True, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.edges["s_a"].weight, three.edges["s_a"].weight)
    for weight, fan_in in ((one.edges["s_a"].weight, 36), (one.edges["a_t"].weight, 64)):
        bound = 1 / math.sqrt(fan_in)
        assert 0.95 * bound < float(weight.detach().abs().max()) <= bound
        assert abs(float(weight.detach().mean())) < bound / 10
    assert float(one.bias.detach().abs().max()) <= 1 / 6
    one.reset_parameters(torch.Generator().manual_seed(2))
    assert torch.equal(one.edges["s_a"].weight, three.edges["s_a"].weight)


def test_intermediate_blobs_are_freed_once_read() -> None:
    net, alive = build("1 > 1 > 1 > 1", act=None), []
    net.edges["s_a"].register_forward_hook(lambda _m, _a, y: alive.append(weakref.ref(y)) and None)
    net.edges["b_c"].register_forward_hook(lambda _m, _a, _y: alive.append(alive[0]() is None))
    with torch.no_grad():
        net(noise(1, 4, 3, 3))
    assert alive[1] is True
