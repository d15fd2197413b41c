"""CIFAR-10 and CIFAR-100 from the files of their binary version or of the Hub; never from those that need pickle."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from netmorph.data.dataset import Dataset, Split
from netmorph.data.download import fetch
from netmorph.data.parquet import find_parquet, read_parquet
from netmorph.errors import NetmorphError

__all__ = ["CIFAR", "Cifar", "load_cifar"]

_SIDE, _CHANNELS = 32, 3
_BLOCK = 2**20  # bytes


@dataclass(frozen=True)
class Cifar:
    """One of the two data sets and how its files are called.

    Attributes:
        name: what reports call it.
        classes: number of classes.
        archive: the binary version as it is downloaded.
        md5: its checksum.
        folder: what it unpacks to.
        train: its training files.
        test: its test file.
        label_bytes: bytes before the pixels of each image; the last of them is the class.
        columns: what the Hub's files may call the class.
    """

    name: str
    classes: int
    archive: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: str
    label_bytes: int
    columns: tuple[str, ...]


CIFAR = {
    "cifar10": Cifar(
        name="CIFAR-10",
        classes=10,
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
        test="test_batch.bin",
        label_bytes=1,
        columns=("label", "labels"),
    ),
    "cifar100": Cifar(
        name="CIFAR-100",
        classes=100,
        archive="cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        folder="cifar-100-binary",
        train=("train.bin",),
        test="test.bin",
        label_bytes=2,
        columns=("fine_label", "label"),
    ),
}
_URL = "https://www.cs.toronto.edu/~kriz/"


def load_cifar(
    kind: Cifar,
    root: Path,
    *,
    download: bool = False,
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> Dataset:
    """Load CIFAR from a folder: the binary version, unpacked or not, or the Hub's Parquet files.

    Args:
        kind: which of them.
        root: the folder; Parquet files may lie anywhere in it.
        download: whether to fetch the binary version into it if it holds neither.
        train_limit: how many training images to read, the first ones; they are in random order.
        test_limit: how many test images to read.

    Returns:
        The data set, on the CPU. Its name says so if the images were JPEG, which are not quite the original ones.

    Raises:
        NetmorphError: if the folder contains no such files, or they are damaged.
    """
    read = _binary(kind, root)
    found = None if read is not None else find_parquet(root, kind.columns)
    if read is None and found is None:
        if not download:
            raise _missing(kind, root)
        fetch(_URL + kind.archive, root / kind.archive, kind.md5)
        read = _binary(kind, root)
    if read is not None:
        train = _read_records(kind, read, kind.train, train_limit)
        test = _read_records(kind, read, (kind.test,), test_limit)
        return Dataset.of(kind.name, train, test, kind.classes)
    assert found is not None
    (train, jpeg), (test, _) = (
        read_parquet(files, kind.columns, kind.classes, limit)
        for files, limit in ((found.train, train_limit), (found.test, test_limit))
    )
    return Dataset.of(f"{kind.name} (JPEG)" if jpeg else kind.name, train, test, kind.classes)


def _binary(kind: Cifar, root: Path) -> Callable[[str], bytes] | None:
    """Return what reads a file of the binary version, if it is there."""
    for folder in (root, root / kind.folder):
        if all((folder / name).is_file() for name in (*kind.train, kind.test)):
            return lambda name: (folder / name).read_bytes()
    archive = root / kind.archive
    return (lambda name: _unpacked(archive, f"{kind.folder}/{name}")) if archive.is_file() else None


def _unpacked(archive: Path, member: str) -> bytes:
    """Read one file of an archive without unpacking it to the disk."""
    try:
        with tarfile.open(archive) as files:
            files.getmembers()
            while files.fileobj is not None and files.fileobj.read(_BLOCK):
                pass  # on to the end of the stream, where its checksum is: tarfile stops before
            content = files.extractfile(member)
            if content is None:
                raise KeyError(f"{member} is not a file")
            return content.read()
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error) as error:
        reason = " ".join(str(error).split())  # tarfile lists every format that it tried, a line each
        raise NetmorphError(
            f"{archive} cannot be read: {reason}", remedies=["delete it and download it again"]
        ) from error


def _read_records(kind: Cifar, read: Callable[[str], bytes], names: tuple[str, ...], limit: int | None) -> Split:
    """Read records of one or two bytes for the class and 3,072 for red, green and blue, row by row."""
    size = kind.label_bytes + _CHANNELS * _SIDE * _SIDE
    parts: list[Tensor] = []
    for name in names:
        if limit is not None and sum(map(len, parts)) >= limit:
            break
        content = read(name)
        records = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0)
        if (
            not content
            or len(content) % size
            or int(records.view(-1, size)[:, kind.label_bytes - 1].max()) >= kind.classes
        ):
            raise NetmorphError(
                f"{name} is not a file of {kind.name}'s binary version: {len(content)} bytes",
                shapes=f"records of {size} bytes, {kind.classes} classes",
                remedies=["download it again"],
            )
        parts.append(records.view(-1, size))
    records = torch.cat(parts)[:limit]
    images = records[:, kind.label_bytes :].reshape(-1, _CHANNELS, _SIDE, _SIDE)
    return Split(images, records[:, kind.label_bytes - 1].long())


def _missing(kind: Cifar, root: Path) -> NetmorphError:
    """Say what was looked for."""
    python = kind.archive.replace("binary", "python")
    note = ""
    if any(
        (root / name).exists()
        for name in (python, kind.folder.replace("bin", "py"), kind.folder.replace("-binary", "-python"))
    ):
        note = "; the Python version in this folder is not supported, since unpickling it could run arbitrary code"
    return NetmorphError(
        f"there is no {kind.name} in {root}: neither {kind.folder}/{kind.test} and its like, nor {kind.archive}, nor "
        f"train*.parquet and test*.parquet with a column {' or '.join(kind.columns)}{note}",
        remedies=[
            f"allow the download of {_URL}{kind.archive}",
            f"put the Hub's Parquet files of {kind.name.lower().replace('-', '')} there",
        ],
    )
