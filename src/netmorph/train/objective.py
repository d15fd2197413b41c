"""The forward pass with its loss, compiled where it can be."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.train.machine import Compile

__all__ = ["Forward", "Objective"]

Pass = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Objective(nn.Module):
    """A classifier under cross-entropy: one module, so that loss and count are compiled along with the network.

    Args:
        model: maps images ``(n, c, h, w)`` to logits ``(n, classes)``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch's mean loss in nats and the number of its images that are classified wrongly."""
        logits = self.model(images)
        return F.cross_entropy(logits, labels), (logits.detach().argmax(1) != labels).sum()


class Forward:
    """Calls an objective, compiled if asked for.

    The compiler works at the first call. Should it fail there, a warning says so and the objective is called as it is.
    Under CUDA graphs, what one call returns is overwritten by the next: take what you need from it at once.

    Args:
        objective: what is called; its parameters and the names in its state dict are left alone.
        mode: of the compiler; None calls the objective as it is.
        device: where it runs.
    """

    def __init__(self, objective: nn.Module, mode: Compile | None, device: torch.device) -> None:
        self._plain: Pass = objective
        self._call: Pass = objective
        if mode is not None:
            # Every shape is compiled for itself: training has one, evaluation at most two.
            self._compiled: Pass = torch.compile(objective, mode=mode, dynamic=False)
            self._call = self._first
        self._mode = mode
        self._marks = mode is not None and device.type == "cuda"

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the objective returns."""
        if self._marks:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self._call(images, labels)

    def _first(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        try:
            result = self._compiled(images, labels)
        except Exception as error:
            warnings.warn(
                f"compile={self._mode!r} is not usable here, so the training goes on without it: {_first_line(error)}",
                RuntimeWarning,
                stacklevel=2,
            )
            self._call, self._marks = self._plain, False
            return self._plain(images, labels)
        self._call = self._compiled
        return result


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
