"""Calls of a network replayed as CUDA graphs, without a compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["Pass", "Replayed"]

Pass = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_WARMUPS = 3


class Replayed:
    """Calls a module by replaying what it once did on the GPU: a graph for each mode and shape of batch.

    Small networks are limited by Python, which launches their kernels; a replay launches all of them at once. Capturing
    takes seconds, where compiling takes a minute or more; the kernels stay what they are. What a call returns is
    overwritten by the next one.

    Args:
        module: maps images and labels to tensors, with shapes that follow from theirs and no look at their values.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._graphs: dict[tuple[object, ...], Pass] = {}

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the module returns.

        Raises:
            RuntimeError: if the images are not on a CUDA device, or the module cannot be captured.
        """
        key = (self._module.training, torch.is_grad_enabled(), images.shape, labels.shape)
        if key not in self._graphs:
            if not images.is_cuda:
                raise RuntimeError(f"CUDA graphs need a CUDA device, not {images.device}")
            capture = _learning if torch.is_grad_enabled() else _measuring
            with _as_it_was(self._module, images.device), _uncached():
                self._graphs[key] = capture(self._module, images.clone(), labels.clone())
        return self._graphs[key](images, labels)


class _Shell(nn.Module):
    """Stands for a module, whose own forward PyTorch would replace."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the module returns."""
        result: tuple[Tensor, Tensor] = self.module(images, labels)
        return result


def _learning(module: nn.Module, images: Tensor, labels: Tensor) -> Pass:
    """Capture a forward pass and its backward pass."""
    shell = _Shell(module).train(module.training)
    return cast(Pass, torch.cuda.make_graphed_callables(shell, (images, labels), num_warmup_iters=_WARMUPS))


def _measuring(module: nn.Module, images: Tensor, labels: Tensor) -> Pass:
    """Capture a forward pass without gradients."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARMUPS):
            module(images, labels)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result: tuple[Tensor, Tensor] = module(images, labels)

    def replay(new_images: Tensor, new_labels: Tensor) -> tuple[Tensor, Tensor]:
        images.copy_(new_images)
        labels.copy_(new_labels)
        graph.replay()
        return result

    return replay


@contextmanager
def _as_it_was(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Undo what the warm-up does to buffers, such as the statistics of BatchNorm, and to the random generators."""
    buffers = list(module.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        with torch.random.fork_rng([device]):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


@contextmanager
def _uncached() -> Iterator[None]:
    """Keep autocast from remembering weights that it has cast: a graph has to cast them in each replay."""
    enabled, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    with torch.autocast("cuda", dtype=dtype, enabled=enabled, cache_enabled=False):
        yield
