from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import module_graphs

from netmorph.errors import GraphError
from netmorph.graph.spec import LARGEST, Edge, Fixed, ModuleGraph, Width, fresh_name


@pytest.mark.parametrize(
    ("text", "c_out", "channels"),
    [
        (64, 10, 64),
        ("64", 10, 64),
        ("4x", 10, 40),
        ("0.25x", 10, 3),
        ("0.25x", 9, 2),
        ("0.05x", 10, 1),
        ("0.01x", 10, 1),
        (".5x", 10, 5),
        ("1/3x", 12, 4),
        (Width.of("2x"), 3, 6),
    ],
)
def test_width(text: int | str | Width, c_out: int, channels: int) -> None:
    """Relative widths are rounded half up and are at least 1."""
    assert Width.of(text).resolve(c_out) == channels


@given(st.fractions(min_value=Fraction(1, 10**6), max_value=1000, max_denominator=10**6))
def test_width_text_round_trips(value: Fraction) -> None:
    width = Width(value, relative=True)
    assert Width.of(str(width)) == width


@pytest.mark.parametrize(
    ("width", "text"), [(Width.of(60), "60"), (Width.of("0.250x"), "0.25x"), (Width.of("2/6x"), "1/3x")]
)
def test_width_text(width: Width, text: str) -> None:
    assert str(width) == text


@pytest.mark.parametrize(
    "value", ["", "x", "-1", "0", "0x", "4y", "1e3", "0.5", True, 4.5, None, LARGEST + 1, "9999999x", "٣", "1/0x"]
)
def test_strange_widths_are_refused(value: object) -> None:
    with pytest.raises(GraphError, match="width"):
        Width.of(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [Fraction(1, 2), Fraction(0), Fraction(-3)])
def test_absolute_widths_are_whole(value: Fraction) -> None:
    with pytest.raises(GraphError, match="positive number of channels"):
        Width(value)


def test_relative_widths_have_bounded_denominators() -> None:
    with pytest.raises(GraphError, match="positive factor"):
        Width(Fraction(1, 10**12), relative=True)


def test_fixed_scales_are_floats() -> None:
    assert isinstance(Fixed("id", 2).scale, float)
    for scale in (float("nan"), float("inf"), 10**400):
        with pytest.raises(GraphError, match="finite scale"):
            Fixed("id", scale)


def test_what_a_fixed_edge_does_may_be_text() -> None:
    graph = ModuleGraph.from_edges(
        [("s", "t", 1, {"fixed": "id"}), ("s", "t", 3, {"fixed": "-0.5*avg"}), ("s", "t", 1, {"fixed": "1e-2 * id"})]
    )
    assert [edge.fixed for edge in graph.edges] == [Fixed(), Fixed("avg", -0.5), Fixed("id", 0.01)]
    assert str(graph) == str(ModuleGraph.from_edges(graph.edges))
    for wrong in ("identity", "id*0.5", "max", 1, "", True):
        with pytest.raises(GraphError, match=r"not an operation of an edge without weights.*'0\.5\*id'"):
            Edge("e", "s", "t", fixed=wrong)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="finite scale"):
        Edge("e", "s", "t", fixed="1e999*id")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "3a"}, "'3a' is not a name for an edge"),
        ({"source": ""}, "'' is not a name for a blob"),
        ({"sink": "a.b"}, "'a.b' is not a name for a blob"),
        ({"sink": None}, "None is not a name for a blob"),
        ({"kernel": 0}, "kernel must be one to three positive integers, got 0"),
        ({"kernel": (3, 3, 3, 3)}, "kernel must be one to three"),
        ({"kernel": (2.5,)}, "kernel must be one to three"),
        ({"kernel": None}, "kernel must be one to three"),
        ({"kernel": 2.5}, "kernel must be one to three"),
        ({"stride": ()}, "stride must be one to three"),
        ({"dilation": (0,)}, "dilation must be one to three"),
        ({"groups": 0}, "groups must be a positive integer or 'dw', got 0"),
        ({"groups": True}, "groups must be a positive integer"),
        ({"groups": "depthwise"}, "groups must be a positive integer or 'dw', got 'depthwise'"),
        ({"groups": None}, "groups must be a positive integer"),
        ({"norm": 3}, "a norm must be given by name, got 3"),
        ({"norm": "\x1b[31m"}, r"a norm must be given by name, got '\\x1b\[31m'"),
        ({"fixed": Fixed(), "groups": 2}, "cannot have groups or a norm"),
        ({"fixed": Fixed(), "norm": "batch"}, "cannot have groups or a norm"),
        ({"fixed": Fixed(), "kernel": 3}, "cannot have a kernel or a dilation"),
        ({"fixed": Fixed(), "dilation": 2}, "cannot have a kernel or a dilation"),
    ],
)
def test_impossible_edges_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Edge(**{"name": "e", "source": "s", "sink": "t", **arguments})  # type: ignore[arg-type]


def test_edge_numbers_become_tuples() -> None:
    edge = Edge("e", "s", "t", 3, 2, [1, 2])  # type: ignore[arg-type]
    assert (edge.kernel, edge.stride, edge.dilation) == ((3,), (2,), (1, 2))


def test_from_edges_names_parallel_edges_apart() -> None:
    graph = ModuleGraph.from_edges(
        [("s", "t", 3), ("s", "t", 1, {"name": "s_t_2"}), ("s", "t", (1, 3)), Edge("s_t_4", "s", "t"), ("s", "t", 5)]
    )
    assert [edge.name for edge in graph.edges] == ["s_t", "s_t_2", "s_t_3", "s_t_4", "s_t_5"]


def test_from_edges_with_everything() -> None:
    graph = ModuleGraph.from_edges(
        [("in", "a", 3, {"groups": "dw", "stride": 2}), ("a", "out", 1)],
        widths={"a": "4x"},
        activations={"a": "gelu"},
        source="in",
        sink="out",
    )
    assert graph.blobs == ("in", "a", "out")
    assert graph.inner == ("a",)
    assert graph.widths == {"a": Width.of("4x")}
    assert graph.activations == {"a": "gelu"}
    assert graph.edge("in_a").stride == (2,)


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        (("s", "t"), r"expected an edge as \(source, sink, kernel\)"),
        (("s", "t", 3, {}, 4), r"expected an edge as \(source, sink, kernel\)"),
        (("s", "t", 3, [4]), r"expected an edge as \(source, sink, kernel\)"),
        (("s", "t", "wide"), "'s_t': kernel must be one to three positive integers"),
        (5, r"expected an edge as \(source, sink, kernel\).*got 5"),
        (("s", "t", 3, {"colour": "red"}), "'s_t'.*colour.*attributes are those of netmorph.Edge"),
    ],
)
def test_from_edges_refuses_strange_edges(edge: tuple[object, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        ModuleGraph.from_edges([edge])


def test_many_parallel_edges_are_named_in_linear_time() -> None:
    graph = ModuleGraph.from_edges([("s", "t", 1)] * 20_000)
    assert graph.edges[-1].name == "s_t_20000"


def test_unknown_edges_are_named() -> None:
    graph = ModuleGraph.from_edges([("s", "t", 3)])
    with pytest.raises(GraphError, match=r"no edge is named 'x'.*'s_t'"):
        graph.edge("x")


def test_with_edge() -> None:
    graph = ModuleGraph.from_edges([("s", "t", 3)])
    more = graph.with_edge(Edge("parent", "s", "t", (1,)))
    assert [edge.name for edge in more.edges] == ["s_t", "parent"]
    assert len(graph.edges) == 1


@given(module_graphs(widths=True, extras=True))
def test_graphs_are_values(graph: ModuleGraph) -> None:
    items = tuple(reversed(graph.width_items)), tuple(reversed(graph.activation_items))
    again = ModuleGraph(list(graph.edges), *items, graph.source, graph.sink)  # type: ignore[arg-type]
    assert again == graph
    assert hash(again) == hash(graph)
    with pytest.raises(AttributeError):
        graph.edges = ()  # type: ignore[misc]


@given(module_graphs())
def test_blobs_are_in_topological_order(graph: ModuleGraph) -> None:
    order = {blob: index for index, blob in enumerate(graph.blobs)}
    assert graph.blobs[0] == graph.source
    assert graph.blobs[-1] == graph.sink
    assert all(order[edge.source] < order[edge.sink] for edge in graph.edges)
    assert sorted(e.name for table in (graph.incoming, graph.outgoing) for es in table.values() for e in es) == sorted(
        2 * [edge.name for edge in graph.edges]
    )


def test_fresh_names() -> None:
    taken, counts = {"a", "a_3"}, dict[str, int]()
    assert [fresh_name("a", taken, counts) for _ in range(3)] == ["a_2", "a_4", "a_5"]
    assert fresh_name("a", taken) == "a_6"
    assert fresh_name("b", taken) == "b"
