"""The residual networks that the paper morphs on ImageNet (He et al., 2015), in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.models.blocks import activation, check_counts, he_init, residual_stage
from netmorph.models.depths import IMAGENET_STAGES, stages_of

__all__ = ["ImageNetResNet"]


class ImageNetResNet(nn.Module):
    """ResNet-18 or ResNet-34 for large images: a strided 7x7 stem, and four stages of 1, 2, 4 and 8 times ``width``.

    The names follow torchvision, but that a block's shortcut is called ``shortcut`` and is always there. As in the
    paper's experiments (section 4.4) activations are parametric (PReLU, slopes 0 at birth) and shape-changing shortcuts
    are projections.

    Args:
        depth: 18 or 34.
        num_classes: number of outputs.
        in_channels: channels of the images.
        width: channels of the first stage.
        seed: seed of the initial weights (He et al., 2015), drawn without touching the global generator.

    Raises:
        NetmorphError: for another depth, or a count below 1.
    """

    def __init__(
        self, depth: int = 18, num_classes: int = 1000, in_channels: int = 3, width: int = 64, seed: int = 0
    ) -> None:
        super().__init__()
        if depth not in IMAGENET_STAGES:
            raise NetmorphError(
                f"an ImageNet ResNet of basic blocks must have a depth of 18 or 34, got {depth}",
                remedies=["use 18 or 34", "use torchvision's, which has deeper ones"],
            )
        check_counts(num_classes=num_classes, in_channels=in_channels, width=width)
        with torch.random.fork_rng(devices=[]):  # layers draw weights when made; these are drawn again below
            self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.act1 = activation(width)
            self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)
            blocks = stages_of(depth)
            self.layer1 = residual_stage(width, width, blocks[0], stride=1)
            self.layer2 = residual_stage(width, 2 * width, blocks[1], stride=2)
            self.layer3 = residual_stage(2 * width, 4 * width, blocks[2], stride=2)
            self.layer4 = residual_stage(4 * width, 8 * width, blocks[3], stride=2)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(8 * width, num_classes)
        he_init(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_channels, h, w)`` to logits ``(n, num_classes)``."""
        x = self.pool1(self.act1(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        out: Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return out
