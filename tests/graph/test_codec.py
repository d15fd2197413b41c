from hypothesis import given
from tests.strategies import module_graphs

from netmorph.graph.codec import from_json, graph_from_dict, graph_to_dict, to_json
from netmorph.graph.spec import ModuleGraph

everything = module_graphs(
    strides=True, dilations=True, widths=True, fixed=True, names=True, extras=True
) | module_graphs(groups=True, fixed=True)


@given(everything)
def test_everything_round_trips(graph: ModuleGraph) -> None:
    assert graph_from_dict(graph_to_dict(graph)) == graph
    assert from_json(to_json(graph)) == graph
    assert hash(from_json(to_json(graph, indent=2))) == hash(graph)
