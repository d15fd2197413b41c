from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import module_graphs

from netmorph.graph.catalogue import catalogue, ladder
from netmorph.graph.notation import parse
from netmorph.graph.paths import path_count
from netmorph.graph.reduce import Reduction, reduce, replay
from netmorph.graph.spec import ModuleGraph

Pairs = list[tuple[str, str]]


def is_series_parallel(pairs: Pairs, source: str = "s", sink: str = "t") -> bool:
    """Recognise a two-terminal series-parallel module from the top down, with no merging of edges.

    Split at a blob that every path passes, else into what hangs together without source and sink; a module that allows
    neither and is no single edge is complex.
    """
    if len(pairs) == 1:
        return True
    inner = {blob for pair in pairs for blob in pair} - {source, sink}
    for blob in sorted(inner):
        reached = closure([pair for pair in pairs if blob not in pair], source)
        if sink not in reached:
            before = [pair for pair in pairs if pair[0] in reached]
            after = [pair for pair in pairs if pair[0] not in reached]
            return is_series_parallel(before, source, blob) and is_series_parallel(after, blob, sink)
    parts = [[pair] for pair in pairs if not inner.intersection(pair)]
    while inner:
        piece = closure([p for q in pairs if not {source, sink}.intersection(q) for p in (q, q[::-1])], min(inner))
        parts.append([pair for pair in pairs if piece.intersection(pair)])
        inner -= piece
    return len(parts) > 1 and all(is_series_parallel(part, source, sink) for part in parts)


def closure(pairs: Pairs, start: str) -> set[str]:
    """Return what can be reached from a blob."""
    reached, stack = {start}, [start]
    while stack:
        blob = stack.pop()
        for before, after in pairs:
            if before == blob and after not in reached:
                reached.add(after)
                stack.append(after)
    return reached


@st.composite
def grown(draw: st.DrawFn) -> ModuleGraph:
    """Return a simple module: a single edge, morphed at random."""
    pairs: Pairs = [("s", "t")]
    for count in range(draw(st.integers(0, 12))):
        source, sink = pairs.pop(draw(st.integers(0, len(pairs) - 1)))
        pairs += [(source, f"b{count}"), (f"b{count}", sink)] if draw(st.booleans()) else [(source, sink)] * 2
    order = draw(st.permutations(range(len(pairs))))
    return ModuleGraph.from_edges([(*pairs[index], 1) for index in order])


def pairs_of(graph: ModuleGraph) -> Pairs:
    return [(edge.source, edge.sink) for edge in graph.edges]


def test_the_recogniser_itself() -> None:
    assert is_series_parallel([("s", "t")])
    assert is_series_parallel([("s", "t"), ("s", "a"), ("a", "t"), ("s", "a")])
    assert not is_series_parallel([("s", "a"), ("s", "b"), ("a", "b"), ("a", "t"), ("b", "t")])
    assert not is_series_parallel(pairs_of(catalogue["module_d"]))


@given(module_graphs(max_extra=8) | grown())
def test_simple_is_what_an_independent_recogniser_calls_series_parallel(graph: ModuleGraph) -> None:
    assert reduce(graph).is_simple == is_series_parallel(pairs_of(graph))


@given(grown())
def test_what_was_grown_is_simple(graph: ModuleGraph) -> None:
    reduction = reduce(graph)
    assert reduction.is_simple
    assert len(reduction.steps) == len(graph.edges) - 1


@given(module_graphs(widths=True, names=True, dilations=True, strides=True, fixed=True, extras=True) | grown())
def test_replaying_the_steps_rebuilds_the_graph(graph: ModuleGraph) -> None:
    assert replay(reduce(graph)) == graph


def atomic(reduction: Reduction) -> None:
    """Check that each step is an atomic morph of the graph before it, into the graph before the next."""
    graphs = [step.graph for step in reduction.steps] + [reduction.before(len(reduction.steps))]
    assert graphs[0] == reduction.core
    for step, (before, after) in zip(reduction.steps, pairwise(graphs), strict=True):
        assert before.edge(step.edge.name) == step.edge
        assert set(before.edges) - {step.edge} == set(after.edges) - set(step.edges)
        first, second = step.edges
        assert (step.edge.source, step.edge.sink) == (first.source, second.sink)
        if step.type == "I":
            assert first.sink == second.source == step.blob
            assert set(after.blobs) - set(before.blobs) == {step.blob}
        else:
            assert step.blob is None
            assert (first.source, first.sink) == (second.source, second.sink)
            assert set(after.blobs) == set(before.blobs)


@given(module_graphs(widths=True, extras=True) | grown())
def test_steps_are_atomic(graph: ModuleGraph) -> None:
    atomic(reduce(graph))


@given(module_graphs(max_extra=8))
def test_cores_are_irreducible(graph: ModuleGraph) -> None:
    core = reduce(graph).core
    if len(core.edges) == 1:
        return
    assert len(set(pairs_of(core))) == len(core.edges)
    assert all(len(core.incoming[blob]) > 1 or len(core.outgoing[blob]) > 1 for blob in core.inner)
    assert reduce(core).core == core
    assert path_count(core) <= path_count(graph)


def test_module_d_is_complex() -> None:
    """Proposition 7."""
    reduction = reduce(catalogue["module_d"])
    assert not reduction.is_simple
    assert reduction.steps == ()
    assert reduction.core == catalogue["module_d"]


def test_module_d_inside_another_is_the_core() -> None:
    graph = parse(
        "s-a:3x3, s-b:3x3, a-c:3x3, b-c:1x1, a-e:1x1, c-e:1x1, b-e:1x1, e-f:1x1, e-f:3x3, f-t:1x1 {a: 7, f: 9}"
    )
    reduction = reduce(graph)
    assert [(edge.source, edge.sink) for edge in reduction.core.edges] == [
        ("s", "a"),
        ("s", "b"),
        ("a", "c"),
        ("b", "c"),
        ("a", "e"),
        ("c", "e"),
        ("b", "e"),
        ("e", "t"),
    ]
    assert str(reduction.core.widths["a"]) == "7"
    assert [(step.type, step.blob) for step in reduction.steps] == [("I", "f"), ("II", None)]
    assert reduction.core.edges[-1].kernel == (3, 3)


def test_type_i_comes_before_type_ii_in_the_reduction() -> None:
    reduction = reduce(parse("1x1 > 3x3 | 1x1 > 1x1 | id"))
    assert [(step.edge.name, step.type) for step in reduction.steps] == [
        ("m4", "II"),
        ("m3", "II"),
        ("m2", "I"),
        ("m1", "I"),
    ]
    assert [edge.name for edge in reduction.steps[-1].edges] == ["s_a", "a_t"]


def test_merged_names_are_fresh() -> None:
    reduction = reduce(parse("m1=s-a:1, m2=a-b:1, m4=b-t:1"))
    assert [step.edge.name for step in reduction.steps] == ["m5", "m3"]


SIZE = 100_000


def chain(size: int) -> Pairs:
    return list(pairwise(["s", *(f"b{i}" for i in range(size - 1)), "t"]))


FAMILIES: dict[str, Callable[[int], Pairs]] = {
    "chain": chain,
    "parallel": lambda size: [("s", "t")] * size,
    "double chain": lambda size: [pair for pair in chain(size // 2) for _ in range(2)],
    "fan": lambda size: [pair for i in range(size // 2) for pair in (("s", f"b{i}"), (f"b{i}", "t"))],
    "skips to the sink": lambda size: [*chain(size // 2), *((f"b{i}", "t") for i in range(size // 2 - 2))],
    "skips from the source": lambda size: [*chain(size // 2), *(("s", f"b{i}") for i in range(1, size // 2 - 1))],
    "ladder": lambda size: pairs_of(ladder(size // 4)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_large_graphs_reduce_and_rebuild(family: str) -> None:
    """Anything quadratic would take minutes here."""
    graph = ModuleGraph.from_edges([(*pair, 1) for pair in FAMILIES[family](SIZE // 10)])
    reduction = reduce(graph)
    assert reduction.is_simple == (family != "ladder")
    assert replay(reduction) == graph


def test_notation_is_a_graph() -> None:
    assert reduce("3x3 > 1x1 | id") == reduce(parse("3x3 > 1x1 | id"))


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_hundred_thousand_edges(family: str, kernel: int) -> None:
    """Quadratic work would take hours."""
    graph = ModuleGraph.from_edges([(*pair, kernel) for pair in FAMILIES[family](SIZE)])
    reduction = reduce(graph)
    assert reduction.is_simple == (family != "ladder")
    merged = len(graph.edges) - len(reduction.core.edges)
    assert len(reduction.steps) == merged
