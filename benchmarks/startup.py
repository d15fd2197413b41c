"""Start-up: the command line's help, and what importing netmorph adds to importing torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import race
from benchmarks.report import Report, Target, run

QUESTION = "How long until the command line answers, and what does importing netmorph cost beside torch?"
HELP, ADDED = 0.5, 0.15
EVERYTHING = "import torch, netmorph as nm; nm.morph, nm.solve, nm.parse, nm.collapse, nm.load"


def measure(report: Report) -> None:
    """Race fresh processes."""
    script = Path(sys.executable).with_name("netmorph")
    command = [str(script)] if script.exists() else [shutil.which("netmorph") or "netmorph"]
    processes = {
        "python, nothing": [sys.executable, "-c", "pass"],
        "netmorph --help": [*command, "--help"],
        "netmorph show": [*command, "show", "3x3 > 1x1 | 1x1"],
        "import torch": [sys.executable, "-c", "import torch"],
        "import torch, netmorph": [sys.executable, "-c", "import torch, netmorph"],
        "import torch and every public verb": [sys.executable, "-c", EVERYTHING],
    }
    calls = {name: partial(_start, arguments) for name, arguments in processes.items()}
    times = race(calls, 1 if report.quick else 9)
    for name, each in times.items():
        report.row(process=name, seconds=each.median, fastest=min(each.seconds), spread=each.spread)
    torch, both = times["import torch"], times["import torch, netmorph"]
    verbs = times["import torch and every public verb"]
    report.targets = [
        Target("seconds of netmorph --help", times["netmorph --help"].median, HELP),
        Target("seconds that import netmorph adds to torch's", both.median - torch.median, ADDED),
        Target("seconds that netmorph and its verbs add to torch's", verbs.median - torch.median, ADDED),
    ]
    report.notes = ["Fresh processes, files in the page cache. The verbs are imported on first use."]


def _start(arguments: list[str]) -> None:
    subprocess.run(arguments, check=True, capture_output=True)


if __name__ == "__main__":
    run("startup", QUESTION, measure)
