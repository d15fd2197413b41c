"""Train in processes that are killed with -9, resume, and write down what came out; run by test_resume.

Usage: python killed.py FOLDER. Every training is a fork of this process, which itself computes nothing.
"""

import os
import random
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

import lightning.fabric  # noqa: F401 - once, not once a fork
import torch
from torch import nn

from netmorph.data.fashion import load_fashion
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.train import checkpoint
from netmorph.train.loop import Before, fit
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe

EPOCHS, STEPS = 5, 4
DATA = load_fashion().first(200, 60)


def network():
    model = CifarResNet(8, in_channels=1, width=4, stem_stride=2, seed=0)
    model.fc = nn.Sequential(nn.Dropout(0.2), model.fc)  # draws from the global generator
    return model


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class DyingAfter:
    """Kills the process after so many batches."""

    def __init__(self, batches):
        self.left = batches

    def batch(self, done, total):
        self.left -= 1
        if self.left == 0:
            die()

    def epoch(self, row):
        pass


def train(folder, out, progress=None):
    model = network()
    recipe = Recipe(epochs=EPOCHS, batch_size=50, lr=0.1)
    machine = Machine(accelerator="cpu")
    rows = fit(model, DATA, recipe, 3, progress, machine=machine, folder=folder, before=Before(2, 8))
    torch.save({"weights": model.state_dict(), "rows": [asdict(row) for row in rows]}, out)


def die_within_a_write():
    """The second checkpoint is cut off after half of its bytes."""
    save, calls = torch.save, []

    def cut(content, file):
        save(content, file)
        calls.append(file)
        if len(calls) == 2:
            file.truncate(file.tell() // 2)
            die()

    checkpoint.torch.save = cut


def die_before_renaming(number):
    replace, calls = os.replace, []

    def perhaps(source, target):
        calls.append(target)
        if len(calls) == number:
            die()
        replace(source, target)

    os.replace = perhaps


def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid


def outcome(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(folder):
    torch.set_num_threads(1)
    began = time.perf_counter()
    assert outcome(child(lambda: train(None, folder / "whole.pt"))) == 0
    seconds = time.perf_counter() - began
    killed = -signal.SIGKILL

    run = folder / "points"
    moments = [
        lambda: train(run, folder / "never.pt", DyingAfter(3)),
        lambda: train(run, folder / "never.pt", DyingAfter(STEPS + 1)),
        lambda: (die_within_a_write(), train(run, folder / "never.pt")),
        lambda: (
            die_before_renaming(2),
            train(run, folder / "never.pt"),
        ),  # the checkpoint
        lambda: (die_before_renaming(3), train(run, folder / "never.pt")),  # its table
    ]
    for moment in moments:
        assert outcome(child(moment)) == killed
    assert outcome(child(lambda: train(run, folder / "points.pt"))) == 0

    run, draw, deaths, code = folder / "random", random.Random(0), 0, killed
    while code == killed and deaths < 8:
        code = _killed_at_random(run, folder / "random.pt", draw.uniform(0, 0.5 * seconds))
        deaths += code == killed
    assert deaths > 0
    assert code == 0 or outcome(child(lambda: train(run, folder / "random.pt"))) == 0


def _killed_at_random(run, out, delay):
    pid = child(lambda: train(run, out))
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)  # a process that has ended is still there until it is waited for
    return outcome(pid)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
