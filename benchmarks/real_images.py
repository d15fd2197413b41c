"""Real images for benchmarks: the bundled Fashion-MNIST, and CIFAR-10 where one names its folder."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from benchmarks.report import Report, run

from netmorph.errors import NetmorphError
from netmorph.train.data import Dataset
from netmorph.train.fashion import load_fashion
from netmorph.train.sources import load_data

VARIABLE = "NETMORPH_CIFAR"


def run_on_images(
    name: str,
    question: str,
    measure: Callable[[Report, Path | None], None],
    arguments: Sequence[str] | None = None,
    own: Sequence[argparse.ArgumentParser] = (),
) -> Path:
    """Run a benchmark as `benchmarks.report.run` does, with one more option: the folder of CIFAR-10.

    Args:
        name: of the script.
        question: that it answers.
        measure: fills the report; given the folder, or None.
        arguments: of the command line; default: the process's own.
        own: parsers of the script's own options, as for `run`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", add_help=False)
    told = os.environ.get(VARIABLE)
    parser.add_argument(
        "--cifar",
        type=Path,
        metavar="DIR",
        default=Path(told) if told else None,
        help=f"folder of CIFAR-10, Parquet or binary; default: the environment's {VARIABLE}, else none",
    )
    options, rest = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    if options.cifar is not None and not options.cifar.is_dir():
        parser.error(f"--cifar: there is no folder {options.cifar}")
    return run(name, question, partial(_measured, measure, options.cifar), rest, [*own, parser])


def _measured(measure: Callable[[Report, Path | None], None], cifar: Path | None, report: Report) -> None:
    measure(report, cifar)


def fashion(train: int | None = None, test: int | None = None) -> Dataset:
    """Return the bundled images."""
    return load_fashion(train_limit=train, test_limit=test)


def cifar10(folder: Path, train: int | None = None, test: int | None = None) -> Dataset:
    """Return CIFAR-10.

    Raises:
        NetmorphError: it is not in the folder.
    """
    data = load_data("cifar10", folder, train_limit=train, test_limit=test)
    if not isinstance(data, Dataset):
        raise NetmorphError(f"{data.name} does not lie in memory")
    return data


def gpu_or_cpu() -> torch.device:
    """Return the first GPU if there is one, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
