"""Give newborn BatchNorms their statistics from data (eq. 9)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.errors import NetmorphError, SiteError
from netmorph.nn import MorphedModule, collect
from netmorph.surgery.running.call import Call, undisturbed
from netmorph.surgery.running.wrappers import check_network


def calibrate(child: nn.Module, batches: Any) -> nn.Module:
    """Set the statistics of the BatchNorms that `morph` has added and that have not been trained yet, in place (eq. 9).

    The batches run through the network once, in eval mode and without gradients. Each new BatchNorm then has the
    measured statistics, gamma = sqrt(var + eps) and beta = mean, so that it is the identity in eval mode and close to
    it in train mode. Nothing else is changed; if a batch fails, nothing is changed at all.

    Args:
        child: a morphed network.
        batches: an iterable of batches, each a tensor, a tuple of arguments or a dictionary. If a tuple or list has
            more items than the network's forward has parameters (images and labels from a data loader), the first items
            are used. A single tensor or dictionary is one batch.

    Returns:
        The network itself.

    Raises:
        SiteError: if there is no BatchNorm to calibrate, no data reached one of them, or the network raised.
    """
    check_network(child)
    modules = dict(_outermost(child, ""))
    if not any(map(has_newborn_norm, modules.values())):
        raise SiteError(
            "there is no BatchNorm left to calibrate", remedies=["morph with norm='calibrated' or norm='neutral'"]
        )
    run_through(child, modules, batches)
    return child


def run_through(child: nn.Module, modules: Mapping[str, nn.Module], batches: Any) -> None:
    """Run batches through `child` and calibrate the norms of `modules`, which are parts of it."""
    batches = [batches] if isinstance(batches, Tensor | Mapping) else batches
    if not isinstance(batches, Iterable):
        raise NetmorphError(
            f"expected batches for calibration, got {type(batches).__name__}",
            remedies=["pass a data loader or [batch, ...]"],
        )
    device = next((tensor.device for tensor in (*child.parameters(), *child.buffers())), torch.device("cpu"))
    most = _arguments(child)
    with ExitStack() as stack:
        for name, module in modules.items():
            stack.enter_context(_collected(name, module))
        with undisturbed(child):
            child.eval()
            for batch in batches:
                _call(batch, most).map(lambda tensor: tensor.to(device)).run(child, "a calibration batch")


@contextmanager
def _collected(name: str, module: nn.Module) -> Iterator[None]:
    """Calibrate one module; errors about its data name it."""
    with ExitStack() as stack:
        stack.enter_context(collect(module))
        yield
        try:
            stack.close()
        except NetmorphError as error:
            raise error.located(name) from error


def has_newborn_norm(module: nn.Module) -> bool:
    """Return whether a morphed module holds a BatchNorm that has never run in train mode."""
    return any(isinstance(each, _BatchNorm) and not each.num_batches_tracked for each in module.modules())


def _outermost(module: nn.Module, name: str) -> Iterator[tuple[str, MorphedModule]]:
    """Yield the morphed modules that lie in no other."""
    if isinstance(module, MorphedModule):
        yield name, module
        return
    for key, child in module.named_children():
        yield from _outermost(child, f"{name}.{key}".lstrip("."))


def _call(batch: Any, most: int) -> Call:
    if isinstance(batch, list | tuple) and len(batch) > most:
        batch = tuple(batch[:most])
    return Call.of(tuple(batch) if isinstance(batch, list) else batch)


def _arguments(model: nn.Module) -> int:
    """Return how many positional arguments a model's forward takes."""
    kinds = [parameter.kind for parameter in inspect.signature(model.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 1 << 30
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
