import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.train.two_processes import RECIPE, data, network

from netmorph.errors import NetmorphError
from netmorph.train.checkpoint import CHECKPOINT
from netmorph.train.logs import METRICS
from netmorph.train.loop import fit
from netmorph.train.machine import Machine

SCRIPT = Path(__file__).with_name("two_processes.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(folder, launcher, *tasks):
    """Run tasks in two processes."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    }
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), *tasks]
    ran = subprocess.run(command, env=environment, timeout=300, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder


def found(folder, task):
    """Return what each of the two processes wrote."""
    return [torch.load(folder / f"{task}-{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def by_torchrun(tmp_path_factory):
    return run(tmp_path_factory.mktemp("torchrun"), TORCHRUN, "train", "grow")


@pytest.fixture(scope="module")
def by_lightning(tmp_path_factory):
    return run(tmp_path_factory.mktemp("lightning"), [], "train")


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value.equal(other[name]), name


@pytest.mark.parametrize("launched", ["by_lightning", "by_torchrun"])
def test_two_processes_train_as_one(request, launched):
    folder = request.getfixturevalue(launched)
    first, second = found(folder, "train")
    assert_same(first["weights"], second["weights"])
    assert_same(first["normed"], second["normed"])
    assert not first["normed"]["1.running_mean"].eq(0).any()
    assert (first["asked"], second["asked"]) == (1, 0)
    assert first["stopped_after"] == second["stopped_after"] == 1
    timeless = [[{**row, "seconds": 0, "samples_per_second": 0} for row in each["rows"]] for each in (first, second)]
    assert timeless[0] == timeless[1]
    assert {path.name for path in (folder / "run").iterdir()} - {"tensorboard"} == {CHECKPOINT, METRICS}

    alone = network()  # without BatchNorm, the gradient of the whole batch is the mean of the shares'
    rows = fit(alone, data(), RECIPE, 0, machine=Machine(accelerator="cpu"))
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(value, first["weights"][name], atol=1e-5, rtol=1e-4)
    for row, theirs in zip(rows, first["rows"], strict=True):
        assert row.train_loss == pytest.approx(theirs["train_loss"], rel=1e-5)
        assert row.test_loss == pytest.approx(theirs["test_loss"], rel=1e-4)
        assert (row.test_error, row.steps) == (pytest.approx(theirs["test_error"]), theirs["steps"])


def test_two_processes_grow_the_same_child_and_share_its_gradients(by_torchrun):
    first, second = found(by_torchrun, "grow")
    assert_same(first["weights"], second["weights"])
    assert all(one != other for one, other in zip(first["shares"], second["shares"], strict=True))
    assert len(first["gradients"]) == len(second["gradients"]) == 6
    for one, other in zip(first["gradients"], second["gradients"], strict=True):
        assert_same(one, other)
    newborn = first["gradients"][-1].keys() - first["gradients"][0].keys()
    assert newborn
    assert all(first["gradients"][-1][name].abs().max() > 0 for name in newborn)
    assert "another process could not grow" in first["refused"]
    assert "not here" in second["refused"]


def test_a_batch_that_two_cannot_share_is_one_message():
    with pytest.raises(NetmorphError, match="15"):
        data().train_batches(replace(RECIPE, batch_size=15).batch_size, 0, 1, rank=0, world=2)
