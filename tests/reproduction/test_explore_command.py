"""One network grown in several ways from the command line, on a few bundled images."""

import json

import pytest

from reproduction.__main__ import main
from reproduction.budget import VARIANTS, load_variants

FILE = """
base:
  first: {epochs: 1, batch_size: 16, lr: 0.05, pad: 1}
  next: {epochs: 1, batch_size: 16, lr: 0.05, pad: 1}
  train_limit: 32
  test_limit: 16
  warm_batches: 1
fast:
  next: {newborn_lr: 4}
"""


@pytest.fixture
def explore(tmp_path, capsys):
    (tmp_path / "two.yaml").write_text(FILE)

    def run(*arguments, net="morph14_1c1", code=0):
        common = ["--variants", "two.yaml", "--data-name", "fashion-mnist-subset", "--seeds", "1", "--out", "out"]
        assert main(["explore", net, *common, "--accelerator", "cpu", *arguments]) == code
        return capsys.readouterr()

    return run


def test_each_variant_stands_beside_its_controls(explore, tmp_path):
    out = explore().out
    # A parent, two children, and what serves both: one control trained on (an epoch of equal MACs is one, too), and two
    # from scratch, with either shortcut.
    assert "6 of 6 trainings" in out
    content = json.loads(explore("--json").out)
    assert content["header"]["jobs"] == {"done": 6, "total": 6}
    assert len(content["rows"]) == 2
    page = (tmp_path / "out" / "table.md").read_text()
    assert "morph14_1c1: fast" in page
    assert "held in 2 of 2 growths" in page


@pytest.mark.parametrize(
    ("arguments", "net", "said"),
    [
        ((), "resnet20", "needs a morphed network"),
        (("--variants", "none.yaml"), "morph14_1c1", "is not a file"),
        (("--workers", "0"), "morph14_1c1", "--workers is 1 or more"),
    ],
)
def test_what_cannot_be_done_is_told(explore, arguments, net, said):
    assert said in explore(*arguments, net=net, code=2).err


def test_a_list_is_no_set_of_variants(explore, tmp_path):
    (tmp_path / "list.yaml").write_text("[1, 2]")
    assert "does not map names to budgets" in explore("--variants", "list.yaml", code=2).err


def test_the_shipped_variants_are_printed_and_can_be_read(capsys):
    assert main(["explore", "--print-variants"]) == 0
    assert capsys.readouterr().out == VARIANTS.read_text(encoding="utf-8")
    variants = load_variants(VARIANTS)
    assert next(iter(variants)) == "base"
    assert len({(each.first, each.next, each.noise, each.fill) for each in variants.values()}) == len(variants)


def test_a_network_is_asked_for(capsys):
    assert main(["explore"]) == 2
    assert "explore needs a network" in capsys.readouterr().err


def test_where_jobs_fail_the_others_are_shown(explore, tmp_path):
    (tmp_path / "dense.yaml").write_text(FILE + "dense:\n  fill: dense\n")
    told = explore("--variants", "dense.yaml", net="morph14_3c3", code=2)
    assert "1 of" in told.err
    assert "jobs failed: s0-morph14_3c3-dense" in told.err
    assert "dense fill leaves a relative residual" in told.err
    assert "morph14_3c3: fast" in (tmp_path / "out" / "table.md").read_text()
    assert "trainings are done" in told.out
