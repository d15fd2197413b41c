"""Runs of a tiny network on a few images: what they write, and that stopped ones come to the same."""

import csv
import json
import shutil
from contextlib import contextmanager

import pytest
import torch

from netmorph.data.sources import load_data
from netmorph.errors import NetmorphError
from netmorph.lab.fit_folder import RunFolder
from netmorph.lab.fit_growth import Given, check_sites
from netmorph.lab.fit_phases import FitPhase, cut_phases
from netmorph.lab.fit_setting import RunSetting
from netmorph.lab.training_run import training_run
from netmorph.models.opening import load
from netmorph.models.registry import build
from netmorph.surgery.records.history import history_of
from netmorph.train.loop import Paused
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe

RECIPE = Recipe(epochs=4, batch_size=16, lr=0.05, pad=1)
SITES = {"layer1.0.conv1": "3x3 > 1x1 | 1x1", "layer2.0.conv2": "1x1 > 3x3"}
MACHINE = Machine(accelerator="cpu")


class Quiet:
    """Listens, and counts."""

    def __init__(self):
        self.morphs, self.epochs = [], []

    @contextmanager
    def training(self, name, epochs):
        yield self

    def batch(self, done, total):
        pass

    def epoch(self, row):
        self.epochs.append(row.epoch)

    def morphed(self, result):
        self.morphs.append(result.parity.max_rel)


@pytest.fixture(scope="module")
def data():
    return load_data("fashion-mnist-subset", train_limit=48, test_limit=32)


@pytest.fixture(scope="module")
def setting():
    phases = cut_phases(RECIPE, list(SITES), list(SITES.values()), [1, 3])
    return RunSetting("netmorph:resnet8", phases, {"width": 4}, seed=3)


@pytest.fixture(scope="module")
def whole(data, setting, tmp_path_factory):
    out, listener = tmp_path_factory.mktemp("whole") / "run", Quiet()
    return out, training_run(setting, data, out, listener, machine=MACHINE), listener


def rows(out):
    with (out / "metrics.csv").open() as file:
        timed = ("seconds", "samples_per_second")
        return [{key: value for key, value in row.items() if key not in timed} for row in csv.DictReader(file)]


def same(one, other):
    one, other = load(one / "model").state_dict(), load(other / "model").state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_the_folder_holds_the_run(whole, setting):
    out, results, listener = whole
    assert {path.name for path in out.iterdir() if path.name != ".lock"} == {
        "config.json", "metrics.csv", "results.json", "model", "phase-1", "phase-2", "phase-3"
    }  # fmt: skip
    assert json.loads((out / "config.json").read_text())["setting"] == setting.as_dict()
    assert [(row["phase"], row["epoch"], row["steps"]) for row in rows(out)] == [
        ("1", "1", "3"), ("2", "2", "6"), ("2", "3", "9"), ("3", "4", "12")
    ]  # fmt: skip
    assert json.loads((out / "results.json").read_text()) == results
    assert results["error"] == float(rows(out)[-1]["test_error"])
    assert listener.epochs == [1, 2, 3, 4]


def test_each_morph_is_exact_and_its_parity_written(whole):
    _, results, listener = whole
    assert len(results["morphs"]) == len(listener.morphs) == 2
    for morph, (site, graph) in zip(results["morphs"], SITES.items(), strict=True):
        (found,) = morph["sites"]
        assert (found["site"], found["graph"]) == (site, graph)
        assert max(found["interior"], found["border"]) <= found["tolerance"]
        assert morph["cost"]["after"]["params"] > morph["cost"]["before"]["params"]


def test_the_model_is_a_checkpoint_that_says_where_it_comes_from(whole, data):
    out, results, _ = whole
    model = load(out / "model")
    assert len(history_of(model)) == 2
    assert sum(p.numel() for p in model.parameters()) == results["params"]
    images, labels = next(iter(data.test_batches()))
    assert 100 * (model.eval()(images).argmax(1) != labels).float().mean().item() == pytest.approx(results["error"])


def test_a_run_that_is_through_returns_its_results(whole, data, setting):
    out, results, _ = whole
    listener = Quiet()
    assert training_run(setting, data, out, listener, machine=MACHINE) == results
    assert listener.epochs == []


def test_paused_after_every_epoch_it_comes_to_the_same(whole, data, setting, tmp_path):
    for _ in range(3):
        with pytest.raises(Paused):
            training_run(setting, data, tmp_path / "run", Quiet(), machine=MACHINE, stop=lambda: True)
    training_run(setting, data, tmp_path / "run", Quiet(), machine=MACHINE, stop=lambda: True)
    assert rows(tmp_path / "run") == rows(whole[0])
    assert same(tmp_path / "run", whole[0])


class _CrashError(Exception):
    pass


@pytest.mark.parametrize("moment", ["after the morph is saved", "before a phase is written down", "before the results"])
def test_killed_between_its_steps_it_comes_to_the_same(whole, data, setting, tmp_path, monkeypatch, moment):
    from netmorph.lab import fit_folder as module

    broken = {"after the morph is saved": "parity.json", "before a phase is written down": "phase.json"}
    write, name = module.write, broken.get(moment, "results.json")

    def crash(path, content):
        if path.name == name and (name != "phase.json" or path.parent.name == "phase-2"):
            raise _CrashError
        write(path, content)

    monkeypatch.setattr(module, "write", crash)
    with pytest.raises(_CrashError):
        training_run(setting, data, tmp_path / "run", Quiet(), machine=MACHINE)
    monkeypatch.setattr(module, "write", write)
    results = training_run(setting, data, tmp_path / "run", Quiet(), machine=MACHINE)
    assert results["morphs"] == whole[1]["morphs"]
    assert rows(tmp_path / "run") == rows(whole[0])
    assert same(tmp_path / "run", whole[0])


def test_a_checkpoint_is_trained_on(whole, data, tmp_path):
    setting = RunSetting(
        str(whole[0] / "model"), (FitPhase(Recipe(epochs=1, batch_size=16, lr=1e-9), {"fc": "1 > 1"}),)
    )
    results = training_run(setting, data, tmp_path / "run", Quiet(), machine=MACHINE)
    assert len(history_of(load(tmp_path / "run" / "model"))) == 3
    assert results["epochs"] == 1


def test_another_run_in_the_folder_is_refused(whole, data, setting):
    other = RunSetting(setting.model, setting.phases, setting.model_args, seed=4)
    with pytest.raises(NetmorphError, match="holds another run"):
        training_run(other, data, whole[0], Quiet(), machine=MACHINE)
    fewer = load_data("fashion-mnist-subset", train_limit=32, test_limit=32)
    with pytest.raises(NetmorphError, match=r"holds another run.*its data"):
        training_run(setting, fewer, whole[0], Quiet(), machine=MACHINE)


def test_a_folder_of_something_else_is_refused(data, setting, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(NetmorphError, match="is not empty"):
        training_run(setting, data, tmp_path, Quiet(), machine=MACHINE)


@pytest.mark.parametrize(
    ("site", "graph", "said"),
    [
        ("nope", "3x3 > 1x1", "phase 2: .*nope"),
        ("layer2.0.conv2", "3x3:1 > 1x1", r"phase 2: the graph cannot represent a trained filter.*keep_parent"),
    ],
)
def test_a_morph_that_cannot_be_done_is_told_before_any_training(data, setting, tmp_path, site, graph, said):
    phases = (FitPhase(RECIPE), FitPhase(RECIPE, {site: graph}))
    bad = RunSetting(setting.model, phases, setting.model_args)
    listener = Quiet()
    with pytest.raises(NetmorphError, match=said):
        training_run(bad, data, tmp_path / "run", listener, machine=MACHINE)
    assert listener.epochs == []
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("first", "keep_parent"),
    [
        ([FitPhase(RECIPE), FitPhase(RECIPE, {"layer2.0.conv2": "3x3:1 > 1x1"})], True),
        ([FitPhase(RECIPE, {"fc": "1 > 1"}), FitPhase(RECIPE, {"fc.edges.s_b0": "1 > 1"})], False),
    ],
)
def test_a_morph_that_may_be_possible_is_not_refused(data, first, keep_parent):
    model = build("netmorph:resnet8", width=4, in_channels=1).eval()
    check_sites(model, first, lambda number: Given(data.example(2), [], 0, "auto", "auto", keep_parent))


def test_two_runs_at_once_in_one_folder_are_refused(data, setting, tmp_path):
    refused = []

    class Curious(Quiet):
        def epoch(self, row):
            with pytest.raises(NetmorphError, match="another netmorph fit is using") as caught:
                training_run(setting, data, tmp_path / "run", Quiet(), machine=MACHINE)
            refused.append(caught)

    with pytest.raises(Paused):
        training_run(setting, data, tmp_path / "run", Curious(), machine=MACHINE, stop=lambda: True)
    assert len(refused) == 1
    with pytest.raises(Paused):  # it is free again
        training_run(setting, data, tmp_path / "run", Quiet(), machine=MACHINE, stop=lambda: True)


def test_phases_count_up_to_the_first_that_is_not_through(tmp_path):
    folder = RunFolder(tmp_path)
    for number in (1, 3):
        folder.phase(number).path.mkdir()
        folder.phase(number).write_done({"epochs": number})
    assert folder.finished(3) == [{"epochs": 1}]


@pytest.mark.parametrize("text", ["[]", "{}", "3", "{"])
@pytest.mark.parametrize("name", ["config.json", "results.json", "phase-1/phase.json"])
def test_a_file_of_the_run_that_says_something_else_is_named(whole, data, setting, tmp_path, name, text):
    shutil.copytree(whole[0], tmp_path / "run")
    if "phase" in name:
        (tmp_path / "run" / "results.json").unlink()
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(NetmorphError, match=f"{name} cannot be read"):
        training_run(setting, data, tmp_path / "run", Quiet(), machine=MACHINE)
