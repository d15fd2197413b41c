import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from netmorph.data.fashion import load_fashion
from netmorph.errors import NetmorphError
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.train.checkpoint import CHECKPOINT
from netmorph.train.logs import METRICS
from netmorph.train.loop import Before, Paused, fit
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe

RECIPE = Recipe(epochs=3, batch_size=50, lr=0.1)
CPU = Machine(accelerator="cpu")
TIMES = ("seconds", "samples_per_second")


@pytest.fixture(scope="module")
def small():
    return load_fashion().first(150, 50)


def model(width=4, seed=0):
    return CifarResNet(8, in_channels=1, width=width, stem_stride=2, seed=seed)


def timeless(row):
    return replace(row, seconds=0, samples_per_second=0)


def without_times(row):
    return {key: value for key, value in row.items() if key not in TIMES}


def assert_same(one, other):
    for name, value in one.items():
        assert value.equal(other[name]), name
    assert one.keys() == other.keys()


@pytest.fixture(scope="module")
def paused(small, tmp_path_factory):
    """A folder with the first of three epochs, and the network as it was left."""
    folder, net = tmp_path_factory.mktemp("paused"), model()
    with pytest.raises(Paused, match="after 1 of 3 epochs") as pause:
        fit(net, small, RECIPE, 0, machine=CPU, folder=folder, stop=lambda: True)
    return folder, net, pause.value


@pytest.fixture
def copied(paused, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes((paused[0] / CHECKPOINT).read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def whole(small):
    net = model()
    return net, fit(net, small, RECIPE, 0, machine=CPU)


def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(tmp_path):
    script = Path(__file__).with_name("killed.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, script, tmp_path], check=True, timeout=300, env=environment)
    expected = torch.load(tmp_path / "whole.pt")
    assert not (tmp_path / "never.pt").exists()
    assert [row["epoch"] for row in expected["rows"]] == [3, 4, 5, 6, 7]
    for name in ("points", "random"):
        ended = torch.load(tmp_path / f"{name}.pt")
        assert_same(ended["weights"], expected["weights"])
        rows = [
            [{k: v for k, v in row.items() if k not in TIMES} for row in each["rows"]] for each in (ended, expected)
        ]
        assert rows[0] == rows[1]
        with (tmp_path / name / METRICS).open(newline="") as file:
            table = list(csv.DictReader(file))
        assert [int(line["steps"]) for line in table] == [12, 16, 20, 24, 28]
        assert [float(line["test_loss"]) for line in table] == [row["test_loss"] for row in expected["rows"]]
        assert not {path.name for path in (tmp_path / name).iterdir()} - {CHECKPOINT, METRICS, "tensorboard"}


@pytest.mark.parametrize("start", ["as at first", "as it was left", "any other"])
def test_a_paused_training_goes_on_with_the_weights_of_its_checkpoint(paused, copied, small, whole, start):
    net = {"as at first": model(), "as it was left": paused[1], "any other": model(seed=9)}[start]
    rows = fit(net, small, RECIPE, 0, machine=CPU, folder=copied)
    assert rows[0] == paused[2].rows[0]
    assert [timeless(row) for row in rows] == [timeless(row) for row in whole[1]]
    assert rows[0].seconds < rows[1].seconds < rows[2].seconds
    assert_same(net.state_dict(), whole[0].state_dict())
    again = model()
    assert fit(again, small, RECIPE, 0, machine=CPU, folder=copied, stop=lambda: True) == rows
    assert_same(again.state_dict(), net.state_dict())


def test_the_paused_network_is_on_the_cpu_and_in_eval_mode(paused):
    assert not any(module.training for module in paused[1].modules())
    assert paused[2].epochs == 3


def test_stop_is_asked_after_each_epoch_but_the_last(small):
    asked = []
    rows = fit(model(), small, RECIPE, 0, machine=CPU, stop=lambda: asked.append(1))
    assert (len(asked), len(rows)) == (2, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recipe": replace(RECIPE, lr=0.2)}, "the recipe differ"),
        ({"seed": 1}, "the seed differ"),
        ({"model": model(width=6)}, "the names and shapes of the network's tensors differ"),
        ({"before": Before(1, 3)}, "the epochs and steps that went before differ"),
        ({"data": load_fashion().first(200, 50)}, "the number of batches in an epoch differ"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_checkpoint_of_another_training_is_refused(copied, small, change, said):
    given = {"model": model(), "data": small, "recipe": RECIPE, "seed": 0} | change
    before = {name: value.clone() for name, value in given["model"].state_dict().items()}
    with pytest.raises(NetmorphError, match=f"another training: {said}.*choose another folder"):
        fit(**given, machine=CPU, folder=copied)
    assert_same(given["model"].state_dict(), before)


@pytest.mark.parametrize("content", [b"", b"garbage", None], ids=["empty", "garbage", "truncated"])
def test_a_damaged_checkpoint_is_one_message(copied, small, content):
    path = copied / CHECKPOINT
    path.write_bytes(path.read_bytes()[:999] if content is None else content)
    with pytest.raises(NetmorphError, match="last.ckpt is not a checkpoint that can be read.*delete it"):
        fit(model(), small, RECIPE, 0, machine=CPU, folder=copied)


def test_a_checkpoint_that_would_run_code_does_not(copied, small):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(copied / "sprung"),)

    torch.save({"format": "netmorph-phase-1", "fingerprint": Trap()}, copied / CHECKPOINT)
    with pytest.raises(NetmorphError, match="not a checkpoint that can be read"):
        fit(model(), small, RECIPE, 0, machine=CPU, folder=copied)
    assert not (copied / "sprung").exists()


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path, small):
    (tmp_path / "file").touch()
    with pytest.raises(NetmorphError, match="cannot be written to .*file.*choose a folder"):
        fit(model(), small, RECIPE, 0, machine=CPU, folder=tmp_path / "file")


def test_the_training_is_the_same_with_a_folder_and_without(small, whole, tmp_path):
    net = model()
    rows = fit(net, small, RECIPE, 0, machine=CPU, folder=tmp_path / "new" / "folder")
    assert [timeless(row) for row in rows] == [timeless(row) for row in whole[1]]
    assert_same(net.state_dict(), whole[0].state_dict())
