"""Small networks, and proof that a network was left alone."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """A residual block with an identity slot, as torchvision's and the paper's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Small(nn.Module):
    """stem (strided), two blocks, dropout, head."""

    def __init__(self, channels: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(channels), Block(channels))
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x)).mean((2, 3))
        return self.fc(self.drop(x))


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw all parameters and BatchNorm statistics afresh, so that nothing is special."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            fan = parameter[0].numel() if parameter.dim() > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan**0.5)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.weight.add_(1)
                module.num_batches_tracked.fill_(7)
    return model


def scripted(model: nn.Module) -> nn.Module:
    """Return a model as TorchScript, which PyTorch deprecates but users hold."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(model)


def small(seed: int = 0) -> nn.Module:
    return seeded(Small(), seed)


def images(batch: int = 2, size: int = 16, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed)).to(dtype)


def state(model: nn.Module) -> dict[str, object]:
    """Return everything about a network that a visit could change."""
    found: dict[str, object] = {f"state {k}": v.clone() for k, v in model.state_dict().items()}
    for name, module in model.named_modules():
        found[f"module {name}"] = id(module)
        found[f"mode {name}"] = module.training
        found[f"attributes {name}"] = sorted(module.__dict__)
        found[f"hooks {name}"] = (len(module._forward_hooks), len(module._forward_pre_hooks))
    for name, parameter in model.named_parameters():
        found[f"object {name}"] = id(parameter)
        found[f"wanted {name}"] = parameter.requires_grad
        found[f"grad {name}"] = None if parameter.grad is None else parameter.grad.clone()
    return found


def same(one: object, other: object) -> bool:
    """Return whether two values are equal bit by bit, NaN included."""
    if not isinstance(one, Tensor):
        return one == other
    return torch.equal(one, other) or torch.equal(one.nan_to_num(), other.nan_to_num())


@contextmanager
def left_alone(model: nn.Module) -> Iterator[None]:
    """Assert that a block changes neither the network nor any random generator."""
    before = state(model)
    rng, python, numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    yield
    after = state(model)
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert same(value, after[key]), key
    assert torch.equal(rng, torch.get_rng_state())
    assert python == random.getstate()
    assert (numpy == np.random.get_state()[1]).all()
