import pytest

from netmorph.errors import GraphError
from netmorph.graph.spec import Edge, ModuleGraph, Width

CASES = [
    ([], "needs at least one edge"),
    ([("s", "a", 1), ("a", "s", 1)], "the source 's' is not an end of the graph: an edge enters it"),
    ([("s", "t", 1), ("t", "a", 1)], "the sink 't' is not an end of the graph: an edge leaves it"),
    ([("a", "t", 1)], "no edge leaves the source 's'"),
    ([("s", "a", 1)], "no edge enters the sink 't'"),
    ([("s", "t", 1), ("x", "t", 1)], "2 sources: 's' and 'x'.*connect or remove 'x'"),
    ([("s", "t", 1), ("x", "t", 1), ("y", "t", 1)], "3 sources: 's' and 'x', 'y'"),
    ([("s", "t", 1), ("s", "y", 1)], "2 sinks: 't' and 'y'"),
    ([("s", "a", 1), ("a", "a", 1), ("a", "t", 1)], "cycle through a > a"),
    (
        [("s", "a", 1), ("a", "b", 1), ("b", "c", 1), ("c", "a", 1), ("c", "t", 1)],
        "cycle through (a > b > c > a|b > c > a > b|c > a > b > c)",
    ),
    ([("s", "t", 1), ("a", "b", 1), ("b", "a", 1)], "cycle through (a > b > a|b > a > b)"),
    ([("s", "t", 1, {"name": "e"}), ("s", "t", 3, {"name": "e"})], "two edges are named 'e'.*name them apart"),
    (
        [("s", "t", (3, 3)), ("s", "t", 1, {"stride": (1, 1, 1)})],
        "edge 's_t_2' has a stride of 3 dimensions, edge 's_t' has 2",
    ),
    ([("s", "t", (3, 3), {"dilation": (1, 1, 1)})], "edge 's_t' has a dilation of 3 dimensions, edge 's_t' has 2"),
    ([("s", "t", 3, {"stride": 2}), ("s", "t", 1)], "strides disagree at blob 't': 2 by 's_t', 1 by 's_t_2'"),
    (
        [("s", "a", 3, {"stride": (2, 1)}), ("a", "t", 1, {"stride": (1, 2)}), ("s", "t", 1, {"stride": (2, 1)})],
        "strides disagree at blob 't': 2 by 'a_t', 2x1 by 's_t'",
    ),
]


@pytest.mark.parametrize(("edges", "message"), CASES, ids=[message[:40] for _, message in CASES])
def test_what_is_no_module_names_the_culprit(edges: list[tuple[object, ...]], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        ModuleGraph.from_edges(edges)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"widths": {"z": 3}}, "a width is given for 'z', which is not a blob"),
        ({"widths": {"t": 3}}, "a width is given for 't', but source and sink take theirs from the site"),
        ({"activations": {"a": ""}}, "the activation of 'a' must be given by name, got ''"),
        ({"activations": {"a": 3}}, "the activation of 'a' must be given by name, got 3"),
        ({"activations": {"s": "relu"}}, "an activation is given for 's'"),
        ({"source": "t"}, "source and sink are both named 't'"),
    ],
)
def test_attributes_of_no_inner_blob(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        ModuleGraph.from_edges([("s", "a", 3), ("a", "t", 1)], **keywords)  # type: ignore[arg-type]


def test_a_blob_with_two_widths() -> None:
    edges = (Edge("e", "s", "a"), Edge("f", "a", "t"))
    with pytest.raises(GraphError, match="blob 'a' has a width twice"):
        ModuleGraph(edges, (("a", Width.of(1)), ("a", Width.of(2))))


def test_strides_that_agree_by_different_ways() -> None:
    graph = ModuleGraph.from_edges(
        [
            ("s", "a", 3, {"stride": (2, 1)}),
            ("a", "t", 1, {"stride": (1, 2)}),
            ("s", "t", (1, 3), {"stride": 2}),
            ("s", "b", 1),
            ("b", "t", 1, {"stride": (2, 2)}),
        ]
    )
    assert graph.blobs[0] == "s"


def test_a_long_chain_is_validated_in_linear_time() -> None:
    size = 20_000
    edges = [(f"b{i}" if i else "s", f"b{i + 1}" if i < size - 1 else "t", 1) for i in range(size)]
    assert len(ModuleGraph.from_edges(edges).blobs) == size + 1
