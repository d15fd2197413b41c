import pytest

from netmorph.errors import GraphError
from netmorph.graph.embedding import embed, match_edges
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph


def pairs(old: str, new: str) -> dict[str, str]:
    return {name: edge.name for name, edge in match_edges(parse(old), parse(new)).items()}


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("3x3 > 1x1", "3x3 > 3x3", {"s_a": "s_a", "a_t": "a_t"}),
        ("0.5*id | 1x1 > 1x1", "1x1 > 1x1 | 1x1 > 1x1", {"s_a": "s_a", "a_t": "a_t"}),
        # an identity goes on as one where it can, else as a convolution
        ("id", "3x3 | id", {"s_t_2": "s_t"}),
        ("id", "3x3", {"s_t": "s_t"}),
        ("0.5*id | 3x3", "1x1 | 3x3", {"s_t": "s_t", "s_t_2": "s_t_2"}),
        # by name, and by what fits
        ("3x3", "1x1 | 3x3", {"s_t_2": "s_t"}),
        ("3x3 | 1x1", "1x1 | 3x3", {"s_t": "s_t_2", "s_t_2": "s_t"}),
        ("1x1 | 3x3", "5x5 | 3x3", {"s_t": "s_t", "s_t_2": "s_t_2"}),
        ("3x1", "3x3", {"s_t": "s_t"}),
        ("3x1", "1x3", {}),
        ("3", "3x3", {"s_t": "s_t"}),
        # groups: blocks fit into larger blocks
        ("3x3*dw", "3x3", {"s_t": "s_t"}),
        ("3x3*4", "3x3*2", {"s_t": "s_t"}),
        ("3x3*dw", "3x3*2", {"s_t": "s_t"}),
        ("3x3*4", "3x3*3", {}),
        ("3x3*4", "3x3*dw", {}),
        ("3x3", "3x3*2", {}),
        ("avg3x3", "avg3x3", {"s_t": "s_t"}),
        ("avg3x3", "avg5x5", {}),
        ("0.5*id", "id", {}),
        ("3x3", "id", {}),
        # what is new has no weights: the convolution makes up for it
        ("3x3", "3x3 | id", {}),
        ("3x3 | 0.5*id", "3x3 | 0.5*id | 2*id", {"s_t_2": "s_t_2"}),
        ("0.5*id", "id | 1x1", {}),
        ("3x3", "3x3 | id | 1x1", {"s_t": "s_t"}),
    ],
)
def test_edges_are_matched(old: str, new: str, kept: dict[str, str]) -> None:
    assert pairs(old, new) == kept


def test_bundles() -> None:
    old = parse("s-a:3x3, a-t:1x1, s-t:0.5*id")
    new = parse("s-a:3x3, a-t:3x3, a-t:1x1, s-b:1x1, b-t:1x1, a-c:1x1, c-d:1x1, d-t:1x1, a-d:1x1")
    found = embed(old, new)
    assert {name: edge.name for name, edge in found.kept.items()} == {"s_a": "s_a", "a_t": "a_t"}
    table = {(b.source, b.sink): b for b in found.bundles}
    assert set(table) == {("s", "t"), ("a", "t")}
    assert [edge.name for edge in table["s", "t"].removed] == ["s_t"]
    assert [edge.name for edge in table["s", "t"].added] == ["s_b", "b_t"]
    assert table["a", "t"].removed == ()
    assert [edge.name for edge in table["a", "t"].added] == ["a_t_2", "a_c", "c_d", "d_t", "a_d"]
    assert table["a", "t"].blobs == {"c", "d"}
    assert (found.exits, found.loose) == ((), frozenset())


def test_parts_that_join_several_blobs_end_in_zeros() -> None:
    old = parse("s-a:3x3, a-t:1x1")
    found = embed(old, parse("s-a:3x3, a-t:1x1, s-b:1x1, a-b:1x1, b-c:1x1, c-t:3x3, b-t:1x1"))
    assert found.loose == {"b", "c"}
    assert found.exits == ("c_t", "b_t")
    assert found.bundles == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (parse("3x3 > 1x1"), parse("3x3"), "blob 'a' is not in the graph.*blobs s, a, t"),
        (parse("3x3 > 1x1 | 5x5"), parse("3x3 > 1x1"), "edge 's_t' from 's' to 't' has no counterpart"),
        (
            parse("s-a:3x3, a-t:1x1"),
            parse("s-a:3x3, a-t:1x1, s-b:1x1, a-b:1x1, b-t:id"),
            "edge 'b_t' has no weights and would change",
        ),
        (
            ModuleGraph.from_edges([("in", "t", 3)], source="in"),
            parse("3x3 | 1x1"),
            "source and sink are 'in' and 't', the graph's 's' and 't'",
        ),
    ],
)
def test_graphs_that_are_no_part(old: ModuleGraph, new: ModuleGraph, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        embed(old, new)
