"""What training asks of a data set, and data sets that lie in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from netmorph.data.batches import EvalBatches, TrainBatches
from netmorph.data.pixels import moments, normalised
from netmorph.errors import NetmorphError

__all__ = ["Batches", "Data", "Dataset", "Split"]


class Batches(Protocol):
    """Pairs of images, ``(n, c, h, w)`` float32 in channels-last memory, and labels ``(n,)``, int64.

    Attributes:
        epoch: what the next iteration serves, from 0 on. Each ``iter()`` serves it and adds one; whoever resumes
            sets it. Order and augmentation of an epoch follow from the seed and this number and from nothing else.
    """

    epoch: int

    def __len__(self) -> int:
        """Return the number of batches in an epoch, which is the same on every rank."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through one epoch."""


class Data(Protocol):
    """A training and a test split that serve batches on a device."""

    @property
    def name(self) -> str:
        """What reports call it, which says where it differs from the original: ``CIFAR-10 (JPEG)``."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    @property
    def channels(self) -> int:
        """Number of channels of an image."""

    @property
    def flip(self) -> bool:
        """Whether a mirrored image is as plausible as the image, so that training mirrors half of them."""

    def to(self, device: torch.device | str) -> Data:
        """Return the same data, serving on a device."""

    def train_batches(self, batch_size: int, seed: int, pad: int, *, rank: int = 0, world: int = 1) -> Batches:
        """Serve the training split, augmented, in a new order each epoch; the last, smaller batch is dropped.

        Args:
            batch_size: images a batch, over all ranks.
            seed: seed of order and augmentation.
            pad: the largest random shift in pixels, where the data set's augmentation is a shift.
            rank: whose share is served: the ranks' shares of a batch together are the batch of a world of one.
            world: number of ranks; must divide ``batch_size``.
        """

    def test_batches(self, batch_size: int = 500, views: int = 1, *, rank: int = 0, world: int = 1) -> Batches:
        """Serve the test split as it is, each image once over all ranks.

        Args:
            batch_size: images a batch at most, over all ranks, every view counted; at least one a rank.
            views: views of each image. With more than one, images are ``(n * views, c, h, w)`` for ``n`` labels, the
                views of an image next to each other; whoever evaluates takes the mean of their outputs.
            rank: whose share is served.
            world: number of ranks.
        """

    def example(self, n: int = 1) -> Tensor:
        """Return the first test images as networks see them, ``(n, c, h, w)``."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
        images: ``(n, c, h, w)``, uint8; laid out channels-last, in which augmentation takes half the time.
        labels: ``(n,)``, int64.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", self.images.contiguous(memory_format=torch.channels_last))

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Split:
        """Move both tensors."""
        return Split(self.images.to(device), self.labels.to(device))

    def first(self, n: int | None) -> Split:
        """Keep the first images; None keeps all."""
        return Split(self.images[:n], self.labels[:n])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Data in memory, as `Data` has it: what lies on a device is augmented and normalised there.

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

    @classmethod
    def of(cls, name: str, train: Split, test: Split, classes: int, *, flip: bool = True) -> Dataset:
        """Make a data set with the mean and the deviation of its training pixels.

        Args:
            name: what reports call it.
            train: the split to learn from.
            test: the split to measure on.
            classes: number of classes.
            flip: whether a mirrored image is as plausible as the image.
        """
        mean, std = moments(train.images)
        return cls(name, train, test, classes, mean, std, flip)

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return self.train.images.shape[1]

    def normalise(self, images: Tensor) -> Tensor:
        """Map uint8 pixels ``(n, c, h, w)`` to float32 of mean 0 and deviation 1 over the training split."""
        return normalised(images, self.mean, self.std)

    def to(self, device: torch.device | str) -> Dataset:
        """Move everything to a device."""
        mean, std = self.mean.to(device), self.std.to(device)
        return replace(self, train=self.train.to(device), test=self.test.to(device), mean=mean, std=std)

    def first(self, train: int | None, test: int | None) -> Dataset:
        """Keep the first images of each split, None all; both splits are in random order. Mean and deviation stay."""
        return replace(self, train=self.train.first(train), test=self.test.first(test))

    def train_batches(self, batch_size: int, seed: int, pad: int, *, rank: int = 0, world: int = 1) -> TrainBatches:
        """Serve the training split as `Data.train_batches` says: shifted, mirrored, normalised.

        A split smaller than a batch makes one batch.

        Raises:
            NetmorphError: if the ranks cannot share a batch evenly.
        """
        return TrainBatches(
            *(self.train.images, self.train.labels, self.normalise),
            batch_size=batch_size,
            seed=seed,
            pad=pad,
            flip=self.flip,
            rank=rank,
            world=world,
        )

    def test_batches(self, batch_size: int = 500, views: int = 1, *, rank: int = 0, world: int = 1) -> EvalBatches:
        """Serve the test split in its own order.

        Raises:
            NetmorphError: if more than one view is requested, or there are fewer images than ranks.
        """
        if views != 1:
            raise NetmorphError(f"{self.name} is evaluated on one view of each image, got views={views}")
        return EvalBatches(
            *(self.test.images, self.test.labels, self.normalise), batch_size=batch_size, rank=rank, world=world
        )

    def example(self, n: int = 1) -> Tensor:
        """Return the first test images as networks see them, ``(n, c, h, w)``."""
        return self.normalise(self.test.images[:n])
