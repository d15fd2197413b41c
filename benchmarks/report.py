"""What a benchmark found: a table to read, and JSON with the hardware and versions it was found on."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

RESULTS = Path("results/benchmarks")
MISSED = "MISSED"


@dataclass(frozen=True)
class Target:
    """What issue 5 asks for, and what was measured.

    Attributes:
        what: in words.
        value: measured; None where it could not be.
        limit: asked for.
        sense: whether the value may be at most or must be at least the limit.
        error: of the value, twice the standard error; a limit within it counts as reached, and the error is shown.
    """

    what: str
    value: float | None
    limit: float
    sense: Literal["at most", "at least"] = "at most"
    error: float = 0.0

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        if self.value is None:
            return False
        slack = self.error if self.sense == "at most" else -self.error
        return self.value <= self.limit + slack if self.sense == "at most" else self.value >= self.limit + slack


def machine() -> dict[str, Any]:
    """Return hardware and versions."""
    from benchmarks.zoo.machine import memory, versions

    return versions() | {"memory_gib": round(memory(), 1)}


@dataclass
class Report:
    """One benchmark's findings.

    Attributes:
        name: of the script.
        question: that it answers.
        quick: whether this is the small version for CI, whose numbers say nothing.
        threads: of torch.
        rows: of the table; the keys of the first are its columns.
        targets: of the issue.
        notes: one sentence each.
        device: what else than the processor was used.
        out: folder of the JSON; None: it is not written.
        machine: hardware and versions at the start.
        complete: whether all was measured; the JSON is written after every row, lest a long run be lost.
    """

    name: str
    question: str
    quick: bool
    threads: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    device: str = "cpu"
    out: Path | None = None
    complete: bool = False
    machine: dict[str, Any] = field(default_factory=machine)
    began: float = field(default_factory=time.time)

    def row(self, **cells: Any) -> None:
        """Add a row, and print it."""
        self.rows.append(cells)
        print("  ".join(f"{key} {show(value)}" for key, value in cells.items()), flush=True)
        if self.out is not None:
            self.write(self.out)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "benchmark": self.name,
            "question": self.question,
            "quick": self.quick,
            "complete": self.complete,
            "machine": self.machine,
            "threads": self.threads,
            "device": self.device,
            "date": time.strftime("%Y-%m-%d", time.gmtime(self.began)),
            "seconds": round(time.time() - self.began, 1),
            "load": round(os.getloadavg()[0], 2),
            "rows": self.rows,
            "targets": [asdict(target) | {"met": target.met} for target in self.targets],
            "notes": self.notes,
        }

    def write(self, folder: Path) -> Path:
        """Write the JSON aside, rename it, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(self.to_dict(), indent=1) + "\n")
        aside.replace(path)
        return path


def show(value: Any) -> str:
    """Return one cell as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else str(value)


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as Markdown tables, a new one wherever the first column's name changes."""
    parts = groupby(rows, key=lambda row: next(iter(row)))
    return "\n\n".join(table(list(each)) for _, each in parts)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table; a row may lack cells."""
    if not rows:
        return ""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {c for c in columns if any(isinstance(row.get(c), int | float) for row in rows)}
    lines = [
        f"| {' | '.join(columns)} |",
        f"| {' | '.join('---:' if column in numeric else '---' for column in columns)} |",
    ]
    lines += [
        f"| {' | '.join(show(row.get(column)).replace('|', chr(92) + '|') for column in columns)} |" for row in rows
    ]
    return "\n".join(lines)


def target_rows(targets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the targets of a report's JSON as rows of a table; missed ones are marked."""
    return [
        {
            "target": each["what"],
            "wanted": f"{each['sense']} {show(each['limit'])}",
            "measured": _measured(each),
            "": "reached" if each["met"] else f"**{MISSED}**",
        }
        for each in targets
    ]


def _measured(target: Mapping[str, Any]) -> str:
    if target["value"] is None:
        return "not measured"
    return show(float(target["value"])) + (f" ± {target['error']:.2g}" if target["error"] else "")


def run(
    name: str,
    question: str,
    measure: Callable[..., None],
    arguments: Sequence[str] | None = None,
    own: Sequence[argparse.ArgumentParser] = (),
) -> Path:
    """Run one benchmark from the command line: measure, print the table, write the JSON.

    Args:
        name: of the script.
        question: that it answers.
        measure: fills the report; given its own options by name.
        arguments: of the command line; default: the process's own.
        own: parsers of the script's own options, without help of theirs.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=question, parents=[*own])
    parser.add_argument(
        "--quick", action="store_true", help="seconds; shows that the script runs, its numbers say nothing"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    options = parser.parse_args(arguments)
    given = {key: value for key, value in vars(options).items() if key not in ("quick", "out", "threads")}
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        report = Report(name, question, options.quick, options.threads, out=options.out)
        measure(report, **given)
        report.complete = True
    finally:
        torch.set_num_threads(before)
    data = report.to_dict()
    print(f"\n{question}\n\n{tables(report.rows)}\n")
    print(table(target_rows(data["targets"])), *report.notes, sep="\n")
    path = report.write(options.out)
    print(f"wrote {path}")
    return path
