from itertools import islice, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.strategies import module_graphs

from netmorph.errors import GraphError, NotationError
from netmorph.graph.notation import has_notation, parse, to_notation
from netmorph.graph.read_expression import blob_names
from netmorph.graph.scanner import LONGEST
from netmorph.graph.spec import Edge, Fixed, ModuleGraph, Width

ATOMS = ["3x3", "3", "1x3", "1x1x1", "id", "0.5*id", "-1*id", "avg3x3", "0.1*avg3", "3/2x1", "3~2", "3*dw", "5x5*8~2"]


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2, *, writes_sink: bool = True) -> str:
    """Return text of the expression form; every blob gets at most one width."""
    branches = []
    for _ in range(draw(st.integers(1, 3))):
        parts = []
        for last in [False] * draw(st.integers(0, 2)) + [True]:
            # All elements of a graph agree on their dimensions and strides here: atoms without those.
            atom = draw(st.sampled_from([atom for atom in ATOMS if "/" not in atom and "1x1x1" not in atom]))
            if depth and draw(st.booleans()):
                atom = f"({draw(expressions(depth - 1, writes_sink=False))})"
            width = "" if last else draw(st.sampled_from(["", ":64", ":4x", ":0.25x", ":1/3x"]))
            parts.append(atom + width)
        branches.append(draw(st.sampled_from([" > ", ">", "\n>\t"])).join(parts))
    return draw(st.sampled_from([" | ", "|"])).join(branches)


def edge(text: str) -> Edge:
    (only,) = parse(text).edges
    return only


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3x3", Edge("s_t", "s", "t", (3, 3))),
        ("3", Edge("s_t", "s", "t", (3,))),
        ("1x3x5", Edge("s_t", "s", "t", (1, 3, 5))),
        ("3x3/2", Edge("s_t", "s", "t", (3, 3), stride=(2,))),
        ("3x3/2x1", Edge("s_t", "s", "t", (3, 3), stride=(2, 1))),
        ("3x3~2", Edge("s_t", "s", "t", (3, 3), dilation=(2,))),
        ("3x3*dw", Edge("s_t", "s", "t", (3, 3), groups="dw")),
        ("3x3 * 8 ~ 2 / 2", Edge("s_t", "s", "t", (3, 3), stride=(2,), dilation=(2,), groups=8)),
        ("id", Edge("s_t", "s", "t", fixed=Fixed())),
        ("0.5*id", Edge("s_t", "s", "t", fixed=Fixed("id", 0.5))),
        (".5 * id", Edge("s_t", "s", "t", fixed=Fixed("id", 0.5))),
        ("-1*id/2", Edge("s_t", "s", "t", stride=(2,), fixed=Fixed("id", -1.0))),
        ("1e-3*id", Edge("s_t", "s", "t", fixed=Fixed("id", 0.001))),
        ("avg3x3", Edge("s_t", "s", "t", (3, 3), fixed=Fixed("avg"))),
        ("2*avg3~2", Edge("s_t", "s", "t", (3,), dilation=(2,), fixed=Fixed("avg", 2.0))),
        ("((3x3))", Edge("s_t", "s", "t", (3, 3))),
        ("s-t:3x3", Edge("s_t", "s", "t", (3, 3))),
        ("F1 = s-t : 3x3*dw", Edge("F1", "s", "t", (3, 3), groups="dw")),
    ],
)
def test_one_edge(text: str, expected: Edge) -> None:
    assert edge(text) == expected


def test_series_parallel_and_groups() -> None:
    graph = parse("1x1:0.25x > (3x3 | id > 5x5:8):4x > 1x1 | 3x3".replace("5x5:8", "5x5"))
    found = [(e.name, e.kernel) for e in graph.edges]
    assert found == [("s_a", (1, 1)), ("a_c", (3, 3)), ("a_b", (1,)), ("b_c", (5, 5)), ("c_t", (1, 1)), ("s_t", (3, 3))]
    assert graph.widths == {"a": Width.of("0.25x"), "c": Width.of("4x")}


def test_blobs_are_named_in_the_order_of_the_text() -> None:
    graph = parse(" > ".join(["1"] * 52))
    expected = [c for c in "abcdefghijklmnopqrstuvwxyz" if c not in "st"]
    assert graph.inner == (*expected, *(f"{c}1" for c in expected), "a2", "b2", "c2")


def test_a_width_after_any_of_the_edges_that_write_a_blob() -> None:
    for text in ("(3x3:8 | 1x1) > 1x1", "(3x3 | 1x1:8) > 1x1", "(3x3 | 1x1):8 > 1x1", "(3x3:8 | 1x1:8):8 > 1x1"):
        assert parse(text).widths == {"a": Width.of(8)}
    assert parse("3x3 > 1x1 {a: 8}").widths == {"a": Width.of(8)}
    assert parse("3x3:8 > 1x1 {a: 8}", widths={"a": 8}).widths == {"a": Width.of(8)}
    assert parse("3x3 > 1x1", widths={"a": "0.5x"}).widths == {"a": Width.of("0.5x")}


def test_edge_list() -> None:
    graph = parse("F1=s-a:3x3/2:64, s-a : 1x1/2,F2=a-b:id, s_a_2=b-t:5*dw { b : 64 }")
    assert [e.name for e in graph.edges] == ["F1", "s_a", "F2", "s_a_2"]
    assert graph.widths == {"a": Width.of(64), "b": Width.of(64)}


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "the notation is empty"),
        ("   ", 3, "the notation is empty"),
        ("3x3 >", 5, "expected an edge, found the end"),
        ("3x3 > > 1x1", 6, "expected an edge, found '>'"),
        ("3x3 ? 1x1", 4, "unexpected '?'"),
        ("(3x3 > 1x1", 0, "not closed"),
        ("(3x3, 1x1)", 4, r"expected '\)' after the group, found ','"),
        ("3x3)", 3, r"unexpected '\)'"),
        ("()", 1, "expected an edge"),
        ("conv3x3", 0, "expected an edge, found 'c'"),
        ("0x3", 0, "this edge: kernel must be one to three positive integers"),
        ("3x3x3x3", 0, "at most three dimensions, got 4"),
        ("99999999", 0, "this kernel is too large"),
        ("9999999", 0, "kernel must be one to three positive integers"),
        ("3x", 1, "unexpected 'x'"),
        ("3/", 2, "expected a stride, found the end"),
        ("3//2", 2, "expected a stride, found '/'"),
        ("3/0", 0, "this edge: stride"),
        ("3/2/2", 3, "stride is given twice"),
        ("3~2~2", 3, "dilation is given twice"),
        ("3*dw*8", 4, "groups is given twice"),
        ("3:8:8 > 1", 3, "width is given twice"),
        ("3*", 2, "expected groups"),
        ("3*dwx", 2, "expected groups"),
        ("3*0", 0, "groups must be a positive integer or 'dw'"),
        ("3*99999999", 2, "too many groups"),
        ("3: > 1", 3, "expected a width, found '>'"),
        ("3:0 > 1", 2, "a width must be a positive number of channels"),
        ("3:0.5 > 1", 2, "'0.5' is not a valid width"),
        ("3:9999999 > 1", 2, "a width must be a positive number"),
        ("3:x > 1", 2, "expected a width"),
        ("3:1/0x > 1", 2, "'1/0x' is not a valid width"),
        ("3:64", 1, "source and sink take their width from the site"),
        ("(3 > 1):64", 7, "source and sink take their width from the site"),
        ("(3:64 | 1:32) > 1", 9, "blob 'a' is given two widths, 64 and 32"),
        ("(3:64 | 1):32 > 1", 10, "blob 'a' is given two widths, 64 and 32"),
        ("3:64 > 1 {a: 32}", 10, "blob 'a' is given two widths"),
        ("id*dw", 0, "cannot have groups or a norm"),
        ("id~2", 0, "cannot have a kernel or a dilation"),
        ("id3", 2, "unexpected '3'"),
        ("avg", 3, "expected a kernel, found the end"),
        ("1e999*id", 0, "finite scale"),
        ("٣x٣", 0, "expected a kernel"),
        ("3 > 1 {", 7, "expected the name of a blob, found the end"),
        ("3 > 1 {a 4}", 9, "expected ':' between blob and width, found '4'"),
        ("3 > 1 {a: 4", 11, "expected '}' after the widths"),
        ("3 > 1 {a: 4} 5", 13, "unexpected '5'"),
        ("3 > 1 {t: 4}", 7, "source and sink take"),
        ("s-a:3,", 6, "expected the name of a blob or an edge"),
        ("s-:3", 2, "expected the name of a blob, found ':'"),
        ("s-a", 3, "expected ':' and a kernel after the edge s-a"),
        ("s-a:", 4, "expected an edge"),
        ("s-a:3, F1=", 10, "expected the name of a blob"),
        ("s-a:3, F1=b", 11, "expected '-' between the blobs"),
        ("F=s-a:3, F=a-t:1", 9, "two edges are named 'F'"),
        ("s-t:3:64", 5, "source and sink take their width"),
        ("s-a:3:64, a-t:1 {a: 32}", 17, "blob 'a' is given two widths"),
    ],
)
def test_errors_point_at_the_character(text: str, position: int, message: str) -> None:
    with pytest.raises(NotationError, match=message) as caught:
        parse(text)
    assert (caught.value.text, caught.value.position) == (text, position)
    *_, shown, arrow = str(caught.value).split("\n")
    assert shown == f"  {text}"
    assert arrow == " " * (position + 2) + "^"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s-a:3, a-s:1", "the source 's' is not an end"),
        ("s-a:3, a-b:1, b-a:1, b-t:1", "cycle through"),
        ("s-a:3", "no edge enters the sink 't'"),
        ("s-a:3, s-b:1, a-t:1", "2 sinks: 't' and 'b'"),
        ("3/2 | 1", "strides disagree at blob 't'"),
        ("3 > 1 {z: 4}", "given for 'z', which is not a blob"),
        ("3x3 > 1x1x1", "edge 'a_t' has a kernel of 3 dimensions, edge 's_a' has 2"),
    ],
)
def test_what_reads_but_is_no_module_names_the_notation(text: str, message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        parse(text)
    assert not isinstance(caught.value, NotationError)
    assert caught.value.graph == text


def test_widths_given_apart_must_agree() -> None:
    with pytest.raises(NotationError, match="two widths, 64 and 32"):
        parse("3:64 > 1", widths={"a": 32})
    with pytest.raises(GraphError, match="'wide' is not a valid width"):
        parse("3 > 1", widths={"a": "wide"})


def test_long_and_unprintable_notation_is_shown_in_part() -> None:
    with pytest.raises(NotationError) as caught:
        parse("3 > " * 200 + "\x1b[31m" + "3 > " * 200)
    shown = caught.value.text
    assert shown.startswith("...")
    assert shown.endswith("...")
    assert len(shown) <= 206
    assert "\x1b" not in str(caught.value)
    assert shown[caught.value.position :].startswith(" [31m")
    with pytest.raises(GraphError) as structural:
        parse("3/2 | " * 100 + "1")
    assert structural.value.graph is not None
    assert len(structural.value.graph) < 150


def test_hostile_input_is_bounded() -> None:
    with pytest.raises(NotationError, match="1000001 characters; at most 1000000"):
        parse("3" * (LONGEST + 1))
    with pytest.raises(NotationError, match="nested deeper than 64") as caught:
        parse("(" * 5000)
    assert caught.value.position == 64
    assert edge("(" * 64 + "3" + ")" * 64).kernel == (3,)
    with pytest.raises(NotationError, match="expected the notation as a string, got int"):
        parse(3)  # type: ignore[arg-type]
    digits = "9" * 100_000
    for text, message in (
        (digits, "this kernel is too large"),
        (f"{digits}*id", "this kernel is too large"),
        (f"3/{digits}", "this stride is too large"),
        (f"3*{digits}", "too many groups"),
        (f"3:{digits} > 1", "too many digits"),
        (f"3:{digits}/{digits}x > 1", "too many digits"),
        (f"{digits}x{digits}", "too large"),
        (f"1{'x1' * 100_000}", "at most three dimensions"),
        (f"1.{digits}*id", "unexpected '.'"),
        (f"{'a' * 100_000}", "expected an edge"),
    ):
        with pytest.raises(NotationError, match=message):
            parse(text)


@given(expressions())
def test_expressions_round_trip(text: str) -> None:
    graph = parse(text)
    assert parse(str(graph)) == graph
    assert has_notation(graph)


@given(
    module_graphs(strides=True, dilations=True, widths=True, fixed=True, names=True)
    | module_graphs(groups=True, fixed=True, names=True)
    | module_graphs(dims=3)
)
def test_graphs_round_trip(graph: ModuleGraph) -> None:
    assert parse(to_notation(graph)) == graph
    assert has_notation(graph)
    assert str(graph) == to_notation(graph)


@given(module_graphs(widths=True, names=True, extras=True))
def test_text_never_fails_and_says_what_it_left_out(graph: ModuleGraph) -> None:
    text = str(graph)
    kept = not graph.activations and graph.source == "s" and all(edge.norm is None for edge in graph.edges)
    assert has_notation(graph) == kept
    assert all(edge.name in text or f"{edge.source}-{edge.sink}" in text or kept for edge in graph.edges)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("3x3>1x1", "3x3 > 1x1"),
        ("s-a:3x3, a-t:1x1", "3x3 > 1x1"),
        ("a-t:1x1, s-a:3x3", "a-t:1x1, s-a:3x3"),
        ("F1=s-a:3x3, a-t:1x1", "F1=s-a:3x3, a-t:1x1"),
        ("s-x:3x3:64, x-t:1x1", "s-x:3x3, x-t:1x1 {x: 64}"),
        ("(3x3 > (1x1 | id)):4x > 1x1", "3x3 > (1x1 | id):4x > 1x1"),
        ("3 > 1 {a: 1/3x}", "3:1/3x > 1"),
        ("s_a_2=s-a:3, s-a:1, a-t:1", "s_a_2=s-a:3, s_a=s-a:1, a-t:1"),
        ("s_t_2=s-t:3, x=s-t:1, s-t:1", "s_t_2=s-t:3, x=s-t:1, s_t=s-t:1"),
        ("s_t_9=s-t:3, s_t_2=s-t:1", "s_t_9=s-t:3, s_t_2=s-t:1"),
        ("s-t:3, x=s-t:1, s-t:1", "s-t:3, x=s-t:1, s-t:1"),
        ("-1.0*id | 0.10*avg3", "-1*id | 0.1*avg3"),
    ],
)
def test_the_shortest_form_is_printed(given_text: str, expected: str) -> None:
    graph = parse(given_text)
    assert str(graph) == expected
    assert parse(expected) == graph


def test_deep_and_large_graphs_print_as_edge_lists() -> None:
    shallow, deep = (ModuleGraph.from_edges(nested(depth)) for depth in (60, 70))
    assert str(shallow).startswith("(((")
    assert str(deep).startswith("s-a:1, ")
    chain = [(f"b{i}" if i else "s", f"b{i + 1}" if i < 2999 else "t", 1) for i in range(3000)]
    large = ModuleGraph.from_edges(chain)
    assert str(large).startswith("s-b1:1, ")
    assert all(has_notation(graph) for graph in (shallow, deep, large))


def nested(depth: int) -> list[tuple[str, str, int]]:
    """Return the edges of `((1 > 1 | 1) > 1 | 1) > 1` and so on, named and ordered as the notation has them."""
    blobs = ["s", *islice(blob_names(), depth)]
    edges = [("s", "a", 1)]
    for before, after in pairwise(blobs[1:]):
        edges += [(before, after, 1), ("s", after, 1)]
    return [*edges, (blobs[-1], "t", 1)]


@given(st.text("0123456789x>|()*/~:.- sabtdwigv,={}e", max_size=40))
@example("3" * 20 + "x")
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        graph = parse(text)
    except GraphError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert parse(str(graph)) == graph


@given(expressions(depth=1), st.integers(0, 60), st.sampled_from(">|()*/~:x3d, {}=-\x00é"))
def test_any_mutation_is_read_or_refused(text: str, place: int, character: str) -> None:
    for changed in (text[:place] + character + text[place:], text[:place] + text[place + 1 :]):
        try:
            graph = parse(changed)
        except GraphError as error:
            assert str(error)  # noqa: PT017 - either outcome is right
        else:
            assert parse(str(graph)) == graph
