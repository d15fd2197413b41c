"""Write one HTML file about an experiment: its table and curves, the modules that were grown, and their parity.

RUN is the folder of a table, a figure or an exploration, finished or not. Exit code 2: a morph did not
preserve the function.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netmorph.cli.report import add_arguments, report_on

__all__ = ["add_arguments", "run"]


def run(options: Any) -> int:
    """Write the report, and say where."""
    from reproduction.read_experiment import read_experiment

    return report_on(read_experiment(Path(options.run)), options)
