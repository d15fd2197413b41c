"""Start-up: the command line's help, and what importing netmorph adds to importing torch."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.measure import Times, race
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
    found: dict[str, list[float]] = {name: [] for name in processes}
    calls = {name: partial(_start, arguments, found[name]) for name, arguments in processes.items()}
    for call in calls.values():
        call()  # writes what bytecode is missing
    for each in found.values():
        each.clear()
    times = race(calls, 1 if report.quick else 11)
    spent = {name: Times(tuple(each)) for name, each in found.items()}
    for name, each in times.items():
        own = spent[name]
        report.row(process=name, seconds=each.median, **{"of the processor": own.median, "their spread": own.spread})

    def added(name: str) -> float:
        """Return the median, over rounds, of what a process took beyond one that imports torch."""
        return median(one - torch for one, torch in zip(found[name], found["import torch"], strict=True))

    report.targets = [
        Target("processor seconds of netmorph --help", spent["netmorph --help"].median, HELP),
        Target("processor seconds that import netmorph adds to torch's", added("import torch, netmorph"), ADDED),
        Target(
            "processor seconds that netmorph and its verbs add to torch's",
            added("import torch and every public verb"),
            ADDED,
        ),
    ]
    report.notes = [
        "Fresh processes, files in the page cache, bytecode written. The verbs are imported on first use. Seconds of "
        "the processor are those that other programs on the machine do not add to; differences are taken in each "
        "round.",
    ]


def _start(arguments: list[str], spent: list[float]) -> None:
    """Run a process and note the seconds of the processor that it took."""
    # Bytecode is kept, as where netmorph is installed: some environments compile every file in every process.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(arguments, check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    run("startup", QUESTION, measure)
