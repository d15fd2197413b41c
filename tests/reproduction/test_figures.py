"""The pictures of pretended experiments: their files, and what their SVG says."""

import statistics

import pytest
from tests.reproduction.pretend import pretend

from netmorph.train.recipe import Recipe
from reproduction import figures
from reproduction.bars import draw_bars
from reproduction.budget import Budget
from reproduction.canvas import write_figure
from reproduction.experiment import NET2NET, ON, PLAIN, SCRATCH
from reproduction.figures import draw
from reproduction.finished import read_finished

BUDGET = Budget("short", Recipe(epochs=6), Recipe(epochs=3))


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_curves_are_written_as_svg_and_png(tmp_path):
    experiment = pretend(tmp_path, "table1", BUDGET, rows=["morph20_1c1", "morph20_3c1@*"])
    files = draw(experiment, tmp_path)
    assert [path.name for path in files] == ["curves.svg", "curves.png"]
    assert files[0].read_text().rstrip().endswith("</svg>")
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert files[1].read_bytes().endswith(b"IEND\xaeB`\x82")
    assert not list(tmp_path.glob(".curves*"))


def test_another_command_may_draw_the_same_meanwhile(tmp_path):
    class Figure:
        def __init__(self):
            self.calls = 0

        def savefig(self, file, **how):
            self.calls += 1
            if self.calls == 1:
                write_figure(self, tmp_path / "curves")
            file.write(b"drawn")

    for path in write_figure(Figure(), tmp_path / "curves"):
        assert path.read_bytes() == b"drawn"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_same_jobs_make_the_same_svg(tmp_path):
    experiment = pretend(tmp_path, "table1", BUDGET, seeds=2, rows=["morph20_1c1"])
    first = draw(experiment, tmp_path)[0].read_bytes()
    assert draw(experiment, tmp_path)[0].read_bytes() == first


def test_a_panel_shows_means_births_and_dashed_controls(tmp_path):
    experiment = pretend(tmp_path, "table1", BUDGET, rows=["morph20_3c1@*"])
    finished = read_finished(experiment, tmp_path)
    (row,) = experiment.rows
    (axes,) = figures._curves(finished, [row]).axes
    shown = lines(axes)
    assert set(shown) == {"parent", "grown", ON, SCRATCH, PLAIN}
    assert {name for name, line in shown.items() if line.get_linestyle() == "--"} == {ON, SCRATCH, PLAIN}
    assert list(shown["parent"].get_xdata()) == list(range(1, 7))
    assert list(shown["grown"].get_xdata()) == [6, 7, 8, 9]  # the first of two phases; the parent's last point joins
    ends = [finished.done[key]["error"] for key in row.controls[SCRATCH]]
    assert shown[SCRATCH].get_xdata()[-1] == 12
    assert shown[SCRATCH].get_ydata()[-1] == pytest.approx(statistics.fmean(ends))
    assert [(text.get_position()[0], text.get_text()) for text in axes.texts] == [(6, "1c1"), (9, "3c1")]
    low, high = axes.get_ylim()
    assert low < min(ends) < high < 60


def test_half_an_experiment_is_drawn(tmp_path):
    experiment = pretend(tmp_path, "table1", BUDGET, unless=lambda job: job.kind != "parent", rows=["morph20_1c1"])
    figure = figures._curves(read_finished(experiment, tmp_path), experiment.rows)
    assert set(lines(figure.axes[0])) == {"parent"}
    assert len(draw(experiment, tmp_path)) == 2


def test_nothing_finished_is_nothing_drawn(tmp_path):
    assert draw(pretend(tmp_path, "table1", BUDGET, unless=lambda job: True), tmp_path) == []


def test_figure_5_has_the_papers_bars_and_ours(tmp_path):
    experiment = pretend(tmp_path, "figure5a", BUDGET)
    assert [path.name for path in draw(experiment, tmp_path)] == [
        "curves.svg", "curves.png", "figure5a.svg", "figure5a.png"
    ]  # fmt: skip
    finished = read_finished(experiment, tmp_path)
    (axes,) = draw_bars(finished).axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights[:3] == [8.75, 6.97, 6.61]
    assert heights[9:12] == [6.60, 5.37, 5.50]
    plain, grown = experiment.rows[0], next(row for row in experiment.rows if row.net.startswith("morph20"))
    assert heights[3] == pytest.approx(finished.spread(plain.result, "error").mean)
    assert heights[6] == pytest.approx(finished.spread(grown.controls[ON], "error").mean)
    assert heights[12] == pytest.approx(finished.spread(grown.result, "error").mean)
    assert [text.get_text() for text in axes.texts][:3] == ["8.75", "6.97", "6.61"]


def test_figure_5_leaves_out_what_is_not_measured(tmp_path):
    experiment = pretend(tmp_path, "figure5b", BUDGET, seeds=1, unless=lambda job: job.kind == "on")
    (axes,) = draw_bars(read_finished(experiment, tmp_path)).axes
    assert len(axes.patches) == 4 * 3


def test_figure_6_is_a_panel_for_each_depth(tmp_path):
    experiment = pretend(tmp_path, "figure6", BUDGET, seeds=1)
    assert [path.name for path in draw(experiment, tmp_path)] == ["figure6.svg", "figure6.png"]
    figure = figures._curves(read_finished(experiment, tmp_path), experiment.rows[1::2])
    assert [axes.get_title() for axes in figure.axes] == ["morph18_1c1", "morph34_1c1"]
    assert NET2NET in lines(figure.axes[0])


@pytest.mark.parametrize("seeds", [1, 3])
def test_no_text_overlaps_another(tmp_path, seeds):
    experiment = pretend(tmp_path, "table1", BUDGET, seeds=seeds)
    rows = [row for row in experiment.rows if row.net.startswith("morph")]
    figure = figures._curves(read_finished(experiment, tmp_path), rows)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for axes in figure.axes for text in (*axes.texts, axes.title, axes.xaxis.label)]
    boxes += [figure.legends[0].get_window_extent(), figure._suptitle.get_window_extent()]
    assert not [(one, other) for i, one in enumerate(boxes) for other in boxes[:i] if one.width and one.overlaps(other)]
