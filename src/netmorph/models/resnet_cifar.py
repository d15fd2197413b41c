"""The residual networks that the paper morphs on CIFAR (He et al., 2015), in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError

__all__ = ["BasicBlock", "CifarResNet"]


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


class CifarResNet(nn.Module):
    """A residual network of depth 6n + 2 for small images: three stages of n blocks, of 1, 2 and 4 times ``width``.

    The names follow torchvision (``layer1.0.conv1``). As in the paper's experiments (section 4.2) activations are
    parametric (PReLU, slopes 0 at birth) and shape-changing shortcuts are projections.

    Args:
        depth: number of layers with weights on the longest path, 6n + 2 for some n >= 1.
        num_classes: number of outputs.
        in_channels: channels of the images.
        width: channels of the first stage.
        stem_stride: stride of the first convolution; 2 quarters the cost (beyond the paper).
        seed: seed of the initial weights (He et al., 2015), drawn without touching the global generator.

    Raises:
        NetmorphError: for a depth that is not 6n + 2, or a count below 1.
    """

    def __init__(
        self,
        depth: int = 20,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 16,
        stem_stride: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(depth, num_classes=num_classes, in_channels=in_channels, width=width, stem_stride=stem_stride)
        with torch.random.fork_rng(devices=[]):  # layers draw weights when made; these are drawn again below
            blocks = (depth - 2) // 6
            self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stem_stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.act1 = activation(width)
            self.layer1 = _stage(width, width, blocks, stride=1)
            self.layer2 = _stage(width, 2 * width, blocks, stride=2)
            self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(4 * width, num_classes)
        he_init(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_channels, h, w)`` to logits ``(n, num_classes)``."""
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return out


def he_init(model: nn.Module, seed: int) -> None:
    """Draw every convolution and linear layer afresh: normal weights of deviation sqrt(2 / fan-in), zero biases.

    Args:
        model: the network, changed in place; its other parameters are left alone.
        seed: the same seed on the same network gives the same weights.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                fan_in = module.weight[0].numel()
                drawn = torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
                module.weight.copy_(drawn)
                if module.bias is not None:
                    module.bias.zero_()


def _check(depth: int, **counts: int) -> None:
    """Refuse impossible sizes before any layer is made."""
    if depth < 8 or (depth - 2) % 6:
        raise NetmorphError(
            f"a CIFAR ResNet has a depth of 6n + 2 (8, 14, 20, 32, ...), not {depth}",
            remedies=[f"use {max(8, 6 * round((depth - 2) / 6) + 2)}"],
        )
    for name, count in counts.items():
        if count < 1:
            raise NetmorphError(f"{name} must be at least 1, not {count}")


def _stage(c_in: int, c_out: int, blocks: int, stride: int) -> nn.Sequential:
    """Chain blocks of which the first may change the shape."""
    first = BasicBlock(c_in, c_out, stride)
    return nn.Sequential(first, *(BasicBlock(c_out, c_out) for _ in range(blocks - 1)))
