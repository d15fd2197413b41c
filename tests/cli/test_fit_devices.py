"""`netmorph fit` in two processes on the CPU: stopped and resumed, it comes to the same, and one of them speaks."""

import csv
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from tests.cli.two_fits import COMMAND

from netmorph.cli.fit import _machine
from netmorph.cli.main import main
from netmorph.errors import NetmorphError
from netmorph.models.opening import load
from netmorph.models.paper import name_of

LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")


def run(command, folder):
    """Run a command that starts processes, and return what they printed."""
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo", "NO_COLOR": "1"}
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [environment.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=folder,
        timeout=300,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    ran = run([str(Path(__file__).with_name("two_fits.py")), str(folder)], folder)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(2)]
    return folder, ran, found


def rows(out):
    with (out / "metrics.csv").open() as file:
        timed = ("seconds", "samples_per_second")
        return [{key: value for key, value in row.items() if key not in timed} for row in csv.DictReader(file)]


def test_stopped_after_each_phase_it_comes_to_the_same(two):
    folder, _, found = two
    assert [each["codes"] for each in found] == [[75, 75, 0, 0, 2], [0, 0, 0, 0, 0]]
    assert [(row["phase"], row["epoch"], row["steps"]) for row in rows(folder / "run")] == [
        ("1", "1", "3"), ("2", "2", "6"), ("3", "3", "9")
    ]  # fmt: skip
    assert rows(folder / "run") == rows(folder / "whole")
    one, other = (load(folder / name / "model") for name in ("run", "whole"))
    assert name_of(one, 14) == "morph14_1c1"
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(value.equal(other.state_dict()[name]) for name, value in one.state_dict().items())


def test_the_first_process_alone_writes_and_speaks(two):
    folder, ran, _ = two
    assert {path.name for path in (folder / "whole").iterdir() if path.name != ".lock"} == {
        "config.json", "metrics.csv", "results.json", "model", "phase-1", "phase-2", "phase-3"
    }  # fmt: skip
    out = ran.stdout
    for said, times in (("Time limit reached", 2), ("Written to", 2), ("phase 3: epoch 3/3", 2), ("Parity of each", 4)):
        assert out.count(said) == times, out
    assert ran.stderr.count("netmorph: ") == 1
    assert "batch" in ran.stderr
    assert "15" in ran.stderr


def test_all_processes_share_a_batch_of_the_whole(two):
    folder, _, _ = two
    results = json.loads((folder / "whole" / "results.json").read_text())
    assert results["steps"] == 9  # 48 images, 16 a step: of two processes 8 each
    assert len(results["morphs"]) == 2
    for morph in results["morphs"]:
        assert all(max(site["interior"], site["border"]) <= site["tolerance"] for site in morph["sites"])


def test_what_fails_in_one_process_ends_all_and_is_told_once(two):
    first, second = (each["team"] for each in two[2])
    assert first["first fails"] == "ValueError: no more disk"
    assert second["first fails"].startswith("ElsewhereError")
    assert first["second fails"] == "NetmorphError: process 1: no more disk."
    assert second["second fails"].startswith("ElsewhereError")
    assert first["none fails"] == second["none fails"] == "well"
    assert first["told"] == second["told"] == "by 0"
    assert (first["in turn"], second["in turn"]) == ("by 0", "by 1")


def test_children_that_differ_are_found_by_their_checksums(two):
    first, second = (each["team"] for each in two[2])
    assert first["equal"] is second["equal"] is None
    assert "do not hold the same network: 1 differ from the first" in first["unequal"]
    assert second["unequal"].startswith("ElsewhereError")


@pytest.mark.slow
def test_torchrun_s_processes_are_taken(tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "netmorph.cli.main"]
    without = [word for word in COMMAND if word not in ("--devices", "2")]
    ran = run([*launcher, *without, "--out", "run"], tmp_path)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("Written to run") == 1
    assert len(rows(tmp_path / "run")) == 3


def options(devices):
    return Namespace(devices=devices, accelerator="cpu", precision="32-true", compile="none")


@pytest.mark.parametrize(
    ("devices", "started", "found"),
    [
        (None, None, (1, "auto")),
        (3, None, (3, "ddp")),
        (None, 2, (2, "ddp")),
        (2, 2, (2, "ddp")),
        (None, 1, (1, "auto")),
    ],
)
def test_devices_are_those_asked_for_or_torchrun_s(monkeypatch, devices, started, found):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    if started is not None:
        for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", started), ("LOCAL_WORLD_SIZE", started)):
            monkeypatch.setenv(name, str(value))
    machine = _machine(options(devices))
    assert (machine.devices, machine.strategy) == found


@pytest.mark.parametrize(
    ("devices", "here", "said"), [(3, 2, "started 2 processes, not 3"), (None, 1, "those of one computer")]
)
def test_what_torchrun_started_otherwise_is_refused(monkeypatch, devices, here, said):
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", 2), ("LOCAL_WORLD_SIZE", here)):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(NetmorphError, match=said):
        _machine(options(devices))


def test_no_devices_are_refused(capsys):
    assert main(["fit", "--model", "netmorph:resnet8", "--devices", "0", "--out", "run"]) == 2
    assert "--devices must be at least 1" in capsys.readouterr().err


def test_devices_that_are_not_there_are_refused_before_any_process_is_started(capsys, tmp_path):
    count = torch.cuda.device_count() + 1
    command = ["fit", "--model", "netmorph:resnet8", "--accelerator", "cuda", "--devices", str(count), "--out", "run"]
    assert main(command) == 2
    assert "cannot use this machine" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
