"""Forbid the shortcuts that hardware takes with float32 (TF32, bfloat16): their error is far above its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import backends

_ALL: list[Any] = [
    getattr(backend, name, None)
    for backend in (backends.cuda, backends.cudnn, backends.mkldnn)
    for name in ("matmul", "conv", "rnn")
]
_NEW = [operation for operation in _ALL if hasattr(operation, "fp32_precision")]


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 in float32 for a block.

    PyTorch has two interfaces to the same switches, and refuses to compute where they contradict each other: both are
    set, and both put back.
    """
    kept = [operation.fp32_precision for operation in _NEW]
    matmul, cudnn = _matmul(), _cudnn()
    try:
        for operation in _NEW:
            operation.fp32_precision = "ieee"
        # Where a caller of the new interface made the old one unreadable, it reads again if it has no shortcuts.
        matmul = matmul or _matmul() or "high"
        cudnn = _cudnn() is not False if cudnn is None else cudnn
        torch.set_float32_matmul_precision("highest")
        backends.cudnn.allow_tf32 = False
        for operation in _NEW:  # the old interface writes to the new one
            operation.fp32_precision = "ieee"
        yield
    finally:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if cudnn is not None:
            backends.cudnn.allow_tf32 = cudnn
        for operation, precision in zip(_NEW, kept, strict=True):
            operation.fp32_precision = precision


def _matmul() -> Any:
    """Return the old interface's switch of products, or None where the new one contradicts it."""
    with suppress(RuntimeError):
        return torch.get_float32_matmul_precision()
    return None


def _cudnn() -> bool | None:
    """Return the old interface's switch of cuDNN, or None where the new one contradicts it."""
    with suppress(RuntimeError):
        return backends.cudnn.allow_tf32
    return None
