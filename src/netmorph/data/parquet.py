"""Images and labels in Parquet files, as the Hugging Face Hub lays them out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from netmorph.data.dataset import Split
from netmorph.data.pictures import as_rgb
from netmorph.errors import NetmorphError

__all__ = ["ParquetFiles", "find_parquet", "read_parquet"]

_IMAGES = ("img", "image")
_JPEG = b"\xff\xd8"
_FORMATS = ("JPEG", "PNG")


@dataclass(frozen=True)
class ParquetFiles:
    """The files of a data set.

    Attributes:
        train: of the training split, in order.
        test: of the test split, in order.
    """

    train: tuple[Path, ...]
    test: tuple[Path, ...]


def find_parquet(root: Path, labels: Sequence[str]) -> ParquetFiles | None:
    """Look anywhere in a folder for ``train*.parquet`` and ``test*.parquet`` with images and labels.

    Args:
        root: the folder.
        labels: what the column of the labels may be called.

    Returns:
        The files; None if there are none.

    Raises:
        NetmorphError: if such files are in several folders, or pyarrow is missing.
    """
    folders = sorted({path.parent for path in root.rglob("train*.parquet")})
    both = [ParquetFiles(*(tuple(sorted(each.glob(f"{s}*.parquet"))) for s in ("train", "test"))) for each in folders]
    found = [files for files in both if files.test and _columns(files.train[0], labels) is not None]
    if len(found) > 1:
        raise NetmorphError(
            f"several folders in {root} hold Parquet files of images: "
            f"{', '.join(str(files.train[0].parent) for files in found)}",
            remedies=["name one of them"],
        )
    return found[0] if found else None


def read_parquet(files: Sequence[Path], labels: Sequence[str], classes: int, limit: int | None) -> tuple[Split, bool]:
    """Read and decode images of one size, PNG or JPEG.

    A core decodes some 10,000 images of 32 x 32 a second: all of CIFAR takes 6 seconds, so nothing is kept aside.

    Args:
        files: read in order.
        labels: what the column of the labels may be called.
        classes: number of classes.
        limit: how many images to read at most.

    Returns:
        The images in RGB with their labels, and whether any was a JPEG.

    Raises:
        NetmorphError: if a file or an image is damaged, or a label out of range.
    """
    encoded: list[bytes | None] = []
    targets: list[int] = []
    for file in files:
        if limit is None or len(encoded) < limit:
            images, numbers = _read(file, labels)
            encoded += images
            targets += numbers
    encoded, targets = encoded[:limit], targets[:limit]
    where = f"{files[0]}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    if not targets or min(targets) < 0 or max(targets) >= classes:
        raise NetmorphError(f"the labels in {where} are not those of {classes} classes")
    split = Split(_decoded(encoded, where), torch.tensor(targets))
    return split, any(each is not None and each.startswith(_JPEG) for each in encoded)


def _columns(file: Path, labels: Sequence[str]) -> tuple[str, str] | None:
    """Return the columns of images and labels, if the file has them."""
    try:
        names = _pyarrow().read_schema(file).names
    except (OSError, ValueError) as error:  # pyarrow's own errors are among them
        raise _damaged(file, error) from error
    image, label = (next((each for each in known if each in names), None) for known in (_IMAGES, labels))
    return (image, label) if image is not None and label is not None else None


def _read(file: Path, labels: Sequence[str]) -> tuple[list[bytes | None], list[int]]:
    """Return the encoded images and the labels of one file."""
    columns = _columns(file, labels)
    try:
        if columns is None:
            raise ValueError(f"it has no columns {' or '.join(_IMAGES)} and {' or '.join(labels)}")
        table = _pyarrow().read_table(file, columns=list(columns))
        images, numbers = (table.column(name).to_pylist() for name in columns)
        images = [each.get("bytes") if isinstance(each, dict) else each for each in images]
        for row, (image, number) in enumerate(zip(images, numbers, strict=True)):
            if not isinstance(image, bytes | None):
                raise ValueError(f"row {row} of {columns[0]} holds a {type(image).__name__}, not an image's bytes")
            if type(number) is not int:
                raise ValueError(f"row {row} of {columns[1]} holds {number!r}, not the number of a class")
    except (OSError, ValueError) as error:
        raise _damaged(file, error) from error
    return images, numbers


def _damaged(file: Path, error: Exception) -> NetmorphError:
    """Say that a file cannot be read."""
    return NetmorphError(f"{file} cannot be read: {error}", remedies=["download it again"])


def _decoded(encoded: Sequence[bytes | None], where: str) -> Tensor:
    """Decode all images into one tensor, ``(n, 3, h, w)``."""
    from PIL import Image

    sizes, pixels = set(), []
    for row, content in enumerate(encoded):
        try:
            with Image.open(io.BytesIO(content or b""), formats=_FORMATS) as image:
                sizes.add(image.size)
                pixels.append(as_rgb(image).tobytes())
        except (OSError, ValueError, SyntaxError) as error:  # Pillow raises the last for a broken PNG
            raise NetmorphError(f"image {row} of {where} cannot be read: {error}") from error
        if len(sizes) > 1:
            raise NetmorphError(f"image {row} of {where} is {image.size}, those before {sizes - {image.size}}")
    ((width, height),) = sizes
    images = torch.frombuffer(bytearray(b"".join(pixels)), dtype=torch.uint8)
    return images.view(-1, height, width, 3).permute(0, 3, 1, 2)


def _pyarrow() -> Any:
    """Return what reads Parquet."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise NetmorphError("reading Parquet files needs pyarrow", remedies=["pip install pyarrow pillow"]) from error
    return pyarrow.parquet
