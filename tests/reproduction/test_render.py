"""The table, from pretended jobs: what is asserted is computed here from the same files by other means."""

import json
import statistics

import pytest
from tests.reproduction.pretend import pretend

from netmorph.errors import NetmorphError
from netmorph.models.paper_tables import paper_tables
from netmorph.train.recipe import Recipe
from reproduction.budget import Budget
from reproduction.claims import claims
from reproduction.experiment import NET2NET, ON, PLAIN, SCRATCH, Experiment
from reproduction.finished import read_finished
from reproduction.render import render

BUDGET = Budget("short", Recipe(epochs=6), Recipe(epochs=3))


def errors(folder, keys):
    return [json.loads((folder / "jobs" / key / "done.json").read_text())["error"] for key in keys]


@pytest.fixture
def table1(tmp_path):
    experiment = pretend(tmp_path, "table1", BUDGET, rows=["resnet20", "morph20_*"])
    return experiment, tmp_path, render(experiment, tmp_path)


def test_each_row_has_the_papers_figure_ours_and_the_difference(table1):
    experiment, folder, content = table1
    assert len(content["rows"]) == 8
    for row, found, figure in zip(experiment.rows, content["rows"], paper_tables()["table1_cifar10"], strict=False):
        mine = errors(folder, row.result)
        error = found["figures"]["error"]
        assert error["paper"] == figure["error"]
        assert error["ours"]["mean"] == pytest.approx(statistics.fmean(mine))
        assert error["ours"]["std"] == pytest.approx(statistics.stdev(mine))
        assert error["ours"]["n"] == 3
        assert error["difference"] == pytest.approx(statistics.fmean(mine) - figure["error"], abs=1e-4)
        assert found["figures"]["params_mib"]["paper"] == figure["params_mib"]
        assert found["figures"]["flop_m"]["ours"]["mean"] == (44.0 if row.net.startswith("morph") else 40.8)


def test_controls_are_paired_by_seed(table1):
    experiment, folder, content = table1
    row = next(row for row in experiment.rows if row.name == "morph20_1c1")
    found = next(each for each in content["rows"] if each["name"] == "morph20_1c1")["controls"]
    assert list(found) == [ON, SCRATCH, PLAIN, NET2NET]
    for name, keys in row.controls.items():
        differences = [a - b for a, b in zip(errors(folder, row.result), errors(folder, keys), strict=True)]
        assert found[name]["paired"]["values"] == pytest.approx(differences)
        assert found[name]["epochs"] == 9
    # Parent 6 epochs and row 3 epochs at 44, against 9 epochs of the parent's 40.8 or the child's 44.
    spent = 6 * 40.8 + 3 * 44
    assert found[ON]["compute"] == pytest.approx(9 * 40.8 / spent)
    assert found[SCRATCH]["compute"] == pytest.approx(9 * 44 / spent)


def test_the_page_says_what_was_done_and_all_figures(table1):
    _, folder, content = table1
    page = (folder / "table.md").read_text()
    assert page.startswith("# Table 1 of the paper, on CIFAR-10 (JPEG)\n")
    device = "NVIDIA H100 (precision bf16-mixed)"
    for said in ("Budget: short: 6 epochs", "Seeds: 3", device, "torch 2.14.1", "Which claims held"):
        assert said in page
    for row in content["rows"]:
        ours = row["figures"]["error"]["ours"]
        assert f"{ours['mean']:.2f} ± {ours['std']:.2f} (3)" in page
        for control in row["controls"].values():
            assert control["paired"]["text"] in page
    assert json.loads((folder / "table.json").read_text()) == content
    widths = {
        table: {line.count("|") for line in table.splitlines()} for table in page.split("\n\n") if table[0] == "|"
    }
    assert len(widths) == 4
    assert all(len(width) == 1 for width in widths.values())
    assert not list(folder.glob(".table*"))


def test_the_same_jobs_make_the_same_files(table1, tmp_path_factory):
    experiment, folder, _ = table1
    before = [(folder / name).read_bytes() for name in ("table.md", "table.json")]
    render(experiment, folder)
    assert [(folder / name).read_bytes() for name in ("table.md", "table.json")] == before


def test_another_command_may_write_the_table_meanwhile(table1, monkeypatch):
    from reproduction import render as module

    experiment, folder, _ = table1
    before = (folder / "table.md").read_bytes()
    markdown = module.markdown

    def meanwhile(content):
        monkeypatch.setattr(module, "markdown", markdown)
        render(experiment, folder)
        return markdown(content)

    monkeypatch.setattr(module, "markdown", meanwhile)
    render(experiment, folder)
    assert (folder / "table.md").read_bytes() == before
    assert not list(folder.glob(".table*"))


def test_what_is_not_finished_is_left_out_and_counted(tmp_path):
    late = {"parent": 0, "scratch": 2, "on": 1, "morph": 1, "net2net": 3}
    experiment = pretend(
        tmp_path, "table1", BUDGET, rows=["resnet20", "morph20_1c1"], unless=lambda job: job.seed < late[job.kind]
    )
    row = render(experiment, tmp_path)["rows"][1]
    assert row["error"]["n"] == 2
    assert row["controls"][SCRATCH]["paired"]["n"] == 1
    assert row["controls"][SCRATCH]["paired"]["verdict"] == "one seed"
    assert row["controls"][NET2NET] == dict.fromkeys(row["controls"][NET2NET])
    page = (tmp_path / "table.md").read_text()
    assert "Trainings done: 9 of 18" in page
    assert "(n=1): no verdict from one seed" in page
    assert "Net2Net) and trained for as many epochs: **not measured yet**" in page


def test_an_empty_folder_makes_a_table_of_the_papers_figures(tmp_path):
    experiment = pretend(tmp_path, "table3", BUDGET, unless=lambda job: True)
    content = render(experiment, tmp_path)
    assert [row["figures"]["error"]["paper"] for row in content["rows"]] == [32.82, 31.7, 29.83, 27.52, 28.46, 26.81]
    assert all(row["error"] is None for row in content["rows"])
    assert "data not read yet" in (tmp_path / "table.md").read_text()


def test_tables_2_and_4_set_scratch_beside_morph(tmp_path):
    experiment = pretend(tmp_path, "table2", BUDGET, rows=["morph20_1c1"])
    row = render(experiment, tmp_path)["rows"][0]
    assert list(row["figures"]) == ["scratch", "morph"]
    (filled,) = experiment.rows
    assert row["figures"]["scratch"]["ours"]["values"] == errors(tmp_path, filled.controls[SCRATCH])
    assert row["figures"]["morph"]["ours"]["values"] == errors(tmp_path, filled.result)
    against = {
        claim["control"]: claim["paper"] for claim in json.loads((tmp_path / "table.json").read_text())["claims"]
    }
    assert against[SCRATCH] == -0.66
    assert against["parent"] is None


def test_table_5_has_both_views(tmp_path):
    experiment = pretend(tmp_path, "table5", BUDGET, seeds=1)
    for path in tmp_path.glob("jobs/*/done.json"):
        done = json.loads(path.read_text())
        path.write_text(json.dumps({**done, "error_10view": done["error"] - 2}))
    for row in render(experiment, tmp_path)["rows"]:
        one, ten = (row["figures"][f"error_{views}"]["ours"]["mean"] for views in ("1view", "10view"))
        assert one - ten == pytest.approx(2)
        assert row["figures"]["flop_g"]["ours"]["mean"] in (0.0408, 0.044)


def test_each_claim_names_its_control_and_its_verdict_is_the_figures(tmp_path):
    levels = {"parent": 10.0, "morph": 9.0, "on": 8.0, "scratch": 9.0, "net2net": 9.5}
    experiment = pretend(tmp_path, "table1", BUDGET, seeds=5, rows=["morph20_1c1"], levels=levels, spread=0.05)
    found = {claim.control: claim for claim in claims(read_finished(experiment, tmp_path))}
    assert found["parent"].verdict == "held"
    assert found["parent"].paper == -1.4
    assert found[ON].verdict == "did not hold: the opposite was measured"
    assert found[SCRATCH].verdict == "not shown: no clear difference"
    assert found[NET2NET].verdict == "held"
    page = render(experiment, tmp_path) and (tmp_path / "table.md").read_text()
    assert "its parent trained on for as many epochs: **did not hold: the opposite was measured** (ours +1.0" in page


def test_the_papers_comparisons_between_rows_are_claims(tmp_path):
    experiment = pretend(tmp_path, "table1", BUDGET, seeds=2)
    found = {(claim.subject, claim.control): claim for claim in claims(read_finished(experiment, tmp_path))}
    between = {pair: claim for pair, claim in found.items() if pair[1].startswith(("morph", "resnet"))}
    phases = between["morph20_3c3@morph20_1c1+morph20_3c1", "morph20_3c3"]
    assert phases.paper == -0.31
    assert phases.against.endswith("(which had fewer epochs)")
    assert between["morph20_3c1", "morph20_1c1"].paper == -0.25
    assert between["morph20_1c1_2branch@morph20_1c1+morph20_1c1_2branch_half", "resnet110"].paper == -0.01
    assert ("morph56_1c1_half", "morph56_1c1") not in between
    assert all(claim.paper < 0 for claim in between.values())


def test_the_worst_growth_is_told(tmp_path):
    experiment = pretend(tmp_path, "table1", BUDGET, seeds=1, rows=["morph20_1c1"])
    path = next(tmp_path.glob("jobs/*-net2net*/done.json"))
    done = json.loads(path.read_text())
    path.write_text(json.dumps({**done, "parity": {"max_abs": 5e-5, "max_rel": 4e-6}}))
    assert render(experiment, tmp_path)["parity"] == {"growths": 2, "max_abs": 5e-5, "max_rel": 4e-6}
    assert "held in 2 of 2 growths" in (tmp_path / "table.md").read_text()


def test_variants_of_one_network_are_told_apart(tmp_path):
    experiment = pretend(tmp_path, "table1", BUDGET, seeds=2, rows=["morph20_1c1"])
    (row,) = experiment.rows
    rows = [type(row)({"net": row.net, "variant": name}, row.net, (), row.result, row.controls) for name in "ab"]
    explored = Experiment("explore morph20_1c1", BUDGET, experiment.seeds, tuple(rows), experiment.jobs)
    content = render(explored, tmp_path)
    assert [each["name"] for each in content["rows"]] == ["a", "b"]
    page = (tmp_path / "table.md").read_text()
    assert "Beside the paper" not in page
    assert "| morph20_1c1: a |" in page


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3"])
def test_a_damaged_file_is_named(tmp_path, text):
    experiment = pretend(tmp_path, "table1", BUDGET, seeds=1, rows=["resnet20"])
    (tmp_path / "jobs" / "s0-resnet20" / "done.json").write_text(text)
    with pytest.raises(NetmorphError, match=r"s0-resnet20/done\.json cannot be read"):
        render(experiment, tmp_path)


def test_limits_and_the_smoke_budget_are_told(tmp_path):
    budget = Budget("smoke", Recipe(epochs=2), Recipe(epochs=1), train_limit=1256, test_limit=128)
    render(pretend(tmp_path, "table1", budget, seeds=1, rows=["resnet20"]), tmp_path)
    page = (tmp_path / "table.md").read_text()
    assert "Only part of the data**: 1,256 training images and 128 test images." in page
    assert "errors mean nothing" in page


@pytest.mark.parametrize(("data", "other"), [("CIFAR-10 (JPEG)", False), ("CIFAR-100", True), ("Fashion-MNIST", True)])
def test_other_data_than_the_papers_is_told(tmp_path, data, other):
    render(pretend(tmp_path, "table1", BUDGET, seeds=1, rows=["resnet20"], data=data), tmp_path)
    assert ("The paper's figures are of CIFAR-10**" in (tmp_path / "table.md").read_text()) == other
