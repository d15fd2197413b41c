import re
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from tests.strategies import module_graphs

from netmorph.errors import GraphError
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.catalogue import catalogue, ladder
from netmorph.graph.draw.dot import to_dot
from netmorph.graph.draw.marks import Marks
from netmorph.graph.draw.mermaid import to_mermaid
from netmorph.graph.draw.palette import DARK, LIGHT
from netmorph.graph.draw.picture import draw_graph
from netmorph.graph.draw.png import to_png
from netmorph.graph.draw.svg import to_svg
from netmorph.graph.draw.words import blob_width, edge_words, shorten
from netmorph.graph.draw.write import draw
from netmorph.graph.notation import parse
from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.solver.plan import plan_site

MARKS = Marks({"s": 64, "a": 16, "t": 64}, frozenset({"s_a"}), frozenset({"a"}))
GRAPH = parse("3x3:16 > 1x1 | id")
SVG = "{http://www.w3.org/2000/svg}"


@settings(max_examples=40)
@given(module_graphs(widths=True, fixed=True, names=True))
def test_svg_is_xml_and_says_all_that_is_there(graph: ModuleGraph) -> None:
    root = ET.fromstring(to_svg(draw_graph(graph)))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for blob in graph.blobs:
        assert blob in texts
    for edge in graph.edges:
        assert set(edge_words(edge)) <= set(texts)
    assert root.find(f"{SVG}title") is not None
    assert root.get("role") == "img"


def test_svg_loads_nothing_and_runs_nothing() -> None:
    svg = to_svg(draw_graph(GRAPH, MARKS))
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    for word in ("<script", "href", "@import", "url(", " on"):
        assert word not in svg.lower().replace(" on the", "")
    assert "prefers-color-scheme:dark" in svg


def test_svg_escapes_what_is_not_markup() -> None:
    assert "3x3 &gt; 1x1" in to_svg(draw_graph(parse("3x3 > 1x1")))


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("role", ["ink", "faint", "carry", "fresh"])
def test_text_stands_out_from_its_ground(colours: dict[str, str], role: str) -> None:
    for ground in ("paper", "blob-fill", "end-fill"):
        assert contrast(colours[role], colours[ground]) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_a_warning_stands_out_too(colours: dict[str, str]) -> None:
    assert contrast(colours["narrow"], colours["narrow-fill"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.1)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_png_has_the_scenes_size() -> None:
    scene = draw_graph(GRAPH, MARKS)
    image = to_png(scene, scale=3)
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", image[16:24])
    assert (width, height) == pytest.approx((3 * scene.width, 3 * scene.height), abs=2)


def test_png_is_not_one_colour() -> None:
    from io import BytesIO

    import numpy as np
    from matplotlib.image import imread

    pixels = imread(BytesIO(to_png(draw_graph(GRAPH, MARKS))))
    found = {tuple(round(255 * float(v)) for v in pixel) for pixel in np.unique(pixels[..., :3].reshape(-1, 3), axis=0)}
    for role in ("carry", "narrow", "narrow-fill", "end-fill"):
        assert tuple(int(LIGHT[role][i : i + 2], 16) for i in (1, 3, 5)) in found


@settings(max_examples=40)
@given(module_graphs(widths=True, fixed=True, names=True))
def test_dot_and_mermaid_hold_every_edge(graph: ModuleGraph) -> None:
    pairs = [(edge.source, edge.sink) for edge in graph.edges]
    assert re.findall(r'^  "(\w+)" -> "(\w+)"', to_dot(graph), re.MULTILINE) == pairs
    number = {f"b{index}": blob for index, blob in enumerate(graph.blobs)}
    found = re.findall(r'^  (b\d+) -\.?->\|"[^"]+"\| (b\d+)$', to_mermaid(graph), re.MULTILINE)
    assert [(number[source], number[sink]) for source, sink in found] == pairs


def test_dot_and_mermaid_point_out_the_marks() -> None:
    dot, mermaid = to_dot(GRAPH, MARKS), to_mermaid(GRAPH, MARKS)
    assert f'"s" -> "a" [label="3x3", color="{LIGHT["carry"]}"' in dot
    assert f'"a" [label="a\\n16", color="{LIGHT["narrow"]}"' in dot
    assert '-> "t" [label="id", style=dashed]' in dot
    assert f"linkStyle 0 stroke:{LIGHT['carry']}" in mermaid
    assert f"style b1 fill:{LIGHT['narrow-fill']}" in mermaid


@pytest.mark.parametrize("ending", ["svg", "png", "dot", "gv", "mmd"])
def test_files(tmp_path: Path, ending: str) -> None:
    path = draw("3x3 > 1x1 | id", tmp_path / "deep" / f"drawing.{ending.upper()}")
    assert path.stat().st_size > 100
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_plan_draws_itself(tmp_path: Path) -> None:
    plan = plan_site(GRAPH, ConvSpec.same(64, 64, 3))
    assert plan.feasible is False
    svg = draw(plan, tmp_path / "plan.svg").read_text(encoding="utf-8")
    assert "too narrow" in svg
    assert ">64<" in svg
    assert plan._repr_svg_() == svg.rstrip("\n")
    assert plan_site("3x3 > 1x1", ConvSpec.same(64, 64, 3)).marks.narrow == frozenset()


def test_strips_are_files_too(tmp_path: Path) -> None:
    text = draw(catalogue["dbb"], tmp_path / "strip.svg", strip=True).read_text(encoding="utf-8")
    assert text.count("Type I: in series") == 2
    assert draw(catalogue["dbb"], tmp_path / "strip.png", strip=True).read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(GraphError, match=r"strip\.svg|\.svg or \.png"):
        draw(catalogue["dbb"], tmp_path / "strip.dot", strip=True)


def test_an_unknown_ending_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"'drawing\.pdf'.*\.svg"):
        draw("3x3", tmp_path / "drawing.pdf")
    with pytest.raises(GraphError, match="drawing of"):
        draw(ladder(100), tmp_path / "drawing.svg")
    assert not list(tmp_path.iterdir())
    assert draw(ladder(100), tmp_path / "drawing.dot").stat().st_size > 1000


def test_a_graph_draws_itself_in_a_notebook() -> None:
    assert GRAPH._repr_svg_() == to_svg(draw_graph(GRAPH))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3x3", ("3x3",)),
        ("3/2x1~2*8", ("3 8 groups", "stride 2x1 dilation 2")),
        ("0.5*id", ("0.5 id",)),
        ("avg3x3/2", ("mean 3x3", "stride 2")),
        ("F1=s-t:3x3*dw", ("F1", "3x3 dw")),
    ],
)
def test_words_on_edges(text: str, words: tuple[str, ...]) -> None:
    assert edge_words(parse(text).edges[0]) == words


def test_words_on_blobs() -> None:
    graph = parse("1x1:4x > 3x3 > 1x1")
    assert [blob_width(graph, blob, None) for blob in graph.blobs] == ["", "4x", "1x", ""]
    assert blob_width(graph, "a", {"a": 256}) == "256"
    assert edge_words(Edge("s_t", "s", "t", (3,), norm="batch")) == ("3", "norm batch")
    assert shorten("a" * 30) == f"{'a' * 11}…{'a' * 10}"
    assert shorten("a" * 22) == "a" * 22
