"""Write the tables of results/README.md from what `python -m reproduction` left under results/.

python tools/results_page.py [--check]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "results" / "README.md"
_MARK = re.compile(r"(<!-- from (?P<source>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str, folder: Path) -> str:
    """Return a page with the tables between its marks written anew."""
    return _MARK.sub(lambda match: f"{match[1]}{''.join(_table(folder / match['source']))}{match[3]}", text)


def _table(source: Path) -> Iterator[str]:
    """Yield a table of errors and training losses: each row, and each control of it."""
    content = json.loads(source.read_text(encoding="utf-8"))
    rows = [row for row in content["rows"] if row["error"] is not None]
    controls = list(dict.fromkeys(name for row in rows for name in row["controls"]))
    heads = ["network", "epochs", "paper", "grown", *controls]
    yield f"\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}\n"
    for row in rows:
        paper = row["figures"].get("error", {}).get("paper")
        cells = [_named(row), f"{row['epochs']:g}", "-" if paper is None else f"{paper:.2f}", _errs(row)]
        cells += [_errs(row["controls"].get(name)) for name in controls]
        yield f"| {' | '.join(cells)} |\n"
    header = content["header"]
    where = ", ".join([*(header["accelerator"] or header["processor"]), *header.get("training", ())])
    limit = "" if header["train_limit"] is None else f" ({header['train_limit']:,} of its training images)"
    yield (
        "\nTest error in %, mean ± deviation over seeds (n), and in brackets the training loss in nats. "
        f"{', '.join(header['data'])}{limit}; {header['jobs']['done']} of {header['jobs']['total']} trainings; "
        f"{where}; {', '.join(header['versions'])}.\n\n"
    )


def _named(row: dict[str, Any]) -> str:
    variant = "" if row["name"].startswith(row["net"]) else f": {row['name']}"
    through = " → ".join(phase.partition("_")[2] for phase in row["phases"])
    return f"{row['net']}{variant}{f', through {through}' if through else ''}"


def _errs(found: dict[str, Any] | None) -> str:
    if found is None or found["error"] is None:
        return "-"
    error, loss = found["error"], found["train_loss"]
    spread = "" if error["n"] == 1 else f" ± {error['std']:.2f}"
    return f"{error['mean']:.2f}{spread} ({error['n']}) [{loss['mean']:.3f}]"


def main() -> int:
    """Write the page, or check that it is as it would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is out of date")
    check = parser.parse_args().check
    old = PAGE.read_text(encoding="utf-8")
    new = page(old, PAGE.parent)
    if check:
        return int(old != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
