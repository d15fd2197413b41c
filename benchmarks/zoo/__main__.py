"""`python -m benchmarks.zoo torchvision`: run a suite, resume it, and write its table."""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from benchmarks.zoo.check import Limits
from benchmarks.zoo.job import Budget
from benchmarks.zoo.machine import memory
from benchmarks.zoo.representatives import list_large, measure, representatives
from benchmarks.zoo.runner import run
from benchmarks.zoo.suites import SUITES, Suite
from benchmarks.zoo.table import write_table
from benchmarks.zoo.working import rows_folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Morph other people's networks and count what comes of it.")
    parser.add_argument("suite", choices=list(SUITES))
    parser.add_argument("--only", default="*", metavar="PATTERN", help="models whose name matches (fnmatch)")
    parser.add_argument("--limit", type=int, help="at most so many models, of those that match")
    parser.add_argument("--folder", type=Path, default=Path("results/zoo"), help="of tables and archive of rows")
    parser.add_argument("--work", type=float, help="largest solve, in multiply-accumulates (default: the suite's)")
    parser.add_argument("--seconds", type=float, help="processor time after which a model's further sites are left out")
    parser.add_argument("--workers", type=int, default=1, help="models at once, as far as memory goes (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="threads of one model (default: 1)")
    parser.add_argument("--memory", type=float, metavar="GIB", help="memory of one model (default: the suite's)")
    parser.add_argument(
        "--wall", type=float, metavar="SECONDS", help="wall-clock time of one model, in place of the suite's limits"
    )
    parser.add_argument("--retry", action="store_true", help="check again what failed or was not built before")
    parser.add_argument("--table", action="store_true", help="write the table of what there is, run nothing")
    parser.add_argument(
        "--representatives", action="store_true", help="measure one site of each geometry above the suite's size limit"
    )
    given = parser.parse_args()
    suite = SUITES[given.suite]
    with rows_folder(given.folder) as runs:
        path = runs / f"{given.suite}.jsonl"
        if given.representatives:
            _representatives(given, suite, path)
        elif not given.table:
            _run(given, suite, path)
        print(write_table(given.suite, path, given.folder))


def _run(given: argparse.Namespace, suite: Suite, path: Path) -> None:
    chosen = (entry for entry in suite.entries() if fnmatchcase(entry.name, given.only))
    cpu = None if given.wall else suite.cpu
    budget = Budget(given.wall or suite.seconds, given.memory or suite.memory, cpu, given.threads)
    run(
        islice(chosen, given.limit),
        path,
        limits=Limits(given.work or suite.limits.work, given.seconds or suite.limits.seconds),
        budget=budget,
        workers=max(1, min(given.workers, int(memory() // budget.memory))),
        retry=given.retry,
        kinds=suite.kinds,
        report=lambda line: print(line, flush=True),
    )


def _representatives(given: argparse.Namespace, suite: Suite, path: Path) -> None:
    budget = Budget(given.wall or suite.seconds, given.memory or suite.memory, None, given.threads)
    large = list_large(suite.entries(), path, suite.limits, suite.kinds, budget)
    chosen = [each for each in representatives(large.values()) if given.work is None or each.work <= given.work]
    measure(chosen, suite.entries(), path, budget, retry=given.retry, report=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
