"""The control of Chen et al. (2015): layers that are identities at birth, at the cost of a morphed network."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.models.paper_net import parse_net

__all__ = ["put_identities"]


def put_identities(parent: nn.Module, net: str, batches: Iterable[Tensor]) -> nn.Module:
    """Deepen the blocks that a network of the paper morphs, by the layers of its branch, born as identities.

    Net2DeeperNet puts a layer behind an activation. Here it is a convolution of which each output is one input, a
    BatchNorm that undoes its own normalisation, and a PReLU of slope 1, once for each layer of the branch: the
    multiply-accumulates and parameters of ``morph20_1c1`` for a parent ``resnet20``, in the same blocks, but in a row
    with the block's convolutions instead of beside its shortcut.

    Args:
        parent: a trained network of `netmorph.models` with blocks of ``act1``.
        net: name of the morphed network whose cost is matched, such as ``morph20_1c1``.
        batches: images ``(n, c, h, w)``, from which the BatchNorms take their statistics.

    Returns:
        A deeper copy in eval mode that computes what the parent does.

    Raises:
        NetmorphError: if the network has no block to deepen, or no batch was given.
    """
    spec = parse_net(net)
    blocks = [place.name.rpartition(".")[0] for place in spec.places]
    if not blocks or spec.kernels is None:
        raise NetmorphError(f"{net} morphs no block, so there is nothing to deepen")
    child = copy.deepcopy(parent).eval()
    statistics = _statistics(child, [f"{block}.act1" for block in blocks], batches)
    for block in blocks:
        mean, variance = statistics[f"{block}.act1"]
        act = child.get_submodule(f"{block}.act1")
        layers = [layer for kernel in spec.kernels.split("c") for layer in _identity(int(kernel), mean, variance)]
        child.set_submodule(f"{block}.act1", nn.Sequential(act, *layers).eval())
    return child


def _identity(kernel: int, mean: Tensor, variance: Tensor) -> list[nn.Module]:
    """Return a convolution, a BatchNorm and an activation that pass on channels of these statistics unchanged."""
    channels = len(mean)
    with torch.random.fork_rng(devices=[]):
        conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        nn.init.dirac_(conv.weight)
        for own, given in ((norm.running_mean, mean), (norm.running_var, variance)):
            assert own is not None  # BatchNorm2d tracks by default
            own.copy_(given)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)
    return [conv, norm, nn.PReLU(channels, init=1.0)]


@torch.no_grad()
def _statistics(model: nn.Module, names: list[str], batches: Iterable[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return mean and variance of each channel that some modules write, over all batches."""
    sums: dict[str, list[Tensor]] = {name: [] for name in names}

    def note(name: str) -> object:
        def hook(_: nn.Module, __: object, out: Tensor) -> None:
            values = out.transpose(0, 1).flatten(1).double()
            sums[name].append(
                torch.stack([values.sum(1), values.square().sum(1), torch.full_like(values[:, 0], values.shape[1])])
            )

        return hook

    hooks = [model.get_submodule(name).register_forward_hook(note(name)) for name in names]  # type: ignore[arg-type]
    try:
        for images in batches:
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not all(sums.values()):
        raise NetmorphError("no batch of images was given to take statistics from")
    found = {}
    for name, parts in sums.items():
        total, squares, count = torch.stack(parts).sum(0)
        mean = total / count
        found[name] = (mean.float(), (squares / count - mean.square()).clamp_min(0).float())
    return found
