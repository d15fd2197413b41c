"""The table of an experiment, beside the paper's and beside its controls, from whatever is finished so far."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netmorph.lab.run_folder import json_text
from netmorph.whole_files import write_whole
from reproduction.claims import Claim, claims, parity_claim
from reproduction.experiment import CONTROLS, SCRATCH, Experiment, TableRow
from reproduction.finished import Finished, read_finished, title_of
from reproduction.render_text import markdown
from reproduction.spread import Paired, Spread

__all__ = ["Column", "columns_of", "render", "table_of"]

# On what the paper's figures were measured.
_MEASURED_ON = {
    **dict.fromkeys(("table1", "table2", "figure5a"), "CIFAR-10"),
    **dict.fromkeys(("table3", "table4", "figure5b"), "CIFAR-100"),
    **dict.fromkeys(("table5", "figure6"), "ImageNet"),
}


@dataclass(frozen=True)
class Column:
    """A figure that the paper prints.

    Attributes:
        title: what the table calls it, with its unit.
        digits: of the paper's figure.
        figure: the name under which `Finished` knows it.
        control: the control whose figure it is; None for the row's own.
    """

    title: str
    digits: int
    figure: str
    control: str | None = None


# By the names of tables.json. Figures that follow from others (improvements, ratios) are left to the reader and to the
# paired differences, which compare with more than the paper does.
_COLUMNS = {
    "error": Column("error, %", 2, "error"),
    "scratch": Column("error from scratch, %", 2, "error", SCRATCH),
    "morph": Column("error by morphing, %", 2, "error"),
    "error_1view": Column("top-1 error, 1 view, %", 2, "error"),
    "error_10view": Column("top-1 error, 10 views, %", 2, "error_10view"),
    "params_mib": Column("parameters, MiB", 3, "params_mib"),
    "flop_m": Column("MACs, million", 1, "macs_m"),
    "flop_g": Column("MACs, billion", 3, "macs_g"),
}


def render(experiment: Experiment, out: Path) -> dict[str, Any]:
    """Write ``table.md`` and ``table.json`` into an experiment's folder.

    The files say the same for the same finished jobs: no time of day and no duration is in them.

    Args:
        experiment: what is, or was, to be done.
        out: its folder.

    Returns:
        What ``table.json`` says.

    Raises:
        NetmorphError: if a finished job's file is damaged.
        OSError: if the files cannot be written.
    """
    content = table_of(read_finished(experiment, out))
    write_whole(out / "table.json", json_text(content).encode())
    write_whole(out / "table.md", markdown(content).encode())
    return content


def table_of(finished: Finished) -> dict[str, Any]:
    """Return the table and all that stands around it, as JSON says it."""
    experiment = finished.experiment
    columns = columns_of(experiment)
    return {
        "header": _header(finished),
        "columns": {key: column.title for key, column in columns.items()},
        "rows": [_row(finished, row, columns) for row in experiment.rows],
        "claims": [claim.to_dict() for claim in claims(finished)],
        "parity": parity_claim(finished),
        "summary": _summary(claims(finished)),
    }


def columns_of(experiment: Experiment) -> dict[str, Column]:
    """Return the figures that the paper prints for any of the rows, in the table's order."""
    return {key: column for key, column in _COLUMNS.items() if any(key in row.figure for row in experiment.rows)}


def _header(finished: Finished) -> dict[str, Any]:
    """Say what was done on what."""
    experiment = finished.experiment
    budget = experiment.budget
    return {
        "table": experiment.table,
        "data": finished.named("data"),
        "papers_data": _MEASURED_ON.get(experiment.table),
        "train_limit": budget.train_limit,
        "test_limit": budget.test_limit,
        "budget": budget.name,
        "epochs": {"first": budget.first.epochs, "next": budget.next.epochs},
        "seeds": len(experiment.seeds),
        "jobs": {"done": len(finished.done), "total": len(experiment.jobs)},
        "accelerator": finished.named("environment", "accelerator"),
        "processor": finished.named("environment", "processor"),
        "training": finished.named("environment", "training"),
        "python": finished.named("environment", "python"),
        "versions": finished.named("environment", "versions"),
    }


def _row(finished: Finished, row: TableRow, columns: dict[str, Column]) -> dict[str, Any]:
    """Return one row: the paper's figures, ours, the differences, the controls and the paired differences."""
    figures = {
        key: _figure(row.figure[key], column, _measured(finished, row, column))
        for key, column in columns.items()
        if key in row.figure
    }
    epochs = finished.spread(row.result, "epochs")
    return {
        "name": title_of(row),
        "net": row.net,
        "phases": list(row.phases),
        "epochs": None if epochs is None else epochs.mean,
        "figures": figures,
        "error": _spread(finished.spread(row.result, "error")),
        "train_loss": _spread(finished.spread(row.result, "train_loss")),
        "controls": {name: _control(finished, row, row.controls[name]) for name in CONTROLS if row.controls.get(name)},
    }


def _measured(finished: Finished, row: TableRow, column: Column) -> Spread | None:
    keys = row.result if column.control is None else row.controls.get(column.control, ())
    return finished.spread(keys, column.figure)


def _figure(paper: float, column: Column, ours: Spread | None) -> dict[str, Any]:
    difference = None if ours is None else round(ours.mean - paper, column.digits + 2)
    return {"paper": paper, "ours": _spread(ours), "difference": difference, "digits": column.digits}


def _control(finished: Finished, row: TableRow, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return what a control came to, and the row minus it, seed by seed.

    ``compute`` is the control's training (MACs of one image times epochs, its past included) relative to the row's.
    """
    mine, others = (finished.values(each, "error") for each in (row.result, keys))
    paired = Paired.of(mine, others)
    losses = Paired.of(finished.values(row.result, "train_loss"), finished.values(keys, "train_loss"))
    spent = [finished.spread(each, "compute") for each in (keys, row.result)]
    epochs = finished.spread(keys, "epochs")
    return {
        "epochs": None if epochs is None else epochs.mean,
        "compute": None if spent[0] is None or spent[1] is None else spent[0].mean / spent[1].mean,
        "error": _spread(finished.spread(keys, "error")),
        "train_loss": _spread(finished.spread(keys, "train_loss")),
        "paired": None if paired is None else {**paired.to_dict(), "text": str(paired)},
        "paired_train_loss": None if losses is None else losses.to_dict(),
    }


def _spread(spread: Spread | None) -> dict[str, Any] | None:
    return None if spread is None else spread.to_dict()


def _summary(found: list[Claim]) -> dict[str, dict[str, int]]:
    """Count the verdicts on the claims, for each control; other rows count together."""
    counts: dict[str, dict[str, int]] = {}
    for claim in found:
        control = claim.control if claim.control in ("parent", *CONTROLS) else "another row"
        by_verdict = counts.setdefault(control, {})
        by_verdict[claim.verdict] = by_verdict.get(claim.verdict, 0) + 1
    return counts
