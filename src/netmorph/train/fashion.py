"""Fashion-MNIST: the subset that netmorph ships, and the whole of it, from its idx files."""

from __future__ import annotations

import gzip
import struct
from importlib.resources import files
from math import prod

import torch
from torch import Tensor

from netmorph.errors import NetmorphError
from netmorph.train.data import Dataset, Split

__all__ = ["load_fashion", "read_idx"]


def load_fashion() -> Dataset:
    """Load the bundled subset of Fashion-MNIST: 8,000 training and 2,000 test images, 28x28, grey, 10 classes.

    Returns:
        The data set, on the CPU.

    Raises:
        NetmorphError: if the package was installed without its data or a file is damaged.
    """
    train, test = (
        Split(_bundled(f"{split}-images-idx3-ubyte.gz").unsqueeze(1), _bundled(f"{split}-labels-idx1-ubyte.gz").long())
        for split in ("train", "test")
    )
    return Dataset.of("Fashion-MNIST (subset)", train, test, classes=10)


def _bundled(name: str) -> Tensor:
    """Read one file that comes with the package."""
    asset = files("netmorph.train") / "assets" / name
    try:
        return read_idx(gzip.decompress(asset.read_bytes()))
    except (OSError, EOFError, ValueError) as error:
        raise NetmorphError(
            f"the bundled data file {name} cannot be read: {error}", remedies=["reinstall netmorph"]
        ) from error


def read_idx(raw: bytes) -> Tensor:
    """Read an idx file: two zero bytes, the type (8 is uint8), the number of dimensions, the sizes, the bytes.

    Args:
        raw: the file, uncompressed.

    Returns:
        A tensor of uint8.

    Raises:
        ValueError: it is no idx file of uint8, or not as long as its header says.
    """
    try:
        kind, dimensions = raw[2], raw[3]
        start = 4 + 4 * dimensions
        shape = struct.unpack(f">{dimensions}I", raw[4:start])
    except (IndexError, struct.error) as error:
        raise ValueError(f"not an idx file: {error}") from error
    if kind != 8 or len(raw) != start + prod(shape):
        raise ValueError(f"not the idx file of uint8 that its header promises: {shape}")
    return torch.frombuffer(bytearray(raw[start:]), dtype=torch.uint8).reshape(shape)
