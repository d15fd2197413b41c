"""Fashion-MNIST: the subset that netmorph ships, and the whole of it, from its idx files."""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netmorph.data.dataset import Dataset, Split
from netmorph.data.download import fetch
from netmorph.errors import NetmorphError

__all__ = ["load_fashion", "load_full_fashion", "read_idx"]

_KINDS = ("images-idx3", "labels-idx1")
_CLASSES = 10
_UNPACK = {".gz": gzip.decompress, ".xz": lzma.decompress}
_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_MD5 = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}


def load_fashion(*, train_limit: int | None = None, test_limit: int | None = None) -> Dataset:
    """Load the bundled subset of Fashion-MNIST: 8,000 training and 2,000 test images, 28x28, 10 classes.

    Pixels are rounded to ten grey levels, so that the files are small.

    Args:
        train_limit: how many training images to keep, the first ones; they are in random order.
        test_limit: how many test images to keep.

    Returns:
        The data set, on the CPU.

    Raises:
        NetmorphError: if the package was installed without its data or a file is damaged.
    """
    assets = files("netmorph.data") / "assets"
    train, test = (
        _read_split(*(assets / f"{split}-{each}-ubyte.xz" for each in _KINDS), remedy="reinstall netmorph").first(limit)
        for split, limit in (("train", train_limit), ("test", test_limit))
    )
    return Dataset.of("Fashion-MNIST (subset)", train, test, classes=_CLASSES)


def load_full_fashion(
    root: Path, *, download: bool = False, train_limit: int | None = None, test_limit: int | None = None
) -> Dataset:
    """Load Fashion-MNIST from its four idx files: 60,000 training and 10,000 test images, 28x28, grey, 10 classes.

    Args:
        root: the folder with the files, as they are published, unpacked or not, or torchvision's root.
        download: whether to fetch the files if they are not there.
        train_limit: how many training images to keep, the first ones.
        test_limit: how many test images to keep.

    Returns:
        The data set, on the CPU.

    Raises:
        NetmorphError: if a file is missing or damaged.
    """
    folders = (root, root / "FashionMNIST" / "raw", root / "fashion-mnist")
    folder = next((each for each in folders if all(_packed(each / name) for name in _MD5)), root)
    if download:
        for name, md5 in _MD5.items():
            if _packed(folder / name) is None:
                fetch(f"{_URL}{name}.gz", folder / f"{name}.gz", md5)
    paths = {name: _packed(folder / name) for name in _MD5}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        raise NetmorphError(
            f"there is no Fashion-MNIST in {' or '.join(map(str, folders))}: {missing[0]}.gz is missing",
            remedies=["allow the download", "use fashion-mnist-subset, which is part of netmorph"],
        )
    train, test = (
        _read_split(*(paths[f"{split}-{each}-ubyte"] for each in _KINDS), remedy="download it again").first(limit)
        for split, limit in (("train", train_limit), ("t10k", test_limit))
    )
    return Dataset.of("Fashion-MNIST", train, test, classes=_CLASSES)


def _packed(path: Path) -> Path | None:
    """Return a file, or its packed form, if there is one."""
    return next((each for each in (path, path.with_name(f"{path.name}.gz")) if each.is_file()), None)


def _read_split(images: Any, labels: Any, *, remedy: str) -> Split:
    """Read the two files of a split."""
    pixels, numbers = _read(images, remedy, dimensions=3).unsqueeze(1), _read(labels, remedy, dimensions=1).long()
    if len(pixels) != len(numbers):
        raise NetmorphError(
            f"{images} holds {len(pixels)} images and {labels} {len(numbers)} labels", remedies=[remedy]
        )
    if len(numbers) and int(numbers.max()) >= _CLASSES:  # EMNIST's letters, say, in files of the same names
        raise NetmorphError(
            f"{labels} is not of Fashion-MNIST",
            shapes=f"{_CLASSES} classes, a label {int(numbers.max())}",
            remedies=[remedy],
        )
    return Split(pixels, numbers)


def _read(file: Any, remedy: str, dimensions: int) -> Tensor:
    """Read an idx file of so many dimensions, packed or not."""
    try:
        content = file.read_bytes()
        unpack = _UNPACK.get(file.name[-3:])
        values = read_idx(content if unpack is None else unpack(content))
        if values.dim() != dimensions:
            raise ValueError(f"it holds {tuple(values.shape)}, which are not {dimensions} dimensions")
        return values
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise NetmorphError(f"the data file {file} cannot be read: {error}", remedies=[remedy]) from error


def read_idx(raw: bytes) -> Tensor:
    """Read an idx file: two zero bytes, the type (8 is uint8), the number of dimensions, the sizes, the bytes.

    Args:
        raw: the file, uncompressed.

    Returns:
        A tensor of uint8.

    Raises:
        ValueError: if it is not an idx file of uint8, or its length contradicts its header.
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
