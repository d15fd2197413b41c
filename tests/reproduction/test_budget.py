from __future__ import annotations

import pytest

from netmorph.errors import NetmorphError
from reproduction.budget import BUDGETS, load_budget, load_variants


@pytest.mark.parametrize("name", BUDGETS)
def test_every_shipped_budget_can_be_read(name):
    budget = load_budget(name)
    assert budget.name == name
    assert budget.first.epochs >= budget.next.epochs


def test_the_papers_budget_is_the_data_sets():
    assert load_budget("paper", "table1").first.epochs == 164
    imagenet = load_budget("paper", "table5")
    assert (imagenet.first.epochs, imagenet.first.batch_size, imagenet.first.milestones) == (70, 256, (30, 60))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("first: short", "needs the keys first and next"),
        ("first: short\nnext: short\nnois: 1", "unknown keys: nois"),
        ("first: {epochs: 0}\nnext: short", "above zero"),
        ("first: {epoch: 3}\nnext: short", "epoch"),
        ("first: nothing-known\nnext: short", "nothing-known"),
        ("[", "cannot be read"),
        ("first: short\nnext: short\n1: 2\nnois: 1", "unknown keys: 1, nois"),
        ("first: {1: 2}\nnext: short", "cannot be understood"),
        ("first: {recipe: short, 1: 2}\nnext: short", "cannot be understood"),
        ("first: short\nnext: short\ntrain_limit: many", "mine: a budget's train_limit is a whole number from 1 on"),
        ("first: short\nnext: short\ntest_limit: 10.5", "test_limit is a whole number from 1 on, not 10.5"),
        ("first: short\nnext: short\ntest_limit: 0", "test_limit is a whole number"),
        ("first: short\nnext: short\ntrain_limit: [1]", "train_limit is a whole number"),
        ("first: short\nnext: short\nwarm_batches: null", "warm_batches is a whole number from 0 on"),
        ("first: short\nnext: short\nnoise: loud", "noise is a number, not 'loud'"),
        ("first: short\nnext: short\nfill: all", "fill is pointwise or dense, not 'all'"),
    ],
)
def test_a_file_that_is_no_budget_is_refused(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(NetmorphError, match=said):
        load_budget(str(path))


def test_limits_may_come_as_text(tmp_path):
    (tmp_path / "mine.yaml").write_text("first: short\nnext: short\ntrain_limit: '100'\ntest_limit: 50.0\nnoise: 1e-1")
    budget = load_budget(str(tmp_path / "mine.yaml"))
    assert (budget.train_limit, budget.test_limit, type(budget.test_limit), budget.noise) == (100, 50, int, 0.1)


def test_an_unknown_name_and_a_missing_file_are_told():
    with pytest.raises(NetmorphError, match="choose one of paper"):
        load_budget("huge")
    with pytest.raises(NetmorphError, match="nowhere.yaml is not a file"):
        load_budget("nowhere.yaml")


def test_a_variant_says_only_what_differs(tmp_path):
    path = tmp_path / "variants.yaml"
    path.write_text(
        "base:\n  first: {epochs: 4, lr: 0.2}\n  next: {epochs: 2}\n  noise: 0.3\nslow:\n  next: {lr: 0.01}\n"
    )
    variants = load_variants(path)
    base, slow = variants["base"], variants["slow"]
    assert (slow.first, slow.noise, slow.next.epochs, slow.next.lr) == (base.first, 0.3, 2, 0.01)
