"""A network of a few plain convolutions, small enough to learn in seconds (beyond the paper)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netmorph.models.blocks import check_counts, he_init

__all__ = ["PlainNet"]


class PlainNet(nn.Module):
    """Three 3x3 convolutions with ReLU, pooling between them, and a linear layer: no norms, no shortcuts.

    The first convolution has stride 2, so that images of 28x28 cost as little as those of 14x14.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the images, which are at least 7x7.
        width: channels of every convolution.
        seed: seed of the initial weights (He et al., 2015), drawn without touching the global generator.

    Raises:
        NetmorphError: for a count below 1.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, width: int = 8, seed: int = 0) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_channels=in_channels, width=width)
        with torch.random.fork_rng(devices=[]):  # layers draw weights when made; these are drawn again below
            self.conv1 = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)
            self.conv2 = nn.Conv2d(width, width, 3, padding=1)
            self.conv3 = nn.Conv2d(width, width, 3, padding=1)
            self.act1, self.act2, self.act3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
            self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
            self.pool3 = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(width, num_classes)
        he_init(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_channels, h, w)`` to logits ``(n, num_classes)``."""
        x = self.pool1(self.act1(self.conv1(x)))
        x = self.pool2(self.act2(self.conv2(x)))
        x = self.pool3(self.act3(self.conv3(x)))
        out: Tensor = self.fc(torch.flatten(x, 1))
        return out
