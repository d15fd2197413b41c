from itertools import pairwise

from hypothesis import given
from tests.strategies import module_graphs

from netmorph.graph.catalogue import catalogue, ladder
from netmorph.graph.draw.crossings import crossings, ordered
from netmorph.graph.draw.layers import in_layers
from netmorph.graph.draw.positions import positions
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph


def oracle(layers, columns) -> int:
    """Count crossings pair by pair."""
    place = {node: index for column in columns for index, node in enumerate(column)}
    count = 0
    for column in columns:
        lines = [(place[node], place[end]) for node in column for end in layers.after[node]]
        count += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(lines) for c, d in lines[i + 1 :])
    return count


@given(module_graphs(max_blobs=9, max_extra=8))
def test_orders_keep_all_nodes_and_never_cross_more(graph: ModuleGraph) -> None:
    layers = in_layers(graph)
    columns = ordered(layers)
    assert [sorted(column) for column in columns] == [sorted(column) for column in layers.columns]
    assert crossings(layers, columns) == oracle(layers, columns) <= oracle(layers, layers.columns)


@given(module_graphs(max_blobs=9, max_extra=8))
def test_edges_pass_one_node_a_column_and_have_one_label(graph: ModuleGraph) -> None:
    layers = in_layers(graph)
    for edge in graph.edges:
        chain = [layers.nodes[node] for node in layers.chains[edge.name]]
        assert (chain[0].name, chain[-1].name) == (edge.source, edge.sink)
        assert [node.column for node in chain] == list(range(chain[0].column, chain[-1].column + 1))
        assert sum(node.kind == "label" for node in chain) == 1
        assert all(node.column % 2 == (node.kind == "label") for node in chain if node.kind != "bend")


@given(module_graphs(max_blobs=9, max_extra=8))
def test_positions_keep_order_and_distance(graph: ModuleGraph) -> None:
    layers = in_layers(graph)
    columns = ordered(layers)
    room = [1.0 + index % 3 for index in range(len(layers.nodes))]
    at = positions(layers, columns, room)
    for column in columns:
        for above, below in pairwise(column):
            assert at[below] - at[above] >= (room[above] + room[below]) / 2 - 1e-6


def test_planar_modules_are_drawn_without_crossings() -> None:
    shuffled = parse("b-t:1x1, s-t:1x1, s-b:1x1, a-t:1x1, c-t:1x1, s-c:1x1, s-a:1x1")
    flat = [graph for name, graph in catalogue.items() if name != "ladder"]
    assert all(crossings(in_layers(graph), ordered(in_layers(graph))) == 0 for graph in (*flat, shuffled))


def test_a_ladder_crosses_once_a_rung() -> None:
    layers = in_layers(ladder(6))
    assert crossings(layers, ordered(layers)) == 5
