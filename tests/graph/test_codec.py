from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import module_graphs

from netmorph.errors import GraphError
from netmorph.graph.codec import LONGEST, from_json, graph_from_dict, graph_to_dict, to_json
from netmorph.graph.notation import parse
from netmorph.graph.spec import Edge, ModuleGraph, Width

everything = module_graphs(
    strides=True, dilations=True, widths=True, fixed=True, names=True, extras=True
) | module_graphs(groups=True, fixed=True)


@given(everything)
def test_everything_round_trips(graph: ModuleGraph) -> None:
    assert graph_from_dict(graph_to_dict(graph)) == graph
    assert from_json(to_json(graph)) == graph
    assert hash(from_json(to_json(graph, indent=2))) == hash(graph)


def test_defaults_are_left_out() -> None:
    assert graph_to_dict(parse("3x3")) == {"edges": [{"name": "s_t", "source": "s", "sink": "t", "kernel": [3, 3]}]}
    edge = Edge("e", "x", "y", (3,), (2,), (1,), "dw", "batch")
    graph = ModuleGraph((edge, Edge("f", "y", "z")), (("y", Width.of("1/3x")),), (("y", "relu"),), "x", "z")
    assert graph_to_dict(graph) == {
        "edges": [
            {
                "name": "e",
                "source": "x",
                "sink": "y",
                "kernel": [3],
                "stride": [2],
                "dilation": [1],
                "groups": "dw",
                "norm": "batch",
            },
            {"name": "f", "source": "y", "sink": "z", "kernel": [1]},
        ],
        "widths": {"y": "1/3x"},
        "activations": {"y": "relu"},
        "source": "x",
        "sink": "z",
    }


def described(**changes: Any) -> dict[str, Any]:
    edge = {"name": "e", "source": "s", "sink": "t", "kernel": [3]}
    return {"edges": [{key: value for key, value in (edge | changes).items() if value != "-"}]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "a graph must be described by a dictionary, got None"),
        ([], "a graph must be described by a dictionary"),
        ({}, "a graph has no 'edges'"),
        ({"edges": {}}, "edges of a graph must be a list"),
        ({"edges": []}, "needs at least one edge"),
        ({"edges": [3]}, "edge 0 must be described by a dictionary, got 3"),
        ({**described(), "blobs": []}, "unknown key 'blobs'"),
        ({**described(), "widths": {"a": 3}}, "widths must be a dictionary from blobs to strings"),
        ({**described(), "widths": []}, "widths must be a dictionary"),
        ({**described(), "activations": {"a": None}}, "activations must be a dictionary"),
        ({**described(), "source": 3}, "a graph's source must be a string, got 3"),
        ({**described(), "sink": ["t"] * 100}, r"a graph's sink must be a string, got \['t', .*\.\.\."),
        (described(kernel="-"), "edge 0 has no 'kernel'"),
        (described(name=3), "edge 0: name must be a string, got 3"),
        (described(name="a b"), "'a b' is not a name for an edge"),
        (described(name="a" * 201), "is not a name"),
        (described(kernel=3), "kernel must be a list of one to three integers, got 3"),
        (described(kernel=[3] * 100), "kernel must be a list of one to three"),
        (described(kernel=[]), "kernel must be one to three positive integers"),
        (described(kernel=[True]), "kernel must be one to three positive integers"),
        (described(kernel=[1 << 40]), "kernel must be one to three positive integers"),
        (described(kernel=[[3]]), "kernel must be one to three positive integers"),
        (described(stride="2"), "stride must be a list"),
        (described(dilation=[1.0]), "dilation must be one to three positive integers"),
        (described(groups=2.0), "groups must be an integer or 'dw', got 2.0"),
        (described(groups=True), "groups must be an integer"),
        (described(groups=-1), "groups must be a positive integer"),
        (described(norm=1), "norm must be a string"),
        (described(fixed="id"), "edge 0: fixed must be described by a dictionary"),
        (described(fixed={"kind": "id"}), "edge 0: fixed has no 'scale'"),
        (described(fixed={"kind": "id", "scale": "1"}), "scale must be a number"),
        (described(fixed={"kind": "id", "scale": True}), "scale must be a number"),
        (described(fixed={"kind": "id", "scale": float("nan")}), "finite scale"),
        (described(fixed={"kind": "id", "scale": 10**400}), "finite scale"),
        (described(fixed={"kind": "max", "scale": 1}), "'id' or 'avg'"),
        (described(fixed={"kind": None, "scale": 1}), "kind must be a string"),
    ],
)
def test_strange_descriptions_are_refused(data: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        graph_from_dict(data)
    assert len(str(caught.value)) < 600


def test_null_stands_for_the_default() -> None:
    graph = graph_from_dict(described(stride=None, dilation=None, norm=None, fixed=None))
    assert graph == graph_from_dict(described())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid JSON of a graph"),
        ("{", "invalid JSON of a graph"),
        ("[" * 100_000, "invalid JSON of a graph"),
        ('{"edges": [], "edges": []}', "a key is given twice"),
        ("3", "described by a dictionary, got 3"),
        ('{"edges": [{"name": 1' + "0" * 5000 + "}]}", "invalid JSON of a graph"),
        (" " * (LONGEST + 1), "64000001 characters; at most 64000000"),
    ],
)
def test_strange_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["s", "t", "dw", "id", "4x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["edges", "name", "source", "sink", "kernel", "widths", "fixed"]), inner)
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from(["name", "source", "sink", "kernel", "stride", "dilation", "groups", "fixed"]))
def test_any_value_anywhere_is_read_or_refused(value: Any, key: str) -> None:
    for data in (value, {"edges": value}, described(**{key: value}), {**described(), "widths": value}):
        try:
            graph = graph_from_dict(data)
        except GraphError as error:
            assert str(error)  # noqa: PT017 - either outcome is right
        else:
            assert graph_from_dict(graph_to_dict(graph)) == graph
