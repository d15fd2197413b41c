"""The residual networks that the paper morphs on CIFAR (He et al., 2015), in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.models.blocks import activation, check_counts, he_init, residual_stage
from netmorph.models.depths import IMAGENET_STAGES, stages_of

__all__ = ["CifarResNet"]


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
        if depth in IMAGENET_STAGES:
            raise NetmorphError(
                f"a ResNet-{depth} is ImageNet's: a CIFAR ResNet has a depth of 6n + 2",
                remedies=["use ImageNetResNet", "use 20 or 32"],
            )
        blocks, *_ = stages_of(depth)
        check_counts(num_classes=num_classes, in_channels=in_channels, width=width, stem_stride=stem_stride)
        with torch.random.fork_rng(devices=[]):  # layers draw weights when made; these are drawn again below
            self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stem_stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.act1 = activation(width)
            self.layer1 = residual_stage(width, width, blocks, stride=1)
            self.layer2 = residual_stage(width, 2 * width, blocks, stride=2)
            self.layer3 = residual_stage(2 * width, 4 * width, blocks, stride=2)
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(4 * width, num_classes)
        he_init(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, in_channels, h, w)`` to logits ``(n, num_classes)``."""
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return out
