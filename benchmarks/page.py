"""Write docs/benchmarks.md from the JSON under results/benchmarks: no figure there is typed by hand."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, table, tables, target_rows

PAGE = Path("docs/benchmarks.md")
ORDER = (
    "solving",
    "networks",
    "memory",
    "running",
    "pairs",
    "collapsed",
    "graphs",
    "training",
    "startup",
    "conditioning",
)
HEAD = """# Benchmarks

`benchmarks/` has one script for each question. `make bench` runs them all and writes this page from the JSON files
under `results/benchmarks`. Values that are compared come from the same run, in which the candidates take turns, so
that a busy machine slows all of them alike. The tables show medians; the spread is the interquartile range. The
targets are netmorph's own, and missed ones are marked. Results differ between machines: run `make bench` on yours.
"""


def page(folder: Path) -> str:
    """Return the page's text; what was run on another device stands in a file of its own, ``training-h100.json``."""
    paths = [path for name in ORDER for path in (folder / f"{name}.json", *sorted(folder.glob(f"{name}-*.json")))]
    found = [json.loads(path.read_text()) for path in paths if path.exists()]
    summary = [
        {
            "question": each["question"],
            "on": each["device"],
            "script": f"`{each['benchmark']}.py`",
            "targets reached": _reached(each),
        }
        for each in found
    ]
    return "\n".join([HEAD, table(summary), "", *(_section(each) for each in found)])


def _reached(data: dict[str, Any]) -> str:
    return f"{sum(each['met'] for each in data['targets'])} of {len(data['targets'])}"


def _title(data: dict[str, Any]) -> str:
    name = data["benchmark"].capitalize()
    return name if data["device"] == "cpu" else f"{name}, on {data['device']}"


def _section(data: dict[str, Any]) -> str:
    machine = data["machine"]
    threads = f"{data['threads']} thread{'s' if data['threads'] != 1 else ''}"
    used = ("torch", "torchvision", "python", "netmorph")
    setting = (
        f"{machine['processor']}, {machine['memory_gib']} GiB, {threads}"
        + (f"; {data['device']}" if data["device"] != "cpu" else "")
        + f"; {', '.join(f'{name} {machine[name]}' for name in used)}; {data['date']}."
    )
    return "\n".join(
        [
            f"## {_title(data)}",
            "",
            data["question"],
            "",
            table(target_rows(data["targets"])),
            "",
            *([] if data["complete"] else ["**The run was cut off: what follows is a part.**", ""]),
            *(line for note in data["notes"] for line in (note, "")),
            "<details><summary>All measurements</summary>",
            "",
            tables(data["rows"]),
            "",
            "</details>",
            "",
            f"*{setting}*",
            "",
        ]
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    aside = options.out.with_suffix(".tmp")
    aside.write_text(page(options.results))
    aside.replace(options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
