"""Data sets by name."""

from __future__ import annotations

import os
from pathlib import Path

from netmorph.data.cifar import CIFAR, load_cifar
from netmorph.data.dataset import Data
from netmorph.data.fashion import load_fashion, load_full_fashion
from netmorph.data.folders import load_folders
from netmorph.errors import NetmorphError

__all__ = ["DATA_NAMES", "load_data"]

SUBSET, FASHION, FOLDERS, IMAGENET = "fashion-mnist-subset", "fashion-mnist", "imagefolder", "imagenet"
DATA_NAMES = (*CIFAR, FASHION, SUBSET, FOLDERS, IMAGENET)


def load_data(
    name: str,
    root: str | Path | None = None,
    *,
    download: bool = False,
    train_limit: int | None = None,
    test_limit: int | None = None,
    workers: int | None = None,
) -> Data:
    """Load a data set by name.

    Args:
        name: ``cifar10``, ``cifar100`` (binary version or the Hub's Parquet files), ``fashion-mnist`` (idx files),
            ``fashion-mnist-subset`` (part of the package), ``imagefolder`` (any images in folders ``train/CLASS/``
            and ``val/CLASS/``) or ``imagenet`` (the same).
        root: folder of the data set; default: ``netmorph/data`` in the user's cache.
        download: whether to download missing files into ``root``; not possible for images in folders.
        train_limit: number of training images to use.
        test_limit: number of test images to use.
        workers: number of processes that read images in folders.

    Returns:
        The data, on the CPU; `Data.to` moves them. The name states what was read.

    Raises:
        NetmorphError: if the data set is unknown, is not in ``root``, or is damaged.
    """
    limits = {"train_limit": train_limit, "test_limit": test_limit}
    for key, limit in limits.items():
        if limit is not None and limit < 1:
            raise NetmorphError(f"{key} must be positive, got {limit}")
    if name == SUBSET:
        return load_fashion(**limits)
    if name not in DATA_NAMES:
        raise NetmorphError(f"unknown data set {name!r}", remedies=[f"the names are {', '.join(DATA_NAMES)}"])
    folder = _cache() if root is None else Path(root).expanduser()
    if name in CIFAR:
        return load_cifar(CIFAR[name], folder, download=download, **limits)
    if name == FASHION:
        return load_full_fashion(folder, download=download, **limits)
    if download:
        remedies = ["see https://image-net.org/download"] if name == IMAGENET else ["leave download out"]
        raise NetmorphError(f"{name} cannot be downloaded", remedies=remedies)
    return load_folders(folder, workers=workers, **limits)


def _cache() -> Path:
    """Return the folder for data whose place nobody names."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netmorph" / "data"
