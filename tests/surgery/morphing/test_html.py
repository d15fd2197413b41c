from html.parser import HTMLParser

import torch
from torch import nn

from netmorph.graph.notation import parse
from netmorph.surgery.morphing.html import drawings, table, times
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.plan import plan

X = torch.zeros(1, 3, 9, 9)
VOID = {"br", "hr", "img", "meta", "link"}


class Reader(HTMLParser):
    """Reads cells of tables, and asserts that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.seen: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3))


def test_a_plan_shows_verdicts_costs_and_a_drawing_for_each_kind_of_module():
    found = plan(network(), {"0": "3x3 > 1x1", "2": "3x3:2 > 1x1", "3": "3x3:2 > 1x1"}, example_inputs=X)
    html = found._repr_html_()
    reader = Reader(html)
    assert reader.cells.count("yes") == 1
    assert reader.cells.count("no") == 2
    assert reader.seen.count("svg") == 2  # two of the sites are alike
    assert "<b>2</b>, <b>3</b>" in html
    assert "too narrow" in html
    assert f"{found.cost.after.params:,}" in reader.cells


def test_a_result_shows_parity_cost_and_notices():
    result = morph(network(), {"*": "3x3 > 1x1 | 1x1"}, example_inputs=X)
    reader = Reader(result._repr_html_())
    assert reader.cells.count("the same") == 3
    assert f"{result.parity.sites[0].interior:.1e}" in reader.cells
    assert f"{result.cost.before.params:,}" in reader.cells
    assert reader.seen.count("svg") == 2  # two of the sites are alike
    assert any("no norm" in notice for notice in result.notices)
    assert "no norm" in result._repr_html_()


def test_a_site_draws_itself_with_its_channels():
    result = morph(network(), {"2": "3x3:4x > 1x1"}, example_inputs=X)
    svg = result.sites[0]._repr_svg_()
    assert ">32<" in svg
    assert "carries the layer" in svg


def test_many_kinds_are_counted_not_drawn():
    found = plan(network(), {"0": "3x3", "2": "3x3 > 1x1", "3": "3x3 | 1x1"}, example_inputs=X)
    assert "and 2 more kinds of modules" in drawings([(each.site.name, each.plan) for each in found], most=1)


def test_cells_are_text_not_markup():
    assert "<td>3x3 &gt; 1x1</td>" in table(("a",), [(str(parse("3x3 > 1x1")),)])
    assert "&lt;script&gt;" in table(("<script>",), [])


def test_times():
    assert times(3, 2) == "1.50"
    assert times(3, 0) == "-"
