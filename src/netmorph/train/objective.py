"""The forward pass with its loss, compiled where it can be."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.train.machine import Compile
from netmorph.train.replay import Pass, Replayed

__all__ = ["Compiler", "Forward", "Objective"]


class Objective(nn.Module):
    """A classifier under cross-entropy: one module, so that loss and count are compiled along with the network.

    Args:
        model: maps images ``(n, c, h, w)`` to logits ``(n, classes)``.
        plain: hand it images in plain memory, not channels-last; see `netmorph.train.machine.overruns`.
    """

    def __init__(self, model: nn.Module, *, plain: bool = False) -> None:
        super().__init__()
        self.model = model
        self.plain = plain

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch's mean loss in nats and the number of its images that are classified wrongly."""
        if self.plain:
            images = images.clone(memory_format=torch.contiguous_format)  # `contiguous` keeps one channel's strides
        logits = self.model(images)
        return F.cross_entropy(logits, labels), (logits.detach().argmax(1) != labels).sum()


class Compiler:
    """Compiles what a training calls, until that fails.

    Args:
        mode: of `torch.compile`, or "cuda-graphs", which replays what is captured; None compiles nothing.
        device: where the training runs.
        plain: keep convolutions in plain memory: on a CPU compiled code lays them out channels-last by itself.
    """

    def __init__(self, mode: Compile | None, device: torch.device, *, plain: bool = False) -> None:
        self.mode = mode
        self.plain = plain
        self.usable = mode is not None
        self.marks_steps = mode == "reduce-overhead" and device.type == "cuda"

    def compiled(self, objective: nn.Module) -> Pass:
        """Return the objective to be compiled at its first call, each shape for itself: a training has two or three."""
        if self.mode == "cuda-graphs":
            return Replayed(objective)
        # PyTorch takes a mode or options; on a CPU, where alone `plain` is asked for, all modes are one.
        how: dict[str, Any] = {"options": {"layout_optimization": False}} if self.plain else {"mode": self.mode}
        compiled: Pass = torch.compile(objective, dynamic=False, **how)
        return compiled

    def give_up(self, error: Exception) -> None:
        """Warn, once, that everything is called as it is from now on."""
        if self.usable:
            message = f"compile={self.mode!r} is not usable here, so training continues without it"
            warnings.warn(f"{message}: {_first_line(error)}", RuntimeWarning, stacklevel=2)
        self.usable = False


class Forward:
    """Calls an objective, compiled if it can be.

    Under CUDA graphs, what one call returns is overwritten by the next: take what you need from it at once.

    Args:
        objective: what is called; its parameters and the names in its state dict are left alone.
        compiler: compiles it at the first call. Should that fail, the objective is called as it is.
    """

    def __init__(self, objective: nn.Module, compiler: Compiler) -> None:
        self._plain = objective
        self._compiler = compiler
        self._marks = compiler.marks_steps
        self._call: Pass = self._first if compiler.usable else objective

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the objective returns."""
        if self._marks:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self._call(images, labels)

    def _first(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self._compiler.usable:
            compiled = self._compiler.compiled(self._plain)
            try:
                result = compiled(images, labels)
            except Exception as error:
                self._compiler.give_up(error)
            else:
                self._call = compiled
                return result
        self._call, self._marks = self._plain, False
        plain: tuple[Tensor, Tensor] = self._plain(images, labels)
        return plain


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
