import pytest
from hypothesis import given
from tests.strategies import module_graphs

from netmorph.graph.draw import describe_edge, listing
from netmorph.graph.draw.picture import draw_graph
from netmorph.graph.draw.svg import to_svg
from netmorph.graph.notation import parse
from netmorph.graph.spec import Edge, ModuleGraph


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3x3", "3x3"),
        ("3/2x1~2*8", "3 stride 2x1 dilation 2 8 groups"),
        ("3*dw", "3 depthwise"),
        ("id", "identity"),
        ("-0.5*id/2", "-0.5 times the identity stride 2"),
        ("avg3x3", "3x3 mean"),
        ("2*avg3x3~2", "2 times the 3x3 mean dilation 2"),
    ],
)
def test_edges_in_words(text: str, words: str) -> None:
    assert describe_edge(parse(text).edges[0]) == words


def test_norms_are_named() -> None:
    assert describe_edge(Edge("e", "s", "t", (3,), norm="batch")) == "3 norm batch"


def test_widths_at_a_site() -> None:
    text = listing(parse("1x1:4x > 3x3"), {"s": 16, "a": 128, "t": 32})
    assert [line.split()[:2] for line in text.split("\n")[1:4]] == [["s", "16"], ["a", "128"], ["t", "32"]]


def test_activations_are_listed() -> None:
    graph = ModuleGraph.from_edges([("s", "a", 1), ("a", "b", 1), ("b", "t", 1)], activations={"b": "gelu"})
    rows = {line.split()[0]: line.split()[2] for line in listing(graph).split("\n")[1:5]}
    assert rows == {"s": "-", "a": "auto", "b": "gelu", "t": "-"}
    plain = ModuleGraph.from_edges([("s", "a", 1), ("a", "t", 1)], activations={"a": "plain_relu"})
    assert "plain relu" in listing(plain)
    assert "plain_relu" not in to_svg(draw_graph(plain))
    assert "activation plain relu" in to_svg(draw_graph(plain))


@given(module_graphs(widths=True, names=True, extras=True))
def test_every_blob_and_edge_has_a_line_and_columns_align(graph: ModuleGraph) -> None:
    blobs, edges = listing(graph).split("\n\n")
    assert [line.split()[0] for line in blobs.split("\n")[1:]] == list(graph.blobs)
    assert [line.split()[0] for line in edges.split("\n")[1:]] == [edge.name for edge in graph.edges]
    assert not any(line.endswith(" ") for line in (blobs + edges).split("\n"))
    header, *rows = edges.split("\n")
    assert all(row[header.index("path") - 2 : header.index("path")] == "  " for row in rows)
    assert all(row[header.index("does") - 2 : header.index("does")] == "  " for row in rows)
