"""Pages of reports as tests read them, and what holds of each of them."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

from netmorph.lab.report.run import Run
from netmorph.lab.report.write import write_report

VOID = {"meta", "br", "img", "hr"}


class Page(HTMLParser):
    """Reads a page; asserts that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.cells: list[str] = []
        self.words = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "h2":
            self.headings.append("")

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words += data
        for tag, place in (("td", self.cells), ("th", self.cells), ("h2", self.headings)):
            if self.open and self.open[-1] == tag:
                place[-1] += data


def write(run: Run, tmp_path: Path) -> tuple[str, Page]:
    text = write_report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    return text, Page(text)


def check_it_needs_nothing_else(text: str, page: Page) -> None:
    assert set(re.findall(r"https?://[^\"' )<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "<script" not in text.lower()
    assert "@import" not in text
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name != "href"
        assert name != "src" or (value or "").startswith("data:image/svg+xml;base64,")
    assert "default-src 'none'" in text
    assert "width=device-width" in text
    for query in ("prefers-color-scheme:dark", "@media print", "max-width:34rem"):
        assert query in text


def check_it_shows_the_sites(text: str, page: Page, run: Run) -> None:
    drawn = re.findall(r"<svg .*?</svg>", text, re.DOTALL)
    assert drawn
    for svg in drawn:
        ET.fromstring(svg)
    assert run.sites
    for name, site in run.sites:
        assert name in page.words
        assert str(site.graph) in page.words
    assert "carries the layer's filter" in page.words
