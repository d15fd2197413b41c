"""The depths of the paper's residual networks, and the blocks that each has in its stages (He et al., 2015)."""

from __future__ import annotations

from netmorph.errors import NetmorphError

__all__ = ["IMAGENET_STAGES", "stages_of"]

IMAGENET_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
DEEPEST = 1202
"""The deepest that He et al. (2016) tried; ten thousand layers would take minutes to build."""


def stages_of(depth: int) -> tuple[int, ...]:
    """Return the blocks of each stage: four for ImageNet (18, 34), three equal ones for CIFAR (6n + 2).

    Raises:
        NetmorphError: if there is no network of that depth, or it is deeper than `DEEPEST`.
    """
    if depth in IMAGENET_STAGES:
        return IMAGENET_STAGES[depth]
    if depth > DEEPEST:
        raise NetmorphError(f"a CIFAR ResNet must have a depth of at most {DEEPEST}, got {depth}")
    if depth < 8 or (depth - 2) % 6:
        raise NetmorphError(
            f"a CIFAR ResNet must have a depth of 6n + 2 (8, 14, 20, 32, ...), got {depth}",
            remedies=[f"use {max(8, 6 * round((depth - 2) / 6) + 2)}", "use 18 or 34, which are ImageNet's"],
        )
    return ((depth - 2) // 6,) * 3
