"""Reports on experiments: a tiny one that was run, and folders that hold less."""

import json
import shutil

import pytest
from tests.lab.report.pages import check_it_needs_nothing_else, check_it_shows_the_sites, write
from tests.reproduction.running import reproduce_tiny

from netmorph.cli.main import main as netmorph
from reproduction.__main__ import main
from reproduction.read_experiment import read_experiment

JOB = "out/jobs/s0-resnet20-1c1/done.json"


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory):
    """The folder of Table 1's first two rows."""
    return reproduce_tiny(tmp_path_factory.mktemp("reproduce"))


def test_an_experiments_report_holds_its_table(reproduced, tmp_path):
    run = read_experiment(reproduced)
    text, page = write(run, tmp_path)
    check_it_needs_nothing_else(text, page)
    check_it_shows_the_sites(text, page, run)
    table = json.loads((reproduced / "table.json").read_text())
    for row in table["rows"]:
        assert row["name"] in page.cells
        assert f"{row['figures']['error']['paper']:.2f}" in page.cells
    assert "Which claims held" in page.words
    assert "The function was kept at all 6 sites" in page.words  # of one growth
    assert "data:image/svg+xml;base64," in text
    assert "the same function" in page.cells
    assert "**" not in page.words
    assert "| ---" not in page.words


def test_an_experiment_without_a_table_says_so_beneath_its_title(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "experiment.json").write_text("{}")
    run = read_experiment(tmp_path / "run")
    assert run.kind == "Experiment"
    assert "The table is not written yet." in run.body


def test_the_command_says_where_the_report_is(reproduced, tmp_path, capsys):
    assert main(["report", str(reproduced), "--out", "it.html", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["report"], found["sites_that_differ"]) == ("it.html", [])
    assert (tmp_path / "it.html").exists()


def test_a_growth_that_changed_the_function_is_told(reproduced, tmp_path, capsys):
    shutil.copytree(reproduced, tmp_path / "out")
    path = tmp_path / JOB
    done = json.loads(path.read_text())
    done["parity"]["steps"][0]["border"] = 0.25
    path.write_text(json.dumps(done))
    assert main(["report", "out"]) == 2
    assert "NOT preserved at s0-resnet20-1c1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"), [("[", "done.json cannot be read"), ('{"parity": 1}', "was not written by netmorph")]
)
def test_a_damaged_job_is_one_message(reproduced, tmp_path, capsys, text, said):
    shutil.copytree(reproduced, tmp_path / "out")
    (tmp_path / JOB).write_text(text)
    assert main(["report", "out"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out/report.html").exists()


def test_each_program_names_the_other_one_for_the_others_folders(reproduced, tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "netmorph report reads what netmorph wrote" in capsys.readouterr().err
    assert netmorph(["report", str(reproduced)]) == 2
    assert "python -m reproduction report reads" in capsys.readouterr().err
