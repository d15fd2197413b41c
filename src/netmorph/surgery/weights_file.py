"""A checkpoint's tensors: what they are is read first, a few bytes; the numbers once that is known to fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from netmorph.bounded import LARGEST, open_regular
from netmorph.errors import NetmorphError
from netmorph.surgery.call import reason


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        NetmorphError: it is no regular file.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_shapes(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file on the meta device; only its header is read.

    Raises:
        NetmorphError: it is no such file, or not as long as its header says.
    """
    with _told(path):
        with open_regular(path) as file:
            size = int.from_bytes(file.read(8) or b"", "little")
        if size > LARGEST:
            raise SafetensorError(f"its header has {size:,} bytes, {LARGEST:,} at most")
        with safe_open(path, framework="pt") as opened:
            parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
            kinds = {name: safetensors.torch._TYPES.get(part.get_dtype()) for name, part in parts.items()}
            odd = sorted(name for name, kind in kinds.items() if kind is None)
            if odd:
                raise SafetensorError(f"{odd[0]!r} has a dtype that this PyTorch does not have")
            return {
                name: torch.empty(part.get_shape(), dtype=kinds[name], device="meta") for name, part in parts.items()
            }


def read_weights(path: Path, digest: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Args:
        path: the file, whose header is known to fit.
        digest: its SHA-256.

    Raises:
        NetmorphError: it cannot be read, or is another file.
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
        NetmorphError: a tensor is not there, or a name is taken.
    """
    if not set(tied.values()) <= tensors.keys() or tied.keys() & tensors.keys():
        raise NetmorphError(f"{where} ties tensors that the file of weights does not hold")
    return {**tensors, **{alias: tensors[name] for alias, name in tied.items()}}


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, OverflowError) as error:  # the latter of sizes that nothing has
        raise NetmorphError(
            f"{path} cannot be read: {reason(error)}",
            remedies=["copy the folder again: the file may be truncated", "save the network again"],
        ) from error
