"""Training from the command line, on a few bundled images."""

import csv
import json
import math
import re
from pathlib import Path

import pytest

from netmorph.cli import training
from netmorph.cli.fit import _Epoch
from netmorph.cli.main import main
from netmorph.data import sources
from netmorph.models.opening import load

NETWORK = ["--model", "netmorph:resnet8", "--model-args.width=4"]
DATA = ["--data-name", "fashion-mnist-subset", "--train-limit", "48", "--test-limit", "32"]
TINY = ["--recipe", "smoke", "--batch-size", "16", "--accelerator", "cpu"]
GROWTH = ["--at", "layer1.0.conv1", "--to", "3x3 > 1x1 | 1x1", "--at", "fc", "--to", "1 > 1"]


def fit(capsys, *arguments, code=0):
    assert main(["fit", *NETWORK, *DATA, *TINY, *arguments]) == code
    return capsys.readouterr()


def test_it_trains_morphs_and_saves(capsys, tmp_path):
    out = fit(capsys, "--epochs", "3", *GROWTH, "--grow-at", "1", "--out", "run").out
    for said in ("phase 1: epoch 1/1", "phase 2: epoch 3/3", "layer1.0.conv1", "Written to run"):
        assert said in out
    assert re.search(r"Test error [0-9.]+ % on Fashion-MNIST \(subset\) after 3 epochs", out)
    assert "\x1b" not in out
    with (tmp_path / "run" / "metrics.csv").open() as file:
        metrics = list(csv.DictReader(file))
    assert [(row["phase"], row["epoch"]) for row in metrics] == [("1", "1"), ("2", "2"), ("2", "3")]
    assert float(metrics[-1]["lr"]) < 0.05
    model = load("run/model")
    assert model.fc.edges is not None
    assert main(["verify", "run/model", "run/phase-2/model", "--input-shape", "2,1,28,28"]) == 0


def test_sites_may_be_morphed_at_different_epochs(capsys):
    found = json.loads(
        fit(capsys, "--epochs", "3", *GROWTH, "--grow-at", "2", "--grow-at", "1", "--out", "run", "--json").out
    )
    assert found["done"] is True
    assert [[site["site"] for site in morph["sites"]] for morph in found["morphs"]] == [["fc"], ["layer1.0.conv1"]]


def test_phases_come_from_a_config_file(capsys, tmp_path):
    config = """
phases:
  - epochs: 1
    lr: 0.01
  - at: [layer1.0.conv1, layer2.0.conv2]
    to: [3x3 > 1x1, 1x1 > 3x3]
    epochs: 2
    lr: 0.02
train_limit: 32
"""
    (tmp_path / "fit.yaml").write_text(config)
    found = json.loads(fit(capsys, "--config", "fit.yaml", "--out", "run", "--json").out)
    assert found["epochs"] == 3
    assert found["steps"] == 3 * 2
    phases = json.loads((tmp_path / "run" / "config.json").read_text())["setting"]["phases"]
    assert [phase["recipe"]["lr"] for phase in phases] == [0.01, 0.02]
    assert [len(phase["sites"]) for phase in phases] == [0, 2]


def test_growth_from_a_config_file_is_that_of_the_options(capsys, tmp_path):
    (tmp_path / "one.json").write_text(json.dumps({"at": "fc", "to": "1 > 1", "grow_at": 1}))
    (tmp_path / "two.json").write_text(json.dumps({"at": ["fc"], "to": ["1 > 1"], "grow_at": [1]}))
    for name in ("one", "two"):
        fit(capsys, "--epochs", "2", "--config", f"{name}.json", "--out", name)
    settings = [json.loads((tmp_path / name / "config.json").read_text())["setting"] for name in ("one", "two")]
    assert settings[0] == settings[1]
    assert [len(phase["sites"]) for phase in settings[0]["phases"]] == [0, 1]


def test_a_time_limit_ends_with_75_and_the_same_command_goes_on(capsys):
    command = ["--epochs", "3", "--out", "run"]
    said = fit(capsys, *command, "--time-limit", "1e-9", code=75).out
    assert "Time limit reached" in said
    assert "Repeat the command" in said
    stopped = json.loads(fit(capsys, *command, "--time-limit", "1e-9", "--json", code=75).out)
    assert stopped == {"done": False, "folder": "run"}
    out = fit(capsys, *command).out
    assert "phase 1: epoch 3/3" in out
    assert "epoch 2/3" not in out
    fit(capsys, "--epochs", "3", "--out", "whole")
    results = [json.loads(Path(name, "results.json").read_text()) for name in ("run", "whole")]
    assert results[0]["test_loss"] == results[1]["test_loss"]
    assert math.isfinite(results[0]["test_loss"])


def test_a_checkpoint_is_trained_on(capsys):
    fit(capsys, "--epochs", "1", "--out", "run")
    command = ["fit", "--model", "run/model", *DATA, *TINY, "--epochs", "1", "--at", "fc", "--to", "1 > 1"]
    assert main([*command, "--grow-at", "0", "--out", "on"]) == 0
    assert load("on/model").fc.edges is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "-1"], "--seed must be non-negative"),
        (["--seed", "99999999999999999999"], "--seed must be at most 2^50"),
        (["--time-limit", "0"], "--time-limit must be positive"),
        (["--at", "fc", "--to", "1 > 1"], "1 --at but 0 --grow-at"),
        (["--at", "nope", "--to", "1 > 1", "--grow-at", "0"], "nope"),
        (["--recipe", "shrot"], "unknown recipe 'shrot'"),
        (["--data-name", "cifar"], "unknown data set 'cifar'"),
        (["--data", "images"], "which is part of netmorph. Remedy: add --data-name cifar10"),
        (["--download"], "have no effect for fashion-mnist-subset"),
        (["--model", "torchvision:resnet18"], "refuses"),
        (["--model", "netmorph:resnet81"], "depth"),
        (["--phases", '[{"epochs": 1}]', "--at", "fc", "--to", "1", "--grow-at", "1"], "exclude each other"),
        (["--phases", '[{"epoch": 1}]'], "write epochs"),
        (["--lr", "1e9", "--epochs", "5"], "diverged"),
    ],
)
def test_wrong_input_is_one_message(capsys, arguments, said):
    error = fit(capsys, *arguments, "--out", "run", code=2).err
    assert said in error
    assert "Traceback" not in error


def test_another_run_in_the_folder_is_refused(capsys):
    fit(capsys, "--epochs", "1", "--out", "run")
    assert "holds another run" in fit(capsys, "--epochs", "2", "--out", "run", code=2).err


@pytest.mark.parametrize("arguments", [["--grow-at", "soon"], ["--precision", "8"], ["--phases", "3"]])
def test_what_cannot_be_read_exits_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        main(["fit", *NETWORK, *arguments, "--out", "run"])
    assert exit_.value.code == 2
    assert arguments[0][2:].replace("-", "_") in capsys.readouterr().err.replace("-", "_")


@pytest.mark.parametrize(("given", "read"), [("3", 3), (3, 3), ([1, "2"], [1, 2])])
def test_epochs_are_read_from_text_and_config(given, read):
    assert _Epoch()(given) == read
    with pytest.raises(ValueError, match="epochs"):
        _Epoch()(True)


def test_lightning_is_missed_before_any_work(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    assert "lightning is not installed" in fit(capsys, "--out", "run", code=2).err
    assert not (tmp_path / "run").exists()


def test_help_names_the_data_sets_that_there_are():
    assert set(training.DATA_NAMES) == set(sources.DATA_NAMES)


def test_no_epoch_is_begun_that_would_not_end_in_time(monkeypatch):
    now = iter([0.0, 5.0, 15.0, 25.0, 36.0])
    monkeypatch.setattr(training.time, "monotonic", lambda: next(now))
    over = training.deadline(40.0)
    # Until the first epoch ends much else happens; after that epochs take 10 seconds, and then 11.
    assert [over() for _ in range(4)] == [False, False, False, True]


def test_the_birth_of_modules(capsys):
    wide = ["--at", "layer1.0.conv1", "--to", "3x3:2x > 3x3", "--grow-at", "1", "--epochs", "2", "--out", "run"]
    fit(capsys, *wide, "--birth", "pair")
    assert json.loads(Path("run/config.json").read_text())["setting"]["birth"] == "pair"
    assert type(load("run/model").layer1[0].conv1.acts["a"]).__name__ == "ReLU"
    assert "differ" in fit(capsys, *wide, code=2).err  # another birth, another run
    fit(capsys, *wide, "--birth", "pair")


def test_an_older_folder_without_a_birth_is_the_same_run(capsys):
    wide = ["--at", "layer1.0.conv1", "--to", "3x3:2x > 3x3", "--grow-at", "0", "--epochs", "1", "--out", "run"]
    fit(capsys, *wide)
    assert "birth" not in json.loads(Path("run/config.json").read_text())["setting"]
    fit(capsys, *wide, "--birth", "slope")
    assert type(load("run/model").layer1[0].conv1.acts["a"]).__name__ == "PReLU"


@pytest.mark.parametrize(
    ("birth", "to", "said"),
    [
        ("pears", "3x3:2x > 3x3", "expected a birth of slope, pair, zero, cancel, got 'pears'"),
        ("pair", "3x3 > 3x3", "give the blobs with an activation twice the channels"),
        ("zero", "3x3 > 3x3", "has no path without one"),
    ],
)
def test_a_birth_that_cannot_be_is_told_before_any_training(capsys, birth, to, said):
    growth = ["--at", "layer1.0.conv1", "--to", to, "--grow-at", "1", "--epochs", "2", "--birth", birth]
    assert said in fit(capsys, *growth, "--out", "run", code=2).err
    assert not Path("run").exists()
