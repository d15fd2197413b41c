"""The page of results says what the files say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

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


def test_the_table_follows_from_the_jobs(tmp_path):
    """What lies under results/ is what the code makes of the trainings there, down to the byte."""
    import shutil

    from netmorph.lab.budget import load_budget
    from netmorph.lab.experiment import make_experiment
    from netmorph.lab.render import render

    folder = ROOT / "results" / "cifar10-resnet20-h100"
    shutil.copytree(folder / "table1", tmp_path / "table1")
    experiment = make_experiment("table1", load_budget(str(folder / "gpu12.yaml")), 3, ["*20*"])
    render(experiment, tmp_path / "table1")
    for name in ("table.md", "table.json"):
        assert (tmp_path / "table1" / name).read_bytes() == (folder / "table1" / name).read_bytes()


def test_the_exploration_at_equal_compute_follows_from_its_jobs(tmp_path):
    """The same of the variants that grow ResNet-20 to 3c3."""
    import shutil

    from netmorph.lab.budget import load_variants
    from netmorph.lab.explore import make_exploration
    from netmorph.lab.render import render

    folder = ROOT / "results" / "cifar10-resnet20-h100"
    shutil.copytree(folder / "explore-3c3", tmp_path / "out")
    experiment = make_exploration("morph20_3c3", load_variants(folder / "variants-3c3.yaml"), 3)
    render(experiment, tmp_path / "out")
    for name in ("table.md", "table.json"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / "explore-3c3" / name).read_bytes()
