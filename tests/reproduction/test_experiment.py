from __future__ import annotations

import string
from dataclasses import replace

import pytest

from netmorph.errors import NetmorphError
from netmorph.models.paper import parse_net
from netmorph.models.paper_tables import paper_tables
from netmorph.train.recipe import Recipe
from reproduction.budget import Budget
from reproduction.experiment import NET2NET, ON, PLAIN, SCRATCH, TABLES, make_experiment
from reproduction.explore import make_exploration

BUDGET = Budget("test", first=Recipe(epochs=6), next=Recipe(epochs=2))


@pytest.mark.parametrize("table", TABLES)
def test_every_job_follows_from_one_that_stands_before_it(table):
    experiment = make_experiment(table, BUDGET, seeds=2)
    seen = set()
    for key, job in experiment.jobs.items():
        assert key == job.key
        assert job.start is None or job.start in seen
        assert (job.start is None) == (job.kind in {"parent", "scratch"})
        seen.add(key)
    named = {key for row in experiment.rows for keys in (row.result, *row.controls.values()) for key in keys}
    assert named <= seen
    # Nothing is trained for nothing: what no row names is on the way to something.
    starts = {job.start for job in experiment.jobs.values()}
    assert seen - named <= starts


def test_table_1_has_the_papers_rows_and_their_paths():
    experiment = make_experiment("table1", BUDGET, seeds=1)
    assert [row.figure for row in experiment.rows] == paper_tables()["table1_cifar10"]
    paths = {row.name for row in experiment.rows if row.net.startswith("morph20")}
    assert {"morph20_3c3@morph20_1c1+morph20_3c1", "morph20_1c1_2branch@morph20_1c1+morph20_1c1_2branch_half"} <= paths


def test_a_job_in_common_is_done_once():
    rows = ["morph20_1c1", "morph20_3c1@*", "morph20_3c3@*"]
    experiment = make_experiment("table1", BUDGET, seeds=1, rows=rows, controls=False)
    keys = ["s0-resnet20", "s0-resnet20-1c1", "s0-resnet20-1c1-3c1", "s0-resnet20-1c1-3c1-3c3"]
    assert list(experiment.jobs) == keys
    grown = ("morph20_1c1", "morph20_3c1")
    assert [job.phases for job in experiment.jobs.values()] == [(), (), grown[:1], grown]
    assert experiment.urgency("s0-resnet20") == 6 + 3 * 2


def test_controls_have_had_as_many_epochs_as_the_row():
    experiment = make_experiment("table1", BUDGET, seeds=1)

    def total(key):
        job = experiment.jobs[key]
        return job.epochs + (total(job.start) if job.start else 0)

    for row in experiment.rows:
        for name, (key,) in row.controls.items():
            assert total(key) == total(row.result[0]), (row.name, name)
            job = experiment.jobs[key]
            assert job.kind == {ON: "on", SCRATCH: "scratch", PLAIN: "scratch", NET2NET: "net2net"}[name]
            assert job.shortcut_scale == (1.0 if name == PLAIN else 0.5)
        trained_on = experiment.jobs[row.controls[ON][0]] if ON in row.controls else None
        assert trained_on is None or trained_on.draw(1) == experiment.jobs[row.result[0]].draw(1)  # the same images


def test_tables_2_and_4_take_the_path_of_the_row_with_the_same_error():
    for table, source in (("table2", "table1_cifar10"), ("table4", "table3_cifar100")):
        for row in make_experiment(table, BUDGET, seeds=1).rows:
            known = [each for each in paper_tables()[source] if each["net"] == row.net]
            same = next(each for each in known if each["error"] == row.figure["morph"])
            assert len(row.phases) == len(same["phases"])


def test_figure_5_holds_the_best_network_of_each_depth():
    rows = make_experiment("figure5a", BUDGET, seeds=1).rows
    assert sorted({parse_net(row.net).depth for row in rows}) == [20, 56, 110]
    assert len(rows) == 6
    best = next(row for row in rows if row.net.startswith("morph20"))
    assert best.figure["error"] == min(
        each["error"] for each in paper_tables()["table1_cifar10"] if each["net"].startswith("morph20")
    )


@pytest.mark.parametrize(
    ("table", "rows", "message"),
    [
        ("table9", None, "choose one of table1"),
        ("table1", ["morph21"], "its rows are resnet20"),
        ("table1", ["x"], "x"),
    ],
)
def test_what_the_paper_has_not_is_refused(table, rows, message):
    with pytest.raises(NetmorphError, match=message):
        make_experiment(table, BUDGET, rows=rows)


def test_variants_share_what_is_trained_alike():
    variants = {
        "base": BUDGET,
        "noisy": Budget("noisy", BUDGET.first, BUDGET.next, noise=1.0),
        "newborn": Budget("newborn", BUDGET.first, Recipe(epochs=2, newborn_lr=5.0)),
        "slow": Budget("slow", BUDGET.first, Recipe(epochs=2, lr=0.01)),
        "early": Budget("early", Recipe(epochs=3), Recipe(epochs=5)),
    }
    experiment = make_exploration("morph20_3c3", variants, seeds=1)
    kinds = [job.kind for job in experiment.jobs.values()]
    assert kinds.count("parent") == 2  # base's and early's
    assert kinds.count("morph") == 5
    # Base's serve noisy and newborn, which mean nothing to a parent. A child's epoch costs 1.69 of its parent's.
    ons = [(job.variant, job.epochs) for job in experiment.jobs.values() if job.kind == "on"]
    assert ons == [("", 2), ("", 3), ("slow", 2), ("slow", 3), ("early", 5), ("early", 8)]
    scratch = [(job.epochs, job.shortcut_scale) for job in experiment.jobs.values() if job.kind == "scratch"]
    assert scratch == [(8, 0.5), (6, 0.5), (8, 1.0), (7, 0.5)]
    assert "s0-morph20_3c3-scratch8-plain" in experiment.jobs
    assert all(set(key) <= set(string.ascii_letters + string.digits + "-_.") for key in experiment.jobs)
    for row in experiment.rows:
        (child,), (on,) = row.result, row.controls[ON]
        assert experiment.jobs[child].start == experiment.jobs[on].start
        assert experiment.budget_of(experiment.jobs[child]) == variants[row.figure["variant"]]
    with pytest.raises(NetmorphError, match="morphed network"):
        make_exploration("resnet20", variants)


@pytest.mark.parametrize("name", ["scratch8", "scratch8-plain", "on2"])
def test_a_variant_that_is_called_as_a_control_is_refused(name):
    other = replace(BUDGET, first=Recipe(epochs=6, lr=0.2))
    for net in ("morph20_1c1", "morph20_3c3"):
        variants = {"base": BUDGET, name: other}
        if name == "on2":  # is only in the way of a parent, whose key ends in the variant
            assert f"s0-resnet20-{name}" in make_exploration(net, {"base": BUDGET, "other": BUDGET}, seeds=1).jobs
        with pytest.raises(NetmorphError, match=rf"would be called s0-.*{name}.*rename the variant"):
            make_exploration(net, variants, seeds=1)


@pytest.mark.parametrize("limit", ["train_limit", "test_limit"])
def test_a_variant_has_no_limit_of_its_own(limit):
    small = replace(BUDGET, train_limit=100, test_limit=50)
    variants = {"base": small, "more": replace(small, **{limit: 200})}
    with pytest.raises(NetmorphError, match="the variant more has a train_limit or test_limit.*set them in base only"):
        make_exploration("morph20_1c1", variants)
