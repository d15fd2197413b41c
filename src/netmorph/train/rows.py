"""What a phase of training came to, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Before", "EpochRow"]


@dataclass(frozen=True)
class Before:
    """What a network had been trained for when a phase begins.

    Attributes:
        epochs: epochs of all phases before.
        steps: optimizer steps of all phases before.
    """

    epochs: int = 0
    steps: int = 0


@dataclass(frozen=True)
class EpochRow:
    """What one epoch came to.

    Attributes:
        epoch: counted from 1, over all phases.
        lr: learning rate of the epoch's last step.
        train_loss: mean cross-entropy over the epoch's batches, in nats, while learning, on augmented images.
        train_error: share of augmented training images classified wrongly while learning, in percent.
        test_loss: mean cross-entropy on the test split after the epoch, in nats.
        test_error: share of test images classified wrongly after the epoch, in percent.
        seconds: wall time of the phase so far, evaluation included; time between a kill and a resume is not.
        steps: optimizer steps so far, over all phases.
        samples_per_second: training images of all processes a second, without evaluation; the first epoch after a start
            includes the compiler's work.
    """

    epoch: int
    lr: float
    train_loss: float
    train_error: float
    test_loss: float
    test_error: float
    seconds: float
    steps: int
    samples_per_second: float
