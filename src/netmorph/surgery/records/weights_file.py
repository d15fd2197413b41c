"""A checkpoint's tensors: what they are is read first, a few bytes; the numbers once that is known to fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from netmorph.bounded import LARGEST, open_regular, parse_json
from netmorph.errors import NetmorphError
from netmorph.surgery.running.call import reason


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        NetmorphError: if it is not a regular file.
        OSError: if the file cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_shapes(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file on the meta device; only its header is read, nothing is mapped.

    Raises:
        NetmorphError: if it is not a safetensors file, or its length contradicts its header.
    """
    with _told(path), open_regular(path) as file:
        size = int.from_bytes(file.read(8), "little")
        if size > LARGEST:
            raise SafetensorError(f"its header has {size:,} bytes, {LARGEST:,} at most")
        header = parse_json(file.read(size).decode("utf-8"))
        if not isinstance(header, dict):
            raise SafetensorError("its header is not a table")
        shapes = {name: _shape(name, entry) for name, entry in header.items() if name != "__metadata__"}
        told, found = sum(tensor.nbytes for tensor in shapes.values()), os.fstat(file.fileno()).st_size - 8 - size
        if told != found:
            raise SafetensorError(f"it contains {found:,} bytes of data, but its header declares {told:,}")
        return shapes


def read_weights(path: Path, digest: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Args:
        path: the file, whose header is known to fit.
        digest: its SHA-256.

    Raises:
        NetmorphError: if the file cannot be read, or was replaced meanwhile.
    """
    with _told(path):
        if digest_of(path) != digest:
            raise NetmorphError(
                f"{path} is not the file that was saved: truncated, edited or of another save",
                remedies=["copy the folder again", "save the network again"],
            )
        tensors: dict[str, Tensor] = load_file(path)
        return tensors


def with_tied(tensors: Mapping[str, Tensor], tied: Mapping[str, str], where: Path) -> dict[str, Tensor]:
    """Return tensors under their further names, too.

    Raises:
        NetmorphError: if a tensor is not there, or a name is taken.
    """
    if not set(tied.values()) <= tensors.keys() or tied.keys() & tensors.keys():
        raise NetmorphError(f"{where} ties tensors that the file of weights does not hold")
    return {**tensors, **{alias: tensors[name] for alias, name in tied.items()}}


def _shape(name: str, entry: Any) -> Tensor:
    """Return what a header says of a tensor."""
    kind, shape = (entry.get(key) if isinstance(entry, dict) else None for key in ("dtype", "shape"))
    dtype = safetensors.torch._TYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None or not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise SafetensorError(f"{name!r:.80} is not described as a tensor that this PyTorch can hold")
    return torch.empty(shape, dtype=dtype, device="meta")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        ValueError,
        TypeError,
        OverflowError,
        RuntimeError,
        SafetensorError,
    ) as error:  # sizes that nothing has
        raise NetmorphError(
            f"{path} cannot be read: {reason(error)}",
            remedies=["copy the folder again: the file may be truncated", "save the network again"],
        ) from error
