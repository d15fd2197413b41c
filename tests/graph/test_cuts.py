from itertools import islice

import pytest
from hypothesis import given
from tests.oracles import paths
from tests.strategies import module_graphs

from netmorph.graph.catalogue import ladder
from netmorph.graph.cuts import MOST, cuts, fewest_crossing, sink_cut, source_cut
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph


@given(module_graphs())
def test_every_path_crosses_every_cut_once(graph: ModuleGraph) -> None:
    found = list(cuts(graph))
    assert found[0] == source_cut(graph)
    assert sink_cut(graph) in found[:2]
    assert len(set(found)) == len(found)
    for cut in [*found, *fewest_crossing(graph, lambda edge: edge.kernel[0] == 1)]:
        for path in islice(paths(graph), 200):
            assert sum(edge.source in cut and edge.sink not in cut for edge in path) == 1


def test_a_chain_has_all_its_cuts() -> None:
    graph = parse("1 > 3 > 1 > 5")
    assert set(cuts(graph)) == {frozenset(graph.blobs[:count]) for count in range(1, 5)}


def test_cuts_are_bounded() -> None:
    assert len(list(cuts(ladder(200)))) == MOST


@pytest.mark.parametrize("graph", ["1 > 3 > 1 | 3 > 1 > 1", "3 > 1 > 1 | 1 > 3 > 1", "3 | 1 > (1 > 3 | 3 > 1 > 1)"])
def test_the_cut_that_the_fewest_idle_edges_cross(graph: str) -> None:
    made = parse(graph)
    for cut in fewest_crossing(made, lambda edge: edge.kernel != (3,)):
        assert all(edge.kernel == (3,) for edge in made.edges if edge.source in cut and edge.sink not in cut)


@given(module_graphs())
def test_no_other_cut_has_fewer_idle_edges(graph: ModuleGraph) -> None:
    def count(cut: frozenset[str]) -> int:
        return sum(edge.kernel[0] == 1 for edge in graph.edges if edge.source in cut and edge.sink not in cut)

    fewest = [count(cut) for cut in fewest_crossing(graph, lambda edge: edge.kernel[0] == 1)]
    assert len(set(fewest)) == 1
    assert all(fewest[0] <= count(cut) for cut in cuts(graph))
