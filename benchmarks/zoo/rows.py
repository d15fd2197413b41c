"""The results file of a suite: a row a model as JSON lines, appended whole, read with what a crash may have left."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.zoo.check import Limits

Row = dict[str, Any]
RAN_OUT = ("over time", "over memory")


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Write a row in one piece, on a line of its own even after a line that a crash cut short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(row).encode() + b"\n"
    with path.open("ab+", buffering=0) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)


def latest(path: Path, key: str = "model") -> dict[str, Row]:
    """Return the last row of each model, or of what else `key` names."""
    return {row[key]: row for row in _lines(path)}


def read(path: Path) -> list[Row]:
    """Return the row that counts of each model: the last, but one that ran out of time or memory replaces no better."""
    rows: dict[str, Row] = {}
    for row in _lines(path):
        if row["status"] not in RAN_OUT or row["model"] not in rows:
            rows[row["model"]] = row
    return list(rows.values())


def is_done(row: Mapping[str, Any], limits: Limits, *, retry: bool) -> bool:
    """Return whether nothing is left to do for a model: larger limits take up what smaller ones left out."""
    if row["status"] != "ok":
        return not retry
    left_out = any(each["over_limit"] + each["late"] for each in row["kinds"].values())
    before = Limits(row["work_limit"], math.inf if row["seconds_limit"] is None else row["seconds_limit"])
    return not left_out or (before.work >= limits.work and before.seconds >= limits.seconds)


def summary(row: Mapping[str, Any]) -> str:
    """Return one line on a model."""
    parts = [
        f"{kind}: {each['exact']} exact, {sum(each['refused'].values())} refused, {len(each['failed'])} FAILED"
        f" (border {_show(each['border'])}, model {_show(each.get('model'))})"
        for kind, each in row.get("kinds", {}).items()
    ]
    text = "; ".join(parts) or row.get("why", "")
    return f"{row['model']}: {row['status']}, {row['wall_seconds']} s; {text}"


def _lines(path: Path) -> Iterator[Row]:
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _show(value: Any) -> str:
    return f"{value:.1e}" if isinstance(value, float) else str(value)
