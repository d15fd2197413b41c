"""The running module against the filters that it amounts to, border included."""

import pytest
import torch
from hypothesis import given
from tests.nn.problems import Problem, apply, close, composed, extend, module, pointwise, problems, shift

from netmorph.errors import GraphError, SiteError
from netmorph.filters import ConvSpec
from netmorph.graph.cuts import sink_cut, source_cut
from netmorph.graph.layout import lay_out
from netmorph.graph.spec import ModuleGraph
from netmorph.nn import MorphedModule


@given(problems(border="halo"))
def test_halo_equals_the_composed_filter_everywhere(problem: Problem) -> None:
    net, x = module(problem, norm="neutral"), problem.signal()
    expected = apply(composed(problem.layout, net.filters()), x, problem.layout.site.output_size(problem.size))
    close(net(x), expected)


@given(problems(border="zeros"))
def test_zeros_border_equals_the_composed_filter_under_pointwise_fill(problem: Problem) -> None:
    net, x = module(problem, act=None), problem.signal()
    net.load_filters(pointwise(problem.layout, net.filters()))
    expected = apply(composed(problem.layout, net.filters()), x, problem.layout.site.output_size(problem.size))
    close(net(x), expected)


@given(problems(border="zeros"))
def test_inside_the_zeros_border_any_filters_are_exact(problem: Problem) -> None:
    """Far from the border even dense filters compose: an impulse there reads out the module filter (eq. 5)."""
    layout, far = problem.layout, 24
    site, net = layout.site, module(problem, act="gelu")
    filt = composed(layout, net.filters())
    size = (2 * far,) * site.dims
    x = torch.zeros(site.c_in, site.c_in, *size, dtype=torch.float64)
    for channel in range(site.c_in):
        x[(channel, channel, *(far,) * site.dims)] = 1
    out = site.output_size(size)
    rows = tuple(slice(n // 4, -(n // 4)) for n in out)  # impulses reach no further than this
    close(net(x)[(..., *rows)], apply(filt, x, out)[(..., *rows)])


MODES = ("reflect", "replicate", "circular")


@given(problems(border="zeros", modes=MODES, named_strides=False, slack=5))
def test_padding_modes_extend_the_signal(problem: Problem) -> None:
    layout = problem.layout
    net, x = module(problem), problem.signal()
    net.load_filters(pointwise(layout, net.filters()))
    pads = [[spec.padding[dim] for spec in layout.specs.values()] for dim in range(layout.site.dims)]
    far = [(max(0, *(p[0] for p in each)), max(0, *(p[1] for p in each))) for each in pads]
    filt = composed(layout, net.filters()).trim()
    size = layout.site.output_size(problem.size)
    close(net(x), apply(shift(filt, far), extend(x, far, layout.site.padding_mode), size))


@given(problems(border="halo", modes=MODES, slack=5))
def test_halo_pads_as_the_site_does_and_with_zeros_beyond(problem: Problem) -> None:
    layout = problem.layout
    site, net, x = layout.site, module(problem), problem.signal()
    filt = composed(layout, net.filters())
    extended = extend(x, list(site.padding), site.padding_mode)
    close(net(x), apply(shift(filt, site.padding), extended, site.output_size(problem.size)))


def test_a_padding_mode_after_a_stride_is_refused() -> None:
    graph = ModuleGraph.from_edges([("s", "a", 1, {"stride": 2}), ("a", "t", 3)])
    site = ConvSpec(2, 2, (5,), 2, padding=((2, 2),), padding_mode="reflect")
    with pytest.raises(GraphError, match="cannot pad its input as the site does"):
        lay_out(graph, site, [sink_cut(graph)], sink_cut(graph))
    halo = lay_out(graph, site, [sink_cut(graph)], sink_cut(graph), border="halo")
    x = torch.randn(2, 2, 9, generator=torch.Generator().manual_seed(0))
    assert MorphedModule(halo)(x).shape == (2, 2, 5)


def test_a_crop_larger_than_the_input_reads_zeros() -> None:
    graph = ModuleGraph.from_edges([("s", "t", 1)])
    site = ConvSpec(1, 1, (2,), 1, 2, ((2, 0),))  # one tap, two before the input of size 1
    for border in ("zeros", "halo"):
        layout = lay_out(graph, site, [source_cut(graph)], source_cut(graph), border=border)
        assert MorphedModule(layout)(torch.ones(1, 1, 1)).tolist() == [[[0.0]]]


@pytest.mark.parametrize("stride", [1, 3])
def test_halo_refuses_an_input_smaller_than_the_window(stride: int) -> None:
    graph = ModuleGraph.from_edges([("s", "a", 3), ("a", "t", 3)])
    site = ConvSpec(2, 2, (5,), stride)
    layout = lay_out(graph, site, [source_cut(graph)], source_cut(graph), border="halo")
    with pytest.raises(SiteError, match=r"smaller than the window .*input \(1, 2, 4\)"):
        MorphedModule(layout)(torch.zeros(1, 2, 4))
