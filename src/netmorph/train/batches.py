"""Batches of device-resident images, augmented where they lie: no workers, no copies."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from netmorph.train.data import Dataset, Split

__all__ = ["EvalBatches", "TrainBatches", "crop_and_flip"]


def crop_and_flip(images: Tensor, generator: torch.Generator, pad: int, flip: bool) -> Tensor:
    """Shift every image by up to ``pad`` pixels each way (zeros come in) and mirror half of them.

    Section 4.2 of the paper trains with pad 4 and mirroring.

    Args:
        images: ``(n, c, h, w)``, any dtype and device.
        generator: on the images' device; each image draws its own shift and side.
        pad: the largest shift, in pixels.
        flip: whether to mirror.

    Returns:
        Images of the same shape, in channels-last memory.
    """
    n, _, h, w = images.shape
    device = images.device
    padded = F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
    shift = torch.randint(2 * pad + 1, (2, n, 1), generator=generator, device=device)
    rows = shift[0] + torch.arange(h, device=device)
    columns = shift[1] + torch.arange(w, device=device)
    if flip:
        mirrored = torch.rand((n, 1), generator=generator, device=device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    image = torch.arange(n, device=device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


class TrainBatches:
    """An endless supply of epochs: each iteration is one epoch in a new order, augmented afresh.

    The last, smaller batch of an epoch is dropped, since BatchNorm dislikes it.

    Args:
        data: the data set; its training split must already lie on ``device``.
        batch_size: images a batch; a split smaller than that makes one batch.
        seed: seed of order and augmentation, on a generator of its own.
        device: where the images lie.
        pad: the largest shift of the augmentation, in pixels.
    """

    def __init__(self, data: Dataset, batch_size: int, seed: int, device: torch.device, pad: int) -> None:
        self.data = data
        self.batch_size = min(batch_size, len(data.train))
        self.pad = pad
        self._generator = torch.Generator(device=device).manual_seed(seed)

    def __len__(self) -> int:
        return len(self.data.train) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        split = self.data.train
        order = torch.randperm(len(split), generator=self._generator, device=split.images.device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            images = crop_and_flip(split.images[chosen], self._generator, self.pad, self.data.flip)
            yield channels_last(self.data.normalise(images)), split.labels[chosen]


class EvalBatches:
    """A split in its own order, as it is.

    Args:
        data: the data set, which normalises.
        split: the images to go through.
        batch_size: images a batch.
    """

    def __init__(self, data: Dataset, split: Split, batch_size: int = 500) -> None:
        self.data, self.split, self.batch_size = data, split, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.split), self.batch_size):
            images = self.split.images[start : start + self.batch_size]
            yield channels_last(self.data.normalise(images)), self.split.labels[start : start + self.batch_size]


def channels_last(images: Tensor) -> Tensor:
    """Lay images out with channels innermost, which CPU and GPU convolutions like best."""
    return images.contiguous(memory_format=torch.channels_last)
