"""Check what is installed and whether netmorph works on this machine, and suggest remedies.

torch is checked in separate processes, so that a crash there is reported. Exit code 0: netmorph works (notes are about
what not everybody needs); 2: it does not.
"""

from __future__ import annotations

import json
import sys
from typing import Any

__all__ = ["add_arguments", "run"]

_SIGNS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "bad": ("BAD", "bold red")}


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Any) -> int:
    """Print the findings."""
    from netmorph.lab.doctor import diagnose, summary

    if not options.json:
        print("netmorph doctor: checking torch, which takes some seconds", file=sys.stderr)
    checks = diagnose()
    found = summary(checks)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0 if found["works"] else 2
    from rich.text import Text

    from netmorph.cli.console import console

    out = console()
    wide = max(len(check.what) for check in checks)
    for check in checks:
        sign, style = _SIGNS[check.verdict]
        line = Text.assemble((f"{sign:<5}", style), f"{check.what:<{wide}}  {check.said}")
        out.print(line, soft_wrap=True)
        if check.remedy:
            out.print(Text(f"{'':<{wide + 7}}-> {check.remedy}"), soft_wrap=True)
    notes = sum(check.verdict == "note" for check in checks)
    last = "netmorph works here" if found["works"] else "netmorph does NOT work here"
    out.print(f"{last}{f'; {notes} notes' if notes > 1 else '; 1 note' if notes else ''}")
    return 0 if found["works"] else 2
