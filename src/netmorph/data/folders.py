"""ImageNet, or any other images in folders: too many for memory, so workers read and augment them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torch.utils.data import Dataset as Loadable

from netmorph.data.batches import check_world, epoch_generator, shares
from netmorph.data.pictures import evaluation_views, open_picture, random_view
from netmorph.data.pixels import normalised
from netmorph.errors import NetmorphError

__all__ = ["FolderBatches", "Folders", "load_folders"]

# What torchvision's models take images of ImageNet to be; pixels in [0, 1].
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIDE = 224
_WORKERS = 16

Sample = tuple[str, int]
Key = tuple[int, ...]
Loaded = tuple[Tensor, int] | NetmorphError


@dataclass(frozen=True, eq=False)
class Folders:
    """Images in files, as `netmorph.data.dataset.Data` has it (section 4.4 of the paper).

    Attributes:
        name: what reports call it.
        train: path and class of each training image.
        test: path and class of each test image.
        classes: number of classes.
        workers: processes that read and decode images; 0 does it in this one.
        device: where batches are served.
        mean: mean of each channel, there; of ImageNet's pixels in [0, 1].
        std: standard deviation of each channel, there.
        channels: 3; grey images are made so.
        flip: True.
    """

    name: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    classes: int
    workers: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    mean: Tensor = field(default_factory=lambda: torch.tensor(_MEAN))
    std: Tensor = field(default_factory=lambda: torch.tensor(_STD))
    channels: int = 3
    flip: bool = True

    def to(self, device: torch.device | str) -> Folders:
        """Return the same data, serving on a device."""
        return replace(self, device=torch.device(device), mean=self.mean.to(device), std=self.std.to(device))

    def train_batches(
        self, batch_size: int, seed: int, pad: int = 0, *, rank: int = 0, world: int = 1
    ) -> FolderBatches:
        """Serve the training split as `netmorph.data.dataset.Data.train_batches` says; ``pad`` has no meaning here.

        The shorter side of an image becomes 256 to 480 pixels, a random square of 224 is cut out, half are mirrored.

        Raises:
            NetmorphError: if the ranks cannot share a batch evenly.
        """
        size = min(batch_size, len(self.train))
        check_world(size, rank, world)

        def keys(epoch: int) -> Iterator[list[Key]]:
            order = torch.randperm(len(self.train), generator=epoch_generator(seed, epoch))
            for start in range(0, len(order) - size + 1, size):
                yield [(seed, epoch, k) for k in order[start + rank : start + size : world].tolist()]

        return FolderBatches(
            *(_Training(self.train), keys, self._finish),
            length=len(self.train) // size,
            workers=self.workers // world,
            device=self.device,
        )

    def test_batches(self, batch_size: int = 500, views: int = 1, *, rank: int = 0, world: int = 1) -> FolderBatches:
        """Serve the test split as `netmorph.data.dataset.Data.test_batches` says.

        The shorter side of an image becomes 256 pixels. One view is the square of 224 in the middle; ten are that one,
        the four in the corners, and the mirror images of all five.

        Raises:
            NetmorphError: if the number of views is neither 1 nor 10, or there are fewer images than ranks.
        """
        if views not in (1, 10):
            raise NetmorphError(f"{self.name} is evaluated on 1 view of each image or on 10, not on {views}")
        cuts = shares(len(self.test), max(1, batch_size // views), rank, world)
        served: list[list[Key]] = [[(k,) for k in range(len(self.test))[cut]] for cut in cuts]
        return FolderBatches(
            *(_Evaluation(self.test, views), lambda _: served, self._finish),
            length=len(served),
            workers=self.workers // world,
            device=self.device,
        )

    def example(self, n: int = 1) -> Tensor:
        """Return the first test images as networks see them, ``(n, 3, 224, 224)``."""
        pictures = [open_picture(path) for path, _ in self.test[:n]]
        return self._finish(torch.stack([evaluation_views(each, _SIDE, 1) for each in pictures]))

    def _finish(self, images: Tensor) -> Tensor:
        """Normalise ``(n, views, h, w, c)`` of uint8 on their device."""
        images = images.to(self.device, non_blocking=True).flatten(0, 1).permute(0, 3, 1, 2)
        return normalised(images, self.mean, self.std)


class FolderBatches:
    """Batches that workers read ahead; see `netmorph.data.dataset.Batches`.

    Args:
        images: gives an image and its class for a key, or the error that it cannot be read with.
        keys: gives the keys of each batch of an epoch.
        length: number of batches of an epoch.
        finish: makes what a network sees of stacked images.
        workers: number of processes; 0 reads in this one.
        device: device of the batches.

    Attributes:
        epoch: what the next iteration serves.
    """

    def __init__(
        self,
        images: Loadable[Loaded],
        keys: Callable[[int], Iterable[list[Key]]],
        finish: Callable[[Tensor], Tensor],
        *,
        length: int,
        workers: int,
        device: torch.device,
    ) -> None:
        self.epoch = 0
        self.device = device
        self.finish = finish
        self._order = _Order(keys)
        self._length = length
        self._loader: DataLoader[Loaded] = DataLoader(
            images,
            batch_sampler=self._order,
            collate_fn=_collated,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else it draws from the global one
        )

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._order.epoch, self.epoch = self.epoch, self.epoch + 1
        return self._serve(iter(self._loader))

    def _serve(self, loaded: Iterator[Any]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in loaded:
            if isinstance(batch, NetmorphError):
                raise batch
            images, labels = batch
            yield self.finish(images), labels.to(self.device, non_blocking=True)


class _Order:
    """The keys of an epoch's batches, as a batch sampler."""

    def __init__(self, keys: Callable[[int], Iterable[list[Key]]]) -> None:
        self.keys, self.epoch = keys, 0

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.keys(self.epoch))


def _collated(parts: list[Loaded]) -> Any:
    """Stack a batch, or return its first error: raised in a worker, it would come with a page of that one's calls."""
    return next((part for part in parts if isinstance(part, NetmorphError)), None) or default_collate(parts)


class _Training(Loadable[Loaded]):
    """Random views, ``(1, 224, 224, 3)``: which one follows from seed, epoch and number of the image alone."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __getitem__(self, key: Key) -> Loaded:
        path, label = self.samples[key[-1]]
        try:
            return random_view(open_picture(path), _SIDE, epoch_generator(*key)), label
        except NetmorphError as error:
            return error


class _Evaluation(Loadable[Loaded]):
    """The views of each image, ``(views, 224, 224, 3)``."""

    def __init__(self, samples: Sequence[Sample], views: int) -> None:
        self.samples, self.views = samples, views

    def __getitem__(self, key: Key) -> Loaded:
        path, label = self.samples[key[-1]]
        try:
            return evaluation_views(open_picture(path), _SIDE, self.views), label
        except NetmorphError as error:
            return error


def load_folders(
    root: Path, *, train_limit: int | None = None, test_limit: int | None = None, workers: int | None = None
) -> Folders:
    """Find the images in ``train/CLASS/`` and ``val/CLASS/``, as ImageNet is usually unpacked.

    Args:
        root: the folder that holds both.
        train_limit: how many training images to keep, spread evenly over the classes.
        test_limit: how many test images to keep.
        workers: processes that read and decode images; default: one a core, but 16 at most.

    Returns:
        The data; nothing is read yet. With 1,000 classes it is called ImageNet.

    Raises:
        NetmorphError: if a folder is missing or empty, the two do not hold the same classes, or `workers` is below 0.
    """
    if workers is not None and workers < 0:
        raise NetmorphError(f"workers must be a non-negative number of processes, got {workers}")
    (names, train), (others, test) = _samples(root, "train"), _samples(root, "val")
    if names != others:
        differing = sorted(set(names) ^ set(others))
        raise NetmorphError(f"{root / 'train'} and {root / 'val'} do not hold the same classes: {differing[:4]}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Folders(
        name="ImageNet" if len(names) == 1_000 else f"{root.resolve().name} ({len(names)} classes)",
        train=_spread(train, train_limit),
        test=_spread(test, test_limit),
        classes=len(names),
        workers=min(cores, _WORKERS) if workers is None else workers,
    )


def _samples(root: Path, split: str) -> tuple[list[str], list[Sample]]:
    """Return the classes of a split and its images."""
    from torchvision.datasets import ImageFolder

    try:
        folder = ImageFolder(root / split)
    except OSError as error:
        raise NetmorphError(
            f"{root} holds no images in {split}/CLASS/: {error}",
            remedies=[
                "give a folder with images in train/CLASS/ and val/CLASS/, such as train/cat/1.jpg and val/cat/2.jpg"
            ],
        ) from error
    return folder.classes, folder.samples


def _spread(samples: list[Sample], limit: int | None) -> tuple[Sample, ...]:
    """Keep some samples, evenly spread: they are in the order of their classes."""
    kept = len(samples) if limit is None else min(limit, len(samples))
    return tuple(samples[k * len(samples) // kept] for k in range(kept))
