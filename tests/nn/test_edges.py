"""Each edge's module equals its filter at every position, whatever the padding; the fixed ones too."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.nn.problems import apply, close, extend, shift
from tests.nn.samples import noise

from netmorph.filters import ConvSpec
from netmorph.graph.cuts import source_cut
from netmorph.graph.layout import lay_out
from netmorph.graph.spec import Edge, Fixed, ModuleGraph
from netmorph.nn import MorphedModule
from netmorph.nn.edges import GroupedLinear, ScaledAverage

KINDS: dict[str, dict[str, Any]] = {
    "conv": {},
    "dw": {"groups": "dw"},
    "groups": {"groups": 2},
    "id": {"fixed": Fixed("id", -0.5), "kernel": (1,)},
    "avg": {"fixed": Fixed("avg", 3.0)},
    "mean": {"fixed": Fixed("avg")},
}


@st.composite
def sites(draw: st.DrawFn) -> tuple[ConvSpec, tuple[int, ...], Edge]:
    dims = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    pads = tuple(zip(each(0, 3), each(0, 3), strict=True))
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    site = ConvSpec(4, 4, each(1, 3), each(1, 2), each(1, 2), pads, padding_mode=mode)
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    dilation = None if kind.get("kernel") else draw(st.sampled_from([None, each(1, 2)]))
    edge = Edge(**{"name": "e", "source": "s", "sink": "t", "kernel": each(1, 3), "dilation": dilation, **kind})
    return site, tuple(n + 8 for n in each(0, 3)), edge


@given(sites())
def test_an_edge_equals_its_filter_at_every_position(drawn: tuple[ConvSpec, tuple[int, ...], Edge]) -> None:
    site, size, edge = drawn
    graph = ModuleGraph.from_edges([edge])
    cut = source_cut(graph)
    layout = lay_out(graph, site, [cut] * site.dims, cut)
    net = MorphedModule(layout, dtype=torch.float64)
    x = noise(2, 4, *size, dtype=torch.float64)
    far = [(max(0, before), max(0, after)) for before, after in layout.specs["e"].padding]
    expected = apply(shift(net.filters()["e"], far), extend(x, far, site.padding_mode), site.output_size(size))
    close(net(x), expected)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_a_convolution_pads_by_itself_where_it_can(mode: str) -> None:
    graph = ModuleGraph.from_edges([Edge("odd", "s", "t", (3,)), Edge("even", "s", "t", (2,)), Edge("one", "s", "t")])
    cut = source_cut(graph)
    site = ConvSpec(4, 4, (3, 3), padding=((1, 1), (1, 1)), padding_mode=mode)
    net = MorphedModule(lay_out(graph, site, [cut, cut], cut))
    assert (net.edges["odd"].padding, net.edges["odd"].padding_mode) == ((1, 1), mode)
    assert (net.edges["even"].padding, net.edges["even"].padding_mode) == ((0, 0), "zeros")
    assert (net.edges["one"].padding, net.edges["one"].padding_mode) == ((0, 0), "zeros")
    assert [step.fit is None for step in net._steps] == [True, False, True]


def test_an_average_that_reads_little_but_padding() -> None:
    """`avg_pool2d` refuses to pad by more than half its window; the filter does not care."""
    spec = ConvSpec(1, 1, (2,), padding=((3, 3),))
    graph = ModuleGraph.from_edges([Edge("e", "s", "t", (2,), fixed=Fixed("avg"))])
    net = MorphedModule(lay_out(graph, spec, [source_cut(graph)], source_cut(graph)))
    assert net(torch.ones(1, 1, 1)).tolist() == [[[0, 0, 0.5, 0.5, 0, 0]]]


@pytest.mark.parametrize(("c_in", "c_out", "groups"), [(6, 4, 2), (4, 4, 4), (4, 8, 4), (3, 3, 1)])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,), (2, 0)])
def test_a_grouped_linear_is_block_diagonal(c_in: int, c_out: int, groups: int, shape: tuple[int, ...]) -> None:
    layer = GroupedLinear(c_in, c_out, groups, dtype=torch.float64)
    layer.weight.data.copy_(noise(c_out, c_in // groups, dtype=torch.float64))
    whole = torch.block_diag(*layer.weight.chunk(groups))
    x = noise(*shape, c_in, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ whole.mT)
    assert repr(layer) == f"GroupedLinear(in_features={c_in}, out_features={c_out}, groups={groups})"


def test_fixed_edges_show_what_they_do() -> None:
    assert repr(ScaledAverage(0.5, ConvSpec(1, 1, (3,), 2), ((1, 1),))) == (
        "ScaledAverage(scale=0.5, kernel_size=(3,), stride=(2,), padding=(1,))"
    )
    graph = ModuleGraph.from_edges([Edge("e", "s", "t", fixed=Fixed("id", 0.5))])
    cut = source_cut(graph)
    nets = [MorphedModule(lay_out(graph, ConvSpec(1, 1, (1,), s), [cut], cut)) for s in (1, 2)]
    assert [repr(net.edges["e"]) for net in nets] == [
        "ScaledIdentity(scale=0.5)",
        "ScaledIdentity(scale=0.5, stride=(2,))",
    ]
