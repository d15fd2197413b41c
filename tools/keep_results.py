"""Keep an experiment of `python -m reproduction` under results/: its tables and pictures, and one archive of its jobs.

python -m tools.keep_results runs/table1-cifar10-short results/NAME/table1
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from tools.archive import pack

__all__ = ["JOBS", "keep"]

JOBS = "jobs.tar.xz"
_SHOWN = ("experiment.json", "table.*", "curves.*", "figure*")
_JOBS = ("jobs/data.txt", "jobs/*/done.json")  # neither networks nor logs


def keep(run: Path, target: Path) -> None:
    """Copy what is shown of an experiment, and pack what its table is made of."""
    target.mkdir(parents=True, exist_ok=True)
    for path in (path for pattern in _SHOWN for path in run.glob(pattern)):
        shutil.copyfile(path, target / path.name)
    pack(run, _JOBS, target / JOBS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the experiment")
    parser.add_argument("target", type=Path, help="folder under results/")
    given = parser.parse_args()
    keep(given.run, given.target)
