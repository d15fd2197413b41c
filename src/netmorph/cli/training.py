"""Options that the training commands share: the data, the machine, the time; and how a training is shown."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from netmorph.errors import NetmorphError

if TYPE_CHECKING:
    from netmorph.data.dataset import Data
    from netmorph.train.loop import Progress
    from netmorph.train.machine import Machine
    from netmorph.train.rows import EpochRow

__all__ = [
    "AGAIN",
    "DATA_NAMES",
    "TrainingPrinter",
    "add_data",
    "add_machine",
    "add_time_limit",
    "data_loader",
    "deadline",
    "machine_of",
    "require",
]

_SHIPPED = "fashion-mnist-subset"
AGAIN = 75  # EX_TEMPFAIL of sysexits.h: no error, but not through either; the same command goes on
DATA_NAMES = ("cifar10", "cifar100", "fashion-mnist", "fashion-mnist-subset", "imagefolder", "imagenet")


def add_data(parser: Any, default: str | None, why: str) -> None:
    """Add which data set is read from where."""
    names = ", ".join(DATA_NAMES)
    parser.add_argument("--data-name", type=str | None, default=default, help=f"{names} (default: {why})")
    parser.add_argument(
        "--data",
        type=str | None,
        default=None,
        help="folder of the data set (default: netmorph/data in the user's cache)",
    )
    parser.add_argument("--download", action="store_true", help="download the data into --data if it is missing")


def add_machine(parser: Any) -> None:
    """Add what the training runs on."""
    parser.add_argument(
        "--accelerator", type=str, default="auto", help="auto (a GPU if there is one), cpu, cuda or mps"
    )
    parser.add_argument(
        "--precision",
        type=Literal["32-true", "bf16-mixed", "16-mixed"],
        default="32-true",
        help="numerical precision of the training",
    )
    parser.add_argument(
        "--compile",
        type=Literal["none", "default", "reduce-overhead", "cuda-graphs"],
        default="none",
        help="speed up the network: torch.compile, the same with CUDA graphs (reduce-overhead), or CUDA graphs alone",
    )


def add_time_limit(parser: Any) -> None:
    """Add when to stop."""
    parser.add_argument(
        "--time-limit",
        type=float | None,
        default=None,
        metavar="SECONDS",
        help=f"start no epoch that would not end within this time; exit with {AGAIN}; repeat the command to continue",
    )


def require(*packages: str) -> None:
    """Find out now, rather than after the training, that a package is missing.

    Raises:
        ModuleNotFoundError: if a package is missing.
    """
    for package in packages:
        if find_spec(package) is None:
            raise ModuleNotFoundError(name=package)


def data_loader(
    name: str, options: Any, *, train_limit: int | None = None, test_limit: int | None = None
) -> Callable[[], Data]:
    """Return what loads the data set: picklable, since worker processes load their own.

    Raises:
        NetmorphError: if the data set is unknown, or is not read from a folder.
    """
    from netmorph.data.sources import load_data

    if name not in DATA_NAMES:
        raise NetmorphError(f"unknown data set {name!r}", remedies=[f"choose one of {', '.join(DATA_NAMES)}"])
    if name == _SHIPPED and (options.data is not None or options.download):
        raise NetmorphError(
            f"--data and --download have no effect for {name}, which is part of netmorph",
            remedies=["add --data-name cifar10, or whatever lies there", "leave them out"],
        )
    root = None if options.data is None else Path(options.data)
    return partial(load_data, name, root, download=options.download, train_limit=train_limit, test_limit=test_limit)


def machine_of(options: Any) -> Machine:
    """Return what the training runs on."""
    from netmorph.train.machine import Machine

    return Machine(
        accelerator=options.accelerator,
        precision=options.precision,
        compile=None if options.compile == "none" else options.compile,
    )


def deadline(seconds: float | None) -> Callable[[], bool] | None:
    """Return what says, when asked after each epoch, that another one would not end in time.

    An epoch takes as long as the last one did; what passes until the first question is no measure.

    Raises:
        NetmorphError: if the limit is not positive.
    """
    if seconds is None:
        return None
    if not seconds > 0:
        raise NetmorphError(f"--time-limit must be positive, got {seconds}")
    end, asked = time.monotonic() + seconds, [math.inf]

    def over() -> bool:
        now = time.monotonic()
        asked.append(now)
        return now + 1.2 * max(0.0, now - asked[-2]) > end

    return over


class TrainingPrinter:
    """Shows trainings as they go on: a live bar for people, a line an epoch for pipes.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        from netmorph.cli.console import console

        self.console = console()
        self.quiet = quiet

    @contextmanager
    def training(self, name: str, epochs: int) -> Iterator[Progress]:
        """Show one training."""
        if self.quiet or not self.console.is_terminal:
            yield _Lines(name, epochs, quiet=self.quiet)
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:<20}"),
            BarColumn(),
            TextColumn("{task.fields[note]:<36}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            yield _Bar(progress, progress.add_task(name, total=None, note=""), epochs)


class _Bar:
    """A live bar."""

    def __init__(self, progress: Any, task: Any, epochs: int) -> None:
        self.progress, self.task, self.epochs = progress, task, epochs

    def batch(self, done: int, total: int) -> None:
        """Move on."""
        self.progress.update(self.task, completed=done, total=total)

    def epoch(self, row: EpochRow) -> None:
        """Say how it stands."""
        self.progress.update(self.task, note=f"epoch {row.epoch}/{self.epochs}, test error {row.test_error:.1f} %")


class _Lines:
    """A line an epoch."""

    def __init__(self, name: str, epochs: int, *, quiet: bool) -> None:
        self.name, self.epochs, self.quiet = name, epochs, quiet

    def batch(self, done: int, total: int) -> None:
        """Print nothing."""

    def epoch(self, row: EpochRow) -> None:
        """Print how it stands."""
        if not self.quiet:
            print(f"{self.name}: epoch {row.epoch}/{self.epochs}, test error {row.test_error:.1f} %", flush=True)
