"""Networks that have been trained a while, as far as an operation can tell: nothing in them is as at birth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netmorph.models.resnet_cifar import CifarResNet
from netmorph.surgery.records.checkpoint import load, save
from netmorph.surgery.running.call import undisturbed


def shaken(model: nn.Module, seed: int = 0, size: float = 0.2) -> nn.Module:
    """Move every parameter (slopes too) and every BatchNorm's statistics, in place."""
    random = torch.Generator().manual_seed(seed)

    def noise(tensor: Tensor) -> Tensor:
        scale = float(tensor.std()) if tensor.numel() > 1 and float(tensor.std()) > 0 else 0.5
        return (size * scale * torch.randn(tensor.shape, generator=random)).to(tensor)

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(noise(parameter))
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                module.running_mean.add_(noise(module.running_mean))
                module.running_var.add_(noise(module.running_var).abs())
                module.num_batches_tracked.add_(3)
    return model


def resnet(seed: int = 0, width: int = 4) -> nn.Module:
    return shaken(CifarResNet(8, num_classes=5, width=width), seed)


def pictures(size: int = 10, channels: int = 3, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, channels, size, size + 1, generator=torch.Generator().manual_seed(seed))


def gap(one: nn.Module, other: nn.Module, x: Tensor, *, train: bool = False) -> float:
    """Return the largest difference of two networks' outputs, relative to the largest output, in float64."""
    with undisturbed(one, other):
        y, z = one.double().train(train)(x.double()), other.double().train(train)(x.double())
        one.to(x.dtype), other.to(x.dtype)
    return float((y - z).abs().max() / y.abs().max())


def replays(model: nn.Module, parent: nn.Module, folder: object, x: Tensor) -> None:
    """Assert that a checkpoint of `model`, loaded into `parent`, is the same network bit by bit."""
    again = load(save(model, folder), into=parent)
    state = again.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert list(state) == list(model.state_dict())
    with undisturbed(model, again):
        assert torch.equal(model.eval()(x), again.eval()(x))
