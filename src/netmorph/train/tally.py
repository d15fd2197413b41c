"""Counting losses and mistakes where they arise, without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Tally"]


class Tally:
    """A running sum of losses and mistakes that stays on the device until it is read.

    Args:
        device: where losses come from.
    """

    def __init__(self, device: torch.device) -> None:
        self._loss = torch.zeros((), device=device)
        self._wrong = torch.zeros((), dtype=torch.int64, device=device)
        self.count = 0

    def add(self, loss: Tensor, wrong: Tensor, count: int) -> None:
        """Count one batch; ``loss`` is its mean over ``count`` images, of which ``wrong`` are mistaken."""
        self._loss.add_(loss, alpha=count)
        self._wrong.add_(wrong)
        self.count += count

    def read(self, gather: Callable[[Tensor], Tensor] | None = None) -> tuple[float, float]:
        """Return the mean loss in nats and the error in percent; this waits for the device.

        Args:
            gather: sums a tensor over all processes; `count` is theirs together from then on.
        """
        if gather is not None:
            loss, wrong, count = gather(
                torch.stack([self._loss, self._wrong.float(), torch.tensor(float(self.count)).to(self._loss)])
            ).tolist()
            self.count = round(count)
        else:
            loss, wrong = self._loss.item(), self._wrong.item()
        return loss / self.count, 100 * wrong / self.count
