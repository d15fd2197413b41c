"""The page of results says what the files say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from tools.archive import unpack
from tools.keep_results import JOBS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("results_page", ROOT / "tools" / "results_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_page_are_those_of_the_files(tool):
    text = tool.PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- from ") == text.count("<!-- end -->") >= 2
    assert tool.page(text, ROOT / "results") == text


def test_a_figure_changed_by_hand_is_noticed(tool):
    text = tool.PAGE.read_text(encoding="utf-8")
    table = json.loads((ROOT / "results/cifar10-resnet20-h100/table1/table.json").read_text(encoding="utf-8"))
    figure = f"{table['rows'][1]['error']['mean']:.2f}"
    changed = text.replace(figure, "1.00")
    assert changed != text
    assert tool.page(changed, ROOT / "results") != changed


def table1(folder):
    from reproduction.budget import load_budget
    from reproduction.experiment import make_experiment

    return make_experiment("table1", load_budget(str(folder / "gpu12.yaml")), 3, ["*20*"])


def explore_3c3(folder):
    from reproduction.budget import load_variants
    from reproduction.explore import make_exploration

    return make_exploration("morph20_3c3", load_variants(folder / "variants-3c3.yaml"), 3)


def on_a_cpu(folder):
    from reproduction.budget import load_budget
    from reproduction.experiment import make_experiment

    return make_experiment("table1", load_budget(str(folder / "short-half.yaml")), 3, ["morph20_1c1"])


@pytest.mark.parametrize(
    ("machine", "name", "experiment"),
    [("h100", "table1", table1), ("h100", "explore-3c3", explore_3c3), ("cpu", "table1", on_a_cpu)],
)
def test_the_table_follows_from_the_jobs(tmp_path, machine, name, experiment):
    """What lies under results/ is what the code makes of the trainings there, down to the byte."""
    from reproduction.experiment_folder import check_folder
    from reproduction.render import render

    folder = ROOT / "results" / f"cifar10-resnet20-{machine}"
    check_folder(experiment(folder), folder / name)  # also where an older netmorph wrote what the folder is for
    unpack(folder / name / JOBS, tmp_path)
    render(experiment(folder), tmp_path)
    for file in ("table.md", "table.json"):
        assert (tmp_path / file).read_bytes() == (folder / name / file).read_bytes()
