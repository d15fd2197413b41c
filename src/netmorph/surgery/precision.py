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
    matmul: Any = torch.get_float32_matmul_precision()
    kept = [operation.fp32_precision for operation in _NEW]
    cudnn: bool | None = None
    with suppress(RuntimeError):  # the caller mixed the interfaces
        cudnn = backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = False
    try:
        for operation in _NEW:
            operation.fp32_precision = "ieee"
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        if cudnn is not None:
            backends.cudnn.allow_tf32 = cudnn
        for operation, precision in zip(_NEW, kept, strict=True):
            operation.fp32_precision = precision
