"""The halo module's impulse response, position by position, against the sum over all paths (eq. 5)."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.nn.problems import close
from tests.oracles import impulse_response, path_sum, response_of
from tests.strategies import module_graphs, random_filters, seeds, sites

from netmorph.errors import GraphError
from netmorph.filters import ConvSpec
from netmorph.graph.cuts import cuts
from netmorph.graph.layout import Layout, lay_out
from netmorph.graph.spec import ModuleGraph
from netmorph.nn import MorphedModule


@st.composite
def halos(draw: st.DrawFn, dims: int) -> Layout:
    """A layout with everything that a graph may hold, at any site of even, equal channels."""
    graph: ModuleGraph = draw(
        module_graphs(
            max_blobs=5,
            max_extra=3,
            dims=dims,
            largest_kernel=3,
            dilations=True,
            groups=True,
            fixed=True,
            names=True,
        )
    )
    site: ConvSpec = draw(sites(dims=dims, largest_kernel=4, max_channels=2, square=True))
    choices = list(cuts(graph))
    sides = [draw(st.sampled_from(choices)) for _ in range(dims)]
    try:
        return lay_out(graph, site, sides, choices[0], border="halo")
    except GraphError:
        assume(False)
        raise


@settings(max_examples=60)
@given(st.integers(1, 2).flatmap(halos), seeds(), st.data())
def test_the_impulse_response_is_the_sum_over_paths(layout: Layout, seed: int, data: st.DataObject) -> None:
    site = layout.site
    least = [max(1, e - sum(p)) for e, p in zip(site.extent, site.padding, strict=True)]
    size = [n + data.draw(st.integers(0, 2)) for n in least]
    filters = random_filters(layout, seed)
    net = MorphedModule(layout, norm="neutral", act="tanh", dtype=torch.float64).eval()
    net.load_filters(filters)
    expected = response_of(path_sum(layout.graph, filters), site.stride, size, site.output_size(size))
    close(impulse_response(net, site.c_in, size), expected)
