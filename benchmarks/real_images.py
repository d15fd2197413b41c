"""Real images for benchmarks: the bundled Fashion-MNIST, and CIFAR-10 where one names its folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from netmorph.data.dataset import Dataset
from netmorph.data.fashion import load_fashion
from netmorph.data.sources import load_data
from netmorph.errors import NetmorphError

VARIABLE = "NETMORPH_CIFAR"


def image_options() -> argparse.ArgumentParser:
    """Return the option ``--cifar``, the folder of CIFAR-10, for `benchmarks.report.run`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--cifar",
        type=_folder,
        metavar="DIR",
        default=os.environ.get(VARIABLE) or None,
        help=f"folder of CIFAR-10, Parquet or binary; default: the environment's {VARIABLE}, else none",
    )
    return parser


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return path


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
