from dataclasses import replace

import pytest
from hypothesis import given
from tests.oracles import paths
from tests.strategies import module_graphs, random_filter

from netmorph.errors import GraphError
from netmorph.filters import ConvSpec, compose
from netmorph.graph.merge import in_parallel, in_series
from netmorph.graph.notation import parse
from netmorph.graph.reduce import reduce
from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.graph.write import write_atom


def edge(text: str) -> Edge:
    (only,) = parse(text).edges
    return only


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("3x3", "1x1", "3x3"),
        ("3x3", "3x3", "5x5"),
        ("3", "3x1", "5x3"),
        ("3", "5", "7"),
        ("2", "2", "3"),
        ("3~2", "1", "3~2"),
        ("3~2", "3~2", "5~2"),
        ("3~2", "3", "7~1"),
        ("3/2", "3", "7/2"),
        ("1/2", "3", "3/2~2"),
        ("3/2", "1/2", "3/4"),
        ("1/2x1", "1/1x2", "1/2"),
        ("3/1", "3", "5/1"),
        ("id", "id", "id"),
        ("0.5*id", "-2*id/2", "-1*id/2"),
        ("1e300*id", "1e300*id", "1*dw"),
        ("id", "3", "3"),
        ("3", "avg3", "5"),
        ("avg3", "avg3", "5*dw"),
        ("3*dw", "3*dw", "5*dw"),
        ("3*4", "3*6", "5*2"),
        ("3*4", "3*dw", "5*4"),
        ("3*dw", "3*4", "5"),
        ("3*4", "id", "3*4"),
    ],
)
def test_series(inner: str, outer: str, expected: str) -> None:
    merged = in_series("m", edge(inner), edge(outer))
    assert write_atom(merged) == expected
    assert (merged.name, merged.source, merged.sink, merged.norm) == ("m", "s", "t", None)
    assert merged == replace(merged)  # what the constructor would have made, checks included


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("3x3", "1x1", "3x3"),
        ("3x1", "1x3", "3x3"),
        ("3", "5x1", "5x3"),
        ("3~2", "3", "5~1"),
        ("3~2", "1", "3~2"),
        ("3~2", "5~2", "5~2"),
        ("3~4", "3~6", "7~2"),
        ("3/2", "1/2", "3/2"),
        ("0.5*id", "0.5*id", "id"),
        ("1e308*id", "1e308*id", "1*dw"),
        ("id", "3", "3"),
        ("id", "3*dw", "3*dw"),
        ("3*dw", "5*4", "5*4"),
        ("3*4", "5*dw", "5*4"),
        ("3*4", "3*6", "3*2"),
        ("id", "avg3", "3*dw"),
    ],
)
def test_parallel(first: str, second: str, expected: str) -> None:
    merged = in_parallel("m", edge(first), edge(second))
    assert write_atom(merged) == expected
    assert merged == replace(merged)


def test_norms_are_lost() -> None:
    edges = Edge("e", "s", "t", (3,), norm="batch"), Edge("f", "s", "t", (3,), norm="batch")
    assert in_parallel("m", *edges).norm is None
    assert in_series("m", *edges).norm is None


def test_kernels_are_bounded() -> None:
    large = Edge("e", "s", "t", (1 << 20,))
    with pytest.raises(GraphError, match="edges 'e' and 'e' amount to a kernel of 2097151; the limit is 1048576"):
        in_series("m", large, large)


@pytest.mark.parametrize("pair", [("3", "3"), ("3~2", "2~3"), ("3/2", "3~2"), ("1/2", "3"), ("3x5~2", "2x1")])
def test_series_kernels_are_those_of_composed_filters(pair: tuple[str, str]) -> None:
    inner, outer = map(edge, pair)
    filters = [
        random_filter(ConvSpec.same(2, 2, e.kernel, stride=e.stride or 1, dilation=e.dilation or 1), 0)
        for e in (outer, inner)
    ]
    merged, composed = in_series("m", inner, outer), compose(*filters)
    spec = ConvSpec.same(2, 2, merged.kernel, stride=merged.stride or 1, dilation=merged.dilation or 1)
    assert (spec.kernel, spec.dilation, spec.stride) == (composed.kernel, composed.dilation, composed.stride)


@given(module_graphs(max_extra=2, dilations=True, strides=True, largest_kernel=4))
def test_a_simple_graph_spans_what_its_longest_path_spans(graph: ModuleGraph) -> None:
    reduction = reduce(graph)
    if not reduction.is_simple:
        return
    (core,) = reduction.core.edges
    spans = []
    for path in paths(graph):
        span, step = [0, 0], 1
        for part in path:
            kernel = part.kernel * 2 if len(part.kernel) == 1 else part.kernel
            dilation = (part.dilation or (1,))[0]
            span = [total + step * dilation * (k - 1) for total, k in zip(span, kernel, strict=True)]
            step *= (part.stride or (1,))[0]
        spans.append(span)
        assert step == (core.stride or (1,))[0]
    kernel, dilation = (value * 2 if len(value) == 1 else value for value in (core.kernel, core.dilation or (1,)))
    assert [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)] == [
        max(side) for side in zip(*spans, strict=True)
    ]
