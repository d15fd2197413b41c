import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import module_graphs

from netmorph.errors import GraphError
from netmorph.graph.cuts import cuts
from netmorph.graph.flow import UNBOUNDED, Flow, Side, flow, widths_that_would_do
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph

SIDES: tuple[Side, Side] = ("down", "up")


def ends(graph: ModuleGraph, side: Side) -> list[str]:
    """Return the names of the edges of the source cut ("down") or the sink cut ("up")."""
    return [e.name for e in graph.edges if (e.source == graph.source if side == "down" else e.sink == graph.sink)]


def all_widths(graph: ModuleGraph, channels: int) -> dict[str, int]:
    named = graph.widths
    return {blob: named[blob].resolve(channels) if blob in named else channels for blob in graph.blobs}


def smallest_cut(graph: ModuleGraph, widths: Mapping[str, int], carrying: Collection[str], side: Side) -> int | None:
    """Return the least total width of inner blobs that part the carrying edges from the end: Menger, by trying all."""
    edges = [(e.source, e.sink, e.name) if side == "down" else (e.sink, e.source, e.name) for e in graph.edges]
    goal = graph.sink if side == "down" else graph.source
    best = None
    for blobs in chain.from_iterable(combinations(graph.inner, count) for count in range(len(graph.inner) + 1)):
        stack = [sink for _, sink, name in edges if name in carrying and sink not in blobs]
        seen = set(stack)
        while stack:
            here = stack.pop()
            for source, sink, _ in edges:
                if source == here and sink not in blobs and sink not in seen:
                    seen.add(sink)
                    stack.append(sink)
        total = sum(widths[blob] for blob in blobs)
        if goal not in seen and (best is None or total < best):
            best = total
    return best


@st.composite
def problems(draw: st.DrawFn) -> tuple[ModuleGraph, dict[str, int], list[str], Side]:
    graph = draw(module_graphs(max_blobs=7, widths=True, fixed=draw(st.booleans())))
    widths = all_widths(graph, draw(st.integers(1, 9)))
    side = draw(st.sampled_from(SIDES))
    cut = draw(st.sampled_from(list(cuts(graph))))
    crossing = [e.name for e in graph.edges if e.source in cut and e.sink not in cut]
    carrying = draw(st.lists(st.sampled_from(crossing), min_size=1, unique=True))
    return graph, widths, carrying, side


Problem = tuple[ModuleGraph, dict[str, int], list[str], Side]


@given(problems())
def test_the_maximum_flow_is_the_smallest_cut(problem: Problem) -> None:
    graph, widths, carrying, side = problem
    found = flow(graph, widths, carrying, side)
    expected = smallest_cut(graph, widths, carrying, side)
    assert found.unbounded == (expected is None)
    assert found.value == (UNBOUNDED if expected is None else expected)
    if not found.unbounded:
        assert sum(widths[blob] for blob in found.bottleneck) == found.value
        parted = {**widths, **dict.fromkeys(found.bottleneck, 0)}
        assert smallest_cut(graph, parted, carrying, side) == 0
        order = graph.blobs.index
        assert sorted(found.bottleneck, key=order) == list(found.bottleneck)


@given(problems(), st.none() | st.integers(0, 12))
def test_units_are_conserved_and_fit_the_widths(problem: Problem, need: int | None) -> None:
    graph, widths, carrying, side = problem
    found = flow(graph, widths, carrying, side, need=need)
    assert all(units > 0 for units in found.on.values())
    assert not set(found.on).intersection(carrying)
    into, out = dict.fromkeys(graph.blobs, 0), dict.fromkeys(graph.blobs, 0)
    for name, units in found.on.items():
        edge = graph.edge(name)
        out[edge.source if side == "down" else edge.sink] += units
        into[edge.sink if side == "down" else edge.source] += units
    starts = {graph.edge(name).sink if side == "down" else graph.edge(name).source for name in carrying}
    for blob in graph.inner:
        assert max(into[blob], out[blob]) <= widths[blob]
        assert into[blob] <= out[blob] if blob in starts else into[blob] == out[blob]
    arrived = into[graph.sink if side == "down" else graph.source]
    if found.unbounded:
        return
    best = smallest_cut(graph, widths, carrying, side)
    assert best is not None
    assert arrived == found.value == (best if need is None else min(best, need))
    assert (found.bottleneck == ()) == (need is not None and found.value >= need)


@given(problems(), st.integers(1, 40))
def test_wider_widths_would_do(problem: Problem, need: int) -> None:
    graph, widths, carrying, side = problem
    wider = widths_that_would_do(graph, widths, carrying, side, need)
    assert wider is not None
    enough = flow(graph, widths, carrying, side).value >= need
    assert (wider == {}) == enough
    assert all(widths[blob] < channels <= max(need, widths[blob] * need) for blob, channels in wider.items())
    assert flow(graph, {**widths, **wider}, carrying, side).value >= need


@given(problems())
def test_turning_a_graph_round_turns_the_side_round(problem: Problem) -> None:
    graph, widths, carrying, side = problem
    turned = ModuleGraph.from_edges(
        [(e.sink, e.source, e.kernel, {"name": e.name, "fixed": e.fixed}) for e in graph.edges], source="t", sink="s"
    )
    other: Side = "up" if side == "down" else "down"
    assert flow(turned, widths, carrying, other).value == flow(graph, widths, carrying, side).value


@pytest.mark.parametrize(
    ("text", "side", "expected"),
    [
        ("3x3 > 1x1", "down", Flow(8, {"a_t": 8}, ("a",))),
        ("3x3 > 1x1", "up", Flow(8, {"s_a": 8}, ("a",))),
        ("3x3:0.5x > 1x1", "down", Flow(4, {"a_t": 4}, ("a",))),
        ("3x3", "down", Flow(UNBOUNDED, {}, (), unbounded=True)),
        ("3x3 | 3x3 > 1x1", "down", Flow(UNBOUNDED, {"a_t": 8}, (), unbounded=True)),
        ("3x3:0.5x > 1x1 | 3x3:0.25x > 1x1", "down", Flow(6, {"a_t": 4, "b_t": 2}, ("a", "b"))),
        ("1x1:0.25x > 3x3:0.5x > 1x1", "down", Flow(2, {"a_b": 2, "b_t": 2}, ("a",))),
        ("3x3 > (1x1 | 1x1)", "down", Flow(8, {"a_t": 8}, ("a",))),
    ],
)
def test_named_cases(text: str, side: Side, expected: Flow) -> None:
    graph = parse(text)
    assert flow(graph, all_widths(graph, 8), ends(graph, side), side) == expected


@pytest.mark.parametrize("text", ["3x3 > (1x1 | id)", "3x3 > (id | 1x1)", "3x3 > (1x1 > 1x1 | id | 1x1)"])
def test_fixed_edges_are_preferred(text: str) -> None:
    """Sums such as `I + Q` cancel unless the convolution beside an identity is off the flow, its gain lowered."""
    graph = parse(text)
    (identity,) = (edge.name for edge in graph.edges if edge.fixed is not None)
    assert flow(graph, all_widths(graph, 8), ends(graph, "down"), "down").on == {identity: 8}


def test_what_the_identity_cannot_take_goes_by_the_fewest_convolutions() -> None:
    graph = parse("s-a:3, a-b:1, b-c:1, c-t:1, a-d:id, d-t:1, a-e:1, e-t:1 {a: 8, b: 8, c: 8, d: 3, e: 4}")
    found = flow(graph, all_widths(graph, 8), ["s_a"], "down")
    assert found.on == {"a_d": 3, "d_t": 3, "a_e": 4, "e_t": 4, "a_b": 1, "b_c": 1, "c_t": 1}


def test_identities_carry_flow_though_not_rank() -> None:
    """Two blobs of 4 joined to two others by four identities have a flow of 8 and a rank of 4."""
    graph = parse("s-a:3, s-b:3, a-c:id, a-d:id, b-c:id, b-d:id, c-t:1, d-t:1 {a: 4, b: 4, c: 4, d: 4}")
    assert flow(graph, all_widths(graph, 8), ends(graph, "down"), "down").value == 8


def test_only_the_carrying_edges_start_a_flow() -> None:
    graph = parse("3x3:2 > 1x1 | 1x1:9 > 1x1")
    widths = all_widths(graph, 8)
    assert flow(graph, widths, ["s_a"], "down") == Flow(2, {"a_t": 2}, ("a",))
    assert widths_that_would_do(graph, widths, ["s_a"], "down", 8) == {"a": 8}


def test_a_middle_cut_has_two_sides() -> None:
    graph = parse("1x1:4 > 3x3:6 > 1x1")
    widths = all_widths(graph, 8)
    assert flow(graph, widths, ["a_b"], "up") == Flow(4, {"s_a": 4}, ("a",))
    assert flow(graph, widths, ["a_b"], "down") == Flow(6, {"b_t": 6}, ("b",))


def test_no_carrying_edge_no_flow() -> None:
    graph = parse("3x3 > 1x1")
    assert flow(graph, all_widths(graph, 8), [], "down") == Flow(0, {}, ())
    assert widths_that_would_do(graph, all_widths(graph, 8), [], "down", 8) is None
    assert widths_that_would_do(graph, all_widths(graph, 8), [], "down", 0) == {}


def test_unknown_edges_are_named() -> None:
    graph = parse("3x3 > 1x1")
    with pytest.raises(GraphError, match="no edge is named 'x'"):
        flow(graph, all_widths(graph, 8), ["s_a", "x"], "down")


def test_bottlenecks_are_widened_in_proportion() -> None:
    graph = parse("3x3:2 > 1x1 | 3x3:4 > 1x1")
    assert widths_that_would_do(graph, all_widths(graph, 12), ends(graph, "down"), "down", 12) == {"a": 4, "b": 8}
    graph = parse("3x3:4 > 1x1:6 > 1x1:20 > 1x1")
    assert widths_that_would_do(graph, all_widths(graph, 12), ["s_a"], "down", 12) == {"a": 12, "b": 12}


def test_many_bottlenecks_in_a_row() -> None:
    graph = ModuleGraph.from_edges([(f"b{i}" if i else "s", f"b{i + 1}" if i < 199 else "t", 1) for i in range(200)])
    widths = {blob: 1 + index for index, blob in enumerate(graph.blobs)}
    wider = widths_that_would_do(graph, widths, ["s_b1"], "down", 500)
    assert wider == {f"b{i}": 500 for i in range(1, 200)}


PROGRAM = """
from netmorph.graph.catalogue import ladder
from netmorph.graph.flow import flow
graph = ladder(4)
widths = {blob: 3 + index % 5 for index, blob in enumerate(graph.blobs)}
print(flow(graph, widths, ["s_l1", "s_r1"], "down"))
"""


def test_names_hashes_choose_nothing() -> None:
    said = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True)
        said.add(done.stdout)
    assert len(said) == 1


@pytest.mark.slow
def test_ten_thousand_edges() -> None:
    size = 3000
    blobs = ["s", *(f"b{i}" for i in range(size)), "t"]
    edges = [(blobs[max(0, i - 1 - i * i % 29)], blobs[i], 1) for i in range(1, size + 2)]
    read = {edge[0] for edge in edges}
    edges += [(blob, "t", 1) for blob in blobs[:-1] if blob not in read]
    edges += [(blobs[i], blobs[i + 1 + i * i % 31], 1) for i in range(size - 40)]
    edges += [(blobs[i], blobs[i + 1 + i * 7 % 37], 1) for i in range(10_000 - len(edges))]
    graph = ModuleGraph.from_edges(edges)
    assert len(graph.edges) == 10_000
    widths = {blob: 16 << index % 3 for index, blob in enumerate(graph.blobs)}
    found = flow(graph, widths, ends(graph, "down"), "down")
    assert sum(widths[blob] for blob in found.bottleneck) == found.value
