"""Some steps of plain training, and the loss after them."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F

from netmorph.data.dataset import Dataset
from netmorph.train.machine import overruns
from netmorph.train.objective import Objective


def train(network: nn.Module, data: Dataset, steps: int, seed: int, rate: float) -> None:
    """Train in place with SGD (momentum 0.9, batch 128); order and augmentation follow from the seed alone.

    Args:
        network: lies where the data lies.
        data: the images.
        steps: of the optimizer.
        seed: of the batches.
        rate: the learning rate, the same in all steps.
    """
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    objective = Objective(network, plain=overruns(network, next(network.parameters()).device))
    batches = data.train_batches(min(128, len(data.train)), seed, 2)
    network.train()
    done = 0
    while done < steps:
        for images, labels in batches:
            optimizer.zero_grad()
            objective(images, labels)[0].backward()
            optimizer.step()
            done += 1
            if done == steps:
                break


def loss_after(network: nn.Module, data: Dataset, device: torch.device, steps: int, seed: int, rate: float) -> float:
    """Train a copy on a device and return its loss on the test split, in nats; infinite if it diverged."""
    own = copy.deepcopy(network).to(device)
    train(own, data, steps, seed, rate)
    own.eval()
    with torch.no_grad():
        losses = [F.cross_entropy(own(x), y, reduction="sum") for x, y in data.test_batches()]
    loss = float(torch.stack(losses).sum()) / len(data.test)
    return loss if math.isfinite(loss) else math.inf
