"""Newborn activations and norms drawn from the identity to what they become, over the first steps of a training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from netmorph.nn.slopes import slopes

__all__ = ["Annealing"]


class Annealing:
    """Draws newborn slopes from 1, the identity, to 0 (beyond the paper).

    A network grown with slopes of 1 (eq. 8) computes what its parent did, and a product of convolutions without
    nonlinearity between them learns as one of them would. Gradients move slopes slowly; here each step takes away as
    large a share of what is left as brings them down linearly. They are learned all the while and afterwards.

    Args:
        model: the network, where it is trained.
        steps: over how many steps of the training.
        names: which slopes, by qualified name; None: all those that are 1 in every channel now.
    """

    def __init__(self, model: nn.Module, steps: int, names: Iterable[str] | None = None) -> None:
        known = dict(slopes(model)) if steps else {}
        chosen = [name for name, slope in known.items() if bool((slope == 1).all())] if names is None else list(names)
        self.steps = steps
        self.names = chosen
        self._slopes = [known[name].detach() for name in chosen if name in known]

    def step(self, done: int) -> None:
        """Draw the slopes after a step.

        Args:
            done: steps of the training before this one.
        """
        if self._slopes and done < self.steps:
            left = self.steps - done
            torch._foreach_mul_(self._slopes, 1 - 1 / left)
