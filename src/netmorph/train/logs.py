"""What a phase leaves for people to read: a table, and TensorBoard's events where that package is installed."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from netmorph.errors import NetmorphError
from netmorph.train.rows import EpochRow
from netmorph.whole_files import written_aside

__all__ = ["METRICS", "Logs"]

METRICS = "metrics.csv"
_EVENTS = "tensorboard"
_SCALARS = ("lr", "train_loss", "train_error", "test_loss", "test_error", "samples_per_second")


class Logs:
    """The logs of a phase, always a function of its rows: what a killed run had written beyond them goes.

    Args:
        folder: of the phase.
        rows: of the epochs that are through already.

    Raises:
        NetmorphError: if the folder cannot be written.
    """

    def __init__(self, folder: Path, rows: Sequence[EpochRow]) -> None:
        self._table = folder / METRICS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._write_table(rows)
            for leftover in (folder / _EVENTS).glob("events.out.tfevents.*"):
                leftover.unlink()
        except OSError as error:
            raise NetmorphError(
                f"the logs cannot be written to {folder}: {error.strerror}",
                remedies=["choose a folder that you may write"],
            ) from error
        self._writer = _event_writer(folder / _EVENTS)
        for row in rows:
            self._add_events(row)

    def epoch(self, rows: Sequence[EpochRow]) -> None:
        """Write down the last of the rows."""
        self._write_table(rows)
        self._add_events(rows[-1])

    def close(self) -> None:
        """Finish the files."""
        if self._writer is not None:
            self._writer.close()

    def _write_table(self, rows: Sequence[EpochRow]) -> None:
        with written_aside(self._table) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(EpochRow)])
            writer.writeheader()
            writer.writerows(map(asdict, rows))

    def _add_events(self, row: EpochRow) -> None:
        if self._writer is not None:
            for name in _SCALARS:
                self._writer.add_scalar(
                    name.replace("train_", "train/").replace("test_", "test/"), getattr(row, name), row.steps
                )
            self._writer.add_scalar("epoch", row.epoch, row.steps)
            self._writer.flush()


def _event_writer(folder: Path) -> Any:
    """Return TensorBoard's writer, or None where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
    return SummaryWriter(str(folder))
