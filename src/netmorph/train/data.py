"""Images and labels as tensors in memory; the Fashion-MNIST subset that netmorph ships."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass, replace
from importlib.resources import files
from math import prod

import torch
from torch import Tensor

from netmorph.errors import NetmorphError

__all__ = ["Dataset", "Split", "load_fashion"]


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
        images: ``(n, c, h, w)``, uint8.
        labels: ``(n,)``, int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Split:
        """Move both tensors."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split, and what normalises them.

    Attributes:
        name: what reports call it.
        train: the split to learn from.
        test: the split to measure on; nothing is ever chosen by it.
        classes: number of classes.
        mean: mean of each channel of the training pixels, in [0, 1].
        std: standard deviation of each channel of the training pixels, in [0, 1].
        flip: whether a mirrored image is as plausible as the image.
    """

    name: str
    train: Split
    test: Split
    classes: int
    mean: Tensor
    std: Tensor
    flip: bool = True

    def normalise(self, images: Tensor) -> Tensor:
        """Map uint8 pixels ``(n, c, h, w)`` to float32 of mean 0 and deviation 1 over the training split."""
        shape = (1, -1, 1, 1)
        mean, std = self.mean.to(images.device).view(shape), self.std.to(images.device).view(shape)
        return (images.float() / 255 - mean) / std

    def first(self, train: int, test: int) -> Dataset:
        """Keep the first images of each split; both are in random order."""
        return replace(
            self,
            train=Split(self.train.images[:train], self.train.labels[:train]),
            test=Split(self.test.images[:test], self.test.labels[:test]),
        )


def load_fashion() -> Dataset:
    """Load the bundled subset of Fashion-MNIST: 8,000 training and 2,000 test images, 28x28, grey, 10 classes.

    Returns:
        The data set, on the CPU.

    Raises:
        NetmorphError: if the package was installed without its data or a file is damaged.
    """
    train, test = (
        Split(_read(f"{split}-images-idx3-ubyte.gz").unsqueeze(1), _read(f"{split}-labels-idx1-ubyte.gz").long())
        for split in ("train", "test")
    )
    pixels = train.images.double() / 255
    return Dataset(
        name="Fashion-MNIST (subset)",
        train=train,
        test=test,
        classes=10,
        mean=pixels.mean((0, 2, 3)).float(),
        std=pixels.std((0, 2, 3)).float(),
    )


def _read(name: str) -> Tensor:
    """Read one idx file: two zero bytes, the type (8 is uint8), the number of dimensions, the sizes, the bytes."""
    asset = files("netmorph.train") / "assets" / name
    try:
        raw = gzip.decompress(asset.read_bytes())
        kind, dimensions = raw[2], raw[3]
        start = 4 + 4 * dimensions
        shape = struct.unpack(f">{dimensions}I", raw[4:start])
        if kind != 8 or len(raw) != start + prod(shape):
            raise ValueError(f"not the idx file of uint8 that its header promises: {shape}")
    except (OSError, EOFError, ValueError, IndexError, struct.error) as error:
        raise NetmorphError(
            f"the bundled data file {name} cannot be read: {error}", remedies=["reinstall netmorph"]
        ) from error
    return torch.frombuffer(bytearray(raw[start:]), dtype=torch.uint8).reshape(shape)
