"""What test_fit_devices runs: `netmorph fit` in two processes, of which the second one is started by the first.

Usage: python two_fits.py FOLDER. Each process writes what it found to FOLDER/found-RANK.json.
"""

import json
import os
import sys
from pathlib import Path

import torch

from netmorph.cli.main import main
from netmorph.errors import NetmorphError
from netmorph.lab.team import Team
from netmorph.models.registry import build
from netmorph.train.machine import Machine

PHASES = [
    {"epochs": 1},
    {"at": "layer1.0.conv1", "to": "3x3 > 1x1 | 1x1"},
    {"grow": "morph14_1c1", "lr": 0.01},
]
COMMAND = [
    *("fit", "--model", "netmorph:resnet14", "--model-args.width=4", "--data-name", "fashion-mnist-subset"),
    *("--train-limit", "48", "--test-limit", "33", "--recipe", "smoke", "--batch-size", "16", "--accelerator", "cpu"),
    *("--devices", "2", "--phases", json.dumps(PHASES)),
]


def refusals(team, rank):
    """Return how what fails in one process ends in this one, and what it calls networks that are not the same."""

    def fails_in(number):
        if rank == number:
            raise ValueError("no more disk")
        return "well"

    def heard(call, *arguments):
        try:
            return call(*arguments)
        except (NetmorphError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    networks = [build("netmorph:resnet8", width=4, seed=seed) for seed in (0, rank)]
    return {
        "first fails": heard(team.everyone, lambda: fails_in(0)),
        "second fails": heard(team.everyone, lambda: fails_in(1)),
        "none fails": heard(team.everyone, lambda: fails_in(2)),
        "told": team.told(lambda: f"by {rank}"),
        "in turn": team.in_turn(lambda: f"by {rank}"),
        "equal": heard(team.same, networks[0], "network"),
        "unequal": heard(team.same, networks[1], "network"),
    }


def run(folder):
    torch.set_num_threads(1)
    stopped = ["--out", str(folder / "run"), "--time-limit", "1e-9"]
    codes = [main([*COMMAND, *stopped]) for _ in range(3)]
    codes.append(main([*COMMAND, "--out", str(folder / "whole")]))
    codes.append(main([*COMMAND, "--out", str(folder / "odd"), "--batch-size", "15"]))
    rank = int(os.environ["LOCAL_RANK"])
    team = Team(Machine(accelerator="cpu", devices=2, strategy="ddp"))
    found = {"codes": codes, "team": refusals(team, rank)}
    (folder / f"found-{rank}.json").write_text(json.dumps(found))
    team.leave()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
