"""A drawing made of characters is read back: it must say the graph, the whole graph and nothing but the graph."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from tests.strategies import module_graphs

from netmorph.graph.catalogue import catalogue, ladder
from netmorph.graph.draw.marks import Marks
from netmorph.graph.draw.terminal import LINES, to_text
from netmorph.graph.draw.tracks import DOWN, LEFT, RIGHT, UP
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.write import write_atom

STEPS = {UP: (-1, 0), DOWN: (1, 0), RIGHT: (0, 1)}  # a line never runs to the left
BACK = {UP: DOWN, DOWN: UP, RIGHT: LEFT}


def read_back(text: str) -> Counter[tuple[str, str, str]]:
    """Return (source, what the edge says, sink) of every edge of a drawing."""
    lines = text.split("\n")
    words = {(row, m.start()): m for row, line in enumerate(lines) for m in re.finditer(r"[^ ─│┌┐└┘├┤┬┴┼▶]+", line)}

    def follow(row: int, column: int, heading: int) -> list[tuple[int, int]]:
        """Return the words that are reached from a cell."""
        if (row, column) in words:
            return [(row, column)]
        letter = lines[row][column] if column < len(lines[row]) else " "
        if letter == "▶" or (heading == RIGHT and letter == "│"):
            return follow(row, column + 1, RIGHT)
        assert LINES[letter] & BACK[heading], (text, row, column)
        ways = [way for way in STEPS if LINES[letter] & way and way != BACK[heading]]
        return [found for way in ways for found in follow(row + STEPS[way][0], column + STEPS[way][1], way)]

    def beyond(place: tuple[int, int]) -> list[tuple[int, int]]:
        match = words[place]
        return follow(place[0], match.end(), RIGHT) if match.end() < len(lines[place[0]]) else []

    blobs = [place for place in words if place == source_of(words) or arrow_before(lines, place)]
    edges: Counter[tuple[str, str, str]] = Counter()
    for blob in blobs:
        for label in beyond(blob):
            (sink,) = beyond(label)
            edges[words[blob].group(), words[label].group(), words[sink].group()] += 1
    return edges


def source_of(words) -> tuple[int, int]:
    return min(words, key=lambda place: words[place].end())


def arrow_before(lines: list[str], place: tuple[int, int]) -> bool:
    return place[1] > 0 and lines[place[0]][place[1] - 1] == "▶"


def edges_of(graph: ModuleGraph) -> Counter[tuple[str, str, str]]:
    width = {blob: f"{blob}:{graph.widths.get(blob, '1x')}" for blob in graph.inner}
    ends = {graph.source: graph.source, graph.sink: graph.sink}
    names = {**width, **ends}
    default = {edge.name: edge.name.startswith(f"{edge.source}_{edge.sink}") for edge in graph.edges}
    return Counter(
        (names[e.source], ("" if default[e.name] else f"{e.name}=") + write_atom(e), names[e.sink]) for e in graph.edges
    )


@pytest.mark.parametrize("name", list(catalogue))
def test_the_catalogue_reads_back(name: str) -> None:
    text = to_text(catalogue[name])
    assert text is not None
    assert read_back(text) == edges_of(catalogue[name])


@settings(max_examples=200)
@given(module_graphs(max_blobs=8, max_extra=8, widths=True, fixed=True, names=True, dilations=True))
def test_drawn_graphs_read_back(graph: ModuleGraph) -> None:
    text = to_text(graph)
    assert text is not None
    assert read_back(text) == edges_of(graph)


def test_a_small_graph_looks_so() -> None:
    text = to_text(parse("3x3:16 > 1x1 | id"), Marks({"s": 64, "a": 16, "t": 64}, frozenset({"s_a"}), frozenset({"a"})))
    assert text == "s:64─┬─[3x3]───▶a:16!───1x1─┬─▶t:64\n     └───id─────────────────┘"


def test_plain_characters() -> None:
    text = to_text(catalogue["dense"], unicode=False)
    assert text is not None
    assert text.isascii()
    assert text.count(">") == 6 - 3  # one arrow a blob


def test_a_huge_graph_is_not_drawn() -> None:
    assert to_text(ladder(100)) is None
