import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from netmorph.lab.curves import draw_curves
from netmorph.lab.report.page import SERIES

CURVES = {"parent": [(1.0, 90.0), (2.0, 30.0)], "child": [(2.0, 30.0), (4.5, 28.0)]}


def test_a_picture_is_written_whole(tmp_path):
    path = tmp_path / "curves.png"
    draw_curves(path, CURVES, birth=2, title="a run", across="compute")
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content.endswith(b"IEND\xaeB`\x82")


def test_every_point_is_drawn_in_the_reports_colours_and_controls_are_dashed(tmp_path, monkeypatch):
    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *given, **more: (figures.append(self), save(self, *given, **more))
    )
    draw_curves(tmp_path / "curves.png", CURVES, birth=2, title="a run", across="compute", controls=["child"])
    (axes,) = figures[0].axes
    parent, child = axes.lines[:2]
    assert [list(map(tuple, line.get_xydata())) for line in (parent, child)] == list(CURVES.values())
    assert [to_hex(line.get_color()) for line in (parent, child)] == list(SERIES[:2])
    assert (parent.get_linestyle(), child.get_linestyle()) == ("-", "--")
    assert axes.get_ylim()[1] == pytest.approx(60)
    assert axes.get_xlabel() == "compute"
