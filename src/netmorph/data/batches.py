"""Batches of images in memory, augmented where they lie: no workers, no copies, no waiting for the device."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from netmorph.data.pixels import crop
from netmorph.errors import NetmorphError

__all__ = ["EvalBatches", "TrainBatches", "check_world", "epoch_generator", "shares"]

# Many images are augmented at once, for few kernels; as float32 they take no more than this, beside copies as uint8.
# On a CPU what is larger than malloc's 32 MiB comes as fresh pages each time, which costs more than the work.
_CHUNK_BYTES, _CPU_CHUNK_BYTES = 256 * 2**20, 16 * 2**20


def epoch_generator(seed: int, epoch: int, *more: int) -> torch.Generator:
    """Return a generator on the CPU whose draws depend on its arguments only, on every machine and device."""
    digest = hashlib.blake2b(repr((seed, epoch, *more)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


class TrainBatches:
    """The training split, augmented; see `netmorph.data.dataset.Batches`.

    The last, smaller batch of an epoch is dropped, since BatchNorm dislikes it.

    Args:
        images: ``(n, c, h, w)``, uint8, on the device of the batches.
        labels: ``(n,)``, int64.
        normalise: maps uint8 images to what the network sees.
        batch_size: images a batch, over all ranks; a split smaller than that makes one batch.
        seed: seed of order and augmentation.
        pad: the largest shift of the augmentation, in pixels.
        flip: whether half of the images are mirrored.
        rank: whose share is served.
        world: number of ranks.

    Attributes:
        epoch: what the next iteration serves.

    Raises:
        NetmorphError: if the ranks cannot share a batch evenly.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalise: Callable[[Tensor], Tensor],
        *,
        batch_size: int,
        seed: int,
        pad: int,
        flip: bool,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images, self.labels, self.normalise = images, labels, normalise
        self.batch_size = min(batch_size, len(labels))
        self.seed, self.pad, self.flip = seed, pad, flip
        self.rank, self.world = rank, world
        self.epoch = 0
        check_world(self.batch_size, rank, world)

    def __len__(self) -> int:
        return len(self.labels) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        return self._serve(epoch)

    def _serve(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order, *draws = self._draw(epoch)
        mine = self.batch_size // self.world
        room = _CPU_CHUNK_BYTES if self.images.device.type == "cpu" else _CHUNK_BYTES
        chunk = mine * max(1, room // (4 * mine * math.prod(self.images.shape[1:])))
        for start in range(0, len(order), chunk):
            chosen = order[start : start + chunk]
            rows, columns, mirrored = (draw[start : start + chunk] for draw in draws)
            cropped = crop(self.images[chosen], torch.stack((rows, columns)), mirrored.bool(), self.pad)
            images, labels = self.normalise(cropped), self.labels[chosen]
            for first in range(0, len(chosen), mine):
                yield images[first : first + mine], labels[first : first + mine]

    def _draw(self, epoch: int) -> Tensor:
        """Return this rank's images of the epoch, in order, with their shifts and sides: ``(4, n)``, int64.

        All is drawn for all ranks, so that what happens to an image does not depend on their number.
        """
        generator = epoch_generator(self.seed, epoch)
        n = len(self) * self.batch_size
        order = torch.randperm(len(self.labels), generator=generator)[:n]
        shift = torch.randint(2 * self.pad + 1, (2, n), generator=generator)
        mirrored = torch.randint(2, (n,), generator=generator) * self.flip
        draws = torch.cat((order[None], shift, mirrored[None]))[:, self.rank :: self.world].contiguous()
        device = self.images.device
        # From pinned memory the one copy of an epoch runs while the CPU goes on.
        return draws.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else draws.to(device)


class EvalBatches:
    """A split in its own order, as it is, in batches as even as can be; see `netmorph.data.dataset.Batches`.

    Args:
        images: ``(n, c, h, w)``, uint8, on the device of the batches.
        labels: ``(n,)``, int64.
        normalise: maps uint8 images to what the network sees.
        batch_size: images a batch at most, over all ranks.
        rank: whose share is served.
        world: number of ranks.

    Attributes:
        epoch: how often it was gone through.

    Raises:
        NetmorphError: if there are fewer images than ranks.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalise: Callable[[Tensor], Tensor],
        *,
        batch_size: int = 500,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images, self.labels, self.normalise = images, labels, normalise
        self.shares = shares(len(labels), batch_size, rank, world)
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.shares)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.epoch += 1
        return self._serve()

    def _serve(self) -> Iterator[tuple[Tensor, Tensor]]:
        for share in self.shares:
            yield self.normalise(self.images[share]), self.labels[share]


def shares(n: int, batch_size: int, rank: int, world: int) -> list[slice]:
    """Cut a split into even batches and return a rank's share of each.

    A rank with an empty share, or with one batch fewer, would stall the others.

    Args:
        n: images of the split.
        batch_size: images a batch at most, over all ranks, but at least one a rank.
        rank: whose share.
        world: number of ranks.

    Raises:
        NetmorphError: if there are fewer images than ranks, or no such rank.
    """
    check_rank(rank, world)
    if batch_size < 1 or n < world:
        raise NetmorphError(f"{n} test images in batches of {batch_size} cannot be shared by {world} processes")
    batches = min(math.ceil(n / batch_size), n // world)
    ends = [n * k // batches for k in range(batches + 1)]
    return [slice(start + rank, end, world) for start, end in pairwise(ends)]


def check_rank(rank: int, world: int) -> None:
    """Refuse a rank that is not there.

    Raises:
        NetmorphError: as described above.
    """
    if not 0 <= rank < world:
        raise NetmorphError(f"there is no process {rank} among {world}")


def check_world(batch_size: int, rank: int, world: int) -> None:
    """Refuse a batch that the ranks cannot share evenly: the mean of their gradients would not be the batch's.

    Raises:
        NetmorphError: as described above, or if there is no such rank.
    """
    check_rank(rank, world)
    if batch_size < 1 or batch_size % world:
        raise NetmorphError(
            f"batches of {batch_size} images cannot be shared evenly by {world} processes",
            remedies=[f"use a batch size that is divisible by {world}"],
        )
