"""What a training runs on, and how: devices, precision, memory format, compiler."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import nn

from netmorph.errors import NetmorphError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["Compile", "Machine", "Precision", "overruns", "quiet_lightning"]

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Compile = Literal["default", "reduce-overhead", "cuda-graphs"]

_SCALERS = "16-mixed"
_LANES = 16  # float32 numbers in the widest vector register
_IMAGES = 4  # dimensions


@dataclass(frozen=True)
class Machine:
    """The devices and settings that a training runs with.

    They change the results only by rounding, so a run may be resumed on another machine.

    Attributes:
        accelerator: "auto" (whatever Lightning finds), "cpu", "cuda", "mps".
        devices: number of processes on this computer, one for each device.
        strategy: "auto", or "ddp" for several processes; see `netmorph.train.loop.fit`.
        precision: "32-true", "bf16-mixed" or "16-mixed" (with a gradient scaler): autocast, weights stay float32.
        channels_last: use the channels-last memory format, unless `overruns` forbids it.
        compile: None, "default", or "reduce-overhead" (CUDA graphs): mode of `torch.compile` for the forward pass in
            training and evaluation; or "cuda-graphs", which captures CUDA graphs without compiling. This takes seconds
            instead of minutes, and suits short trainings of small networks. If it is not available, a warning is issued
            and training runs eagerly.
        tf32: allow TensorFloat-32 for float32 matrix products on CUDA.
        benchmark: let cuDNN select the fastest algorithm, which may differ between runs.
    """

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: Precision = "32-true"
    channels_last: bool = True
    compile: Compile | None = None
    tf32: bool = True
    benchmark: bool = True

    def __post_init__(self) -> None:
        _check("precision", self.precision, get_args(Precision))
        _check("compile", self.compile, (None, *get_args(Compile)))
        _check("strategy", self.strategy, ("auto", "ddp", "ddp_find_unused_parameters_true"))
        if not isinstance(self.devices, int) or isinstance(self.devices, bool) or self.devices < 1:
            raise NetmorphError(f"devices must be at least 1, got {self.devices!r}")
        if self.compile == "cuda-graphs" and self.devices > 1:
            raise NetmorphError(
                f"compile='cuda-graphs' is for one process, not {self.devices}", remedies=["use 'reduce-overhead'"]
            )

    @property
    def scales_gradients(self) -> bool:
        """Whether a gradient scaler is at work, which skips steps."""
        return self.precision == _SCALERS

    def fabric(self) -> Fabric:
        """Return Lightning's handle on the devices, not yet launched.

        Raises:
            NetmorphError: if Lightning is not installed, or there is no such device.
        """
        try:
            from lightning.fabric import Fabric
        except ImportError as error:
            raise NetmorphError(
                f"training needs Lightning: {error}", remedies=["pip install 'lightning>=2.6.4'"]
            ) from error
        try:
            with quiet_lightning():
                return Fabric(
                    accelerator=self.accelerator,
                    devices=self.devices,
                    strategy=self.strategy,
                    precision=self.precision,
                )
        except Exception as error:  # Lightning raises whatever it likes
            raise NetmorphError(
                f"Lightning cannot use this machine: {error}", remedies=["use Machine(accelerator='cpu')"]
            ) from error

    def place(self, model: nn.Module, device: torch.device) -> None:
        """Move a network to a device, in this memory format; in the plain one where it `overruns`."""
        model.to(device)
        if overruns(model, device):
            for parameter in model.parameters():
                if parameter.dim() == _IMAGES:  # 1x1 kernels count as contiguous in either format, so `to` leaves them
                    parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        elif self.channels_last:
            model.to(memory_format=torch.channels_last)

    @contextmanager
    def arithmetic(self, device: torch.device) -> Iterator[None]:
        """Set CUDA's global switches within the block; elsewhere there is nothing to set."""
        before = _switches() if device.type == "cuda" else None
        if before is None:
            yield
            return
        _switch("high" if self.tf32 else "highest", self.tf32, self.benchmark)
        try:
            yield
        finally:
            _switch(*before)


def overruns(model: nn.Module, device: torch.device) -> bool:
    """Return whether training a network in channels-last memory may write outside a buffer.

    On a CPU oneDNN computes the weight gradient of a strided 1x1 convolution so that it overruns where there are fewer
    input channels than a vector register holds, 16 with AVX-512 (oneDNN issue 6035); the process then crashes. Such
    networks take plain memory, images included.
    """
    return device.type == "cpu" and any(
        isinstance(module, nn.Conv2d)
        and max(module.kernel_size) == 1 < max(module.stride)
        and module.in_channels // module.groups < _LANES
        for module in model.modules()
    )


def _switches() -> tuple[str, bool, bool] | None:
    """Return the switches as they stand; None where the user has set them by their newer names, which do not mix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are newer names
        try:
            cudnn = torch.backends.cudnn
            return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark
        except RuntimeError:
            return None


def _switch(matmul: str, convolution: bool, search: bool) -> None:
    """Set the switches by their older names: the compiler of several versions of PyTorch fails on the newer ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution
        torch.backends.cudnn.benchmark = search


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning from telling what it was asked for; its warnings come through."""
    # Where lightning.pytorch was imported too, what Fabric says goes through its logger.
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("fabric", "pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise NetmorphError(f"{name}= is not {value!r}", remedies=[f"use one of {', '.join(map(repr, allowed))}"])
