"""Write an HTML report of a morph or a training run: drawings, parity, cost, curves, slopes, how to repeat it.

RUN is a folder written by netmorph morph, quickstart, fit or netmorph.save. The file works without a network
connection, on small screens, in dark mode and in print. Exit code 2: a morph did not preserve the function.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netmorph.lab.report.run import Run

__all__ = ["add_arguments", "report_on", "run"]


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    parser.add_argument("run", type=str, help="folder of a run or a checkpoint")
    parser.add_argument("--out", type=str | None, default=None, help="output file (default: report.html in the folder)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Any) -> int:
    """Write the report, and say where."""
    from netmorph.lab.report.read import read_run

    return report_on(read_run(Path(options.run)), options)


def report_on(about: Run, options: Any) -> int:
    """Write the report on a run that was read, say where, and return the exit code."""
    from netmorph.lab.report.write import write_report

    path = write_report(about, None if options.out is None else Path(options.out))
    sites = [site for each in about.parity for site in each.sites]
    wrong = [site.site for site in sites if not site.same]
    if options.json:
        found = {"report": str(path), "kind": about.kind, "sites_measured": len(sites), "sites_that_differ": wrong}
        print(json.dumps(found, indent=2))
    else:
        said = f"the function was NOT preserved at {', '.join(wrong)}" if wrong else "the function was preserved"
        print(f"{about.kind}: {said if sites else 'it contains no parity'}\nWritten to {path}")
    return 2 if wrong else 0
