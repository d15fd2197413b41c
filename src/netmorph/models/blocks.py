"""What the residual networks of the paper are made of: their block, their activation, their initial weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError

__all__ = ["BasicBlock", "activation", "check_counts", "he_init", "residual_stage"]


def activation(channels: int) -> nn.PReLU:
    """Make a ReLU that can learn: a PReLU whose slopes, one for each channel, start at 0."""
    return nn.PReLU(channels, init=0.0)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, added and activated.

    The shortcut is ``nn.Identity`` where the shape is kept, else a strided 1x1 convolution with BatchNorm.

    Args:
        c_in: channels that come in.
        c_out: channels that go out.
        stride: stride of the first convolution and of the shortcut.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.act1 = activation(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(c_out),
            )
        self.act2 = activation(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, c_in, h, w)`` to ``(n, c_out, h / stride, w / stride)``, rounded up."""
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + self.shortcut(x)
        out: Tensor = self.act2(y)
        return out


def residual_stage(c_in: int, c_out: int, blocks: int, stride: int) -> nn.Sequential:
    """Chain blocks of which the first may change the shape."""
    first = BasicBlock(c_in, c_out, stride)
    return nn.Sequential(first, *(BasicBlock(c_out, c_out) for _ in range(blocks - 1)))


def he_init(model: nn.Module, seed: int) -> None:
    """Draw every convolution and linear layer afresh: normal weights of deviation sqrt(2 / fan-in), zero biases.

    Args:
        model: the network, changed in place; its other parameters are left alone.
        seed: the same seed on the same network gives the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and not module.weight.is_meta:
                fan_in = module.weight[0].numel()
                drawn = torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
                module.weight.copy_(drawn)
                if module.bias is not None:
                    module.bias.zero_()


def check_counts(**counts: int) -> None:
    """Refuse impossible sizes before any layer is made.

    Raises:
        NetmorphError: if a count is below 1.
    """
    for name, count in counts.items():
        if count < 1:
            raise NetmorphError(f"{name} must be at least 1, got {count}")
