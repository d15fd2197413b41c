"""Calibration of newborn BatchNorms from data (eq. 9)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.errors import SiteError
from netmorph.nn.norm import LastBatchNorm, LastSyncBatchNorm, Norms, neutralise


class Moments:
    """Mean and variance of each channel over batches, in float64, merged pairwise so that large means cost nothing."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | None = None
        self.squares: Tensor | None = None

    def update(self, rows: Tensor) -> None:
        """Take in `rows` (positions, channels)."""
        if rows.shape[0] == 0:
            return
        rows = rows.detach().double()
        count, mean = rows.shape[0], rows.mean(0)
        squares = (rows - mean).square().sum(0)
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total = self.count + count
        shift = mean - self.mean
        self.squares = self.squares + squares + shift.square() * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total


@contextmanager
def collect(module: nn.Module) -> Iterator[list[str]]:
    """Calibrate the newborn BatchNorms of every morphed module inside `module` from what runs through it meanwhile.

    Within the `with` block these norms act as the identity, so that one pass measures the parent's own signals. On
    leaving it each takes the measured mean and variance as running statistics, and gamma = sqrt(var + eps), beta = mean
    (eq. 9): still the identity in eval mode, close to it in train mode. The variance is the biased one, by which
    BatchNorm divides in train mode. A "paper" norm takes the statistics with gamma 1 and beta 0, which changes the
    function.

    Newborn is a norm that has never run in train mode (`num_batches_tracked` is 0); one that has learned is left alone.
    If the block raises, nothing is changed.

    Args:
        module: any network, in train or eval mode.

    Yields:
        The qualified names of the norms that are being calibrated.

    Raises:
        SiteError: if no data reached one of them, or the data are not finite.
    """
    found = dict(_newborn(module))
    moments = {name: Moments() for name in found}
    modes = {name: each.training for name, (each, _) in found.items()}
    handles = [each.register_forward_hook(_observer(moments[name])) for name, (each, _) in found.items()]
    try:
        for each, _ in found.values():
            each.eval()  # in train mode a single value a channel would be refused
        yield list(found)
    finally:
        for handle in handles:
            handle.remove()
        for name, (each, _) in found.items():
            each.train(modes[name])
    for name in found:
        _check(name, moments[name])
    for name, (each, kind) in found.items():
        _settle(each, moments[name], kind)


def _newborn(module: nn.Module) -> Iterator[tuple[str, tuple[_BatchNorm, str]]]:
    for prefix, norms in module.named_modules():
        if not isinstance(norms, Norms):
            continue
        for name in norms:
            each = norms[name]
            if isinstance(each, _BatchNorm) and not each.num_batches_tracked:
                yield ".".join(filter(None, (prefix, norms.key(name)))), (each, norms.kinds[name])


def _observer(moments: Moments) -> Any:
    def observe(module: nn.Module, args: tuple[Tensor, ...], _output: Tensor) -> Tensor:
        (x,) = args
        axis = -1 if isinstance(module, LastBatchNorm | LastSyncBatchNorm) else 1
        moments.update(x.movedim(axis, -1).reshape(-1, x.shape[axis]))
        return x

    return observe


def _check(name: str, moments: Moments) -> None:
    if moments.mean is None or moments.squares is None:
        raise SiteError(
            f"no calibration data reached the norm {name!r}",
            remedies=["calibrate with batches that the whole network runs on", "calibrate before torch.compile"],
        )
    if not (moments.mean.isfinite().all() and moments.squares.isfinite().all()):
        raise SiteError(
            f"the calibration data are not finite at the norm {name!r}",
            remedies=["check for NaN or inf in the calibration batches and in the network's weights"],
        )


@torch.no_grad()
def _settle(module: _BatchNorm, moments: Moments, kind: str) -> None:
    assert moments.mean is not None
    assert moments.squares is not None
    assert module.running_mean is not None
    assert module.running_var is not None
    largest = torch.finfo(module.running_var.dtype).max
    module.running_mean.copy_(moments.mean.clamp(-largest, largest))
    module.running_var.copy_((moments.squares / moments.count).clamp(max=largest))
    if kind == "paper":
        module.weight.fill_(1)
        module.bias.zero_()
    else:
        neutralise(module)
