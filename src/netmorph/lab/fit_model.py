"""A network by name, made to fit a data set: its classes, its channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.data.dataset import Data
from netmorph.errors import NetmorphError
from netmorph.models.opening import load_weights, open_model
from netmorph.models.registry import build
from netmorph.surgery.running.call import in_mode, reason, undisturbed

__all__ = ["open_for"]

# How each source's constructors call the number of classes, of image channels, and the seed of the weights.
_CALLED = {
    "netmorph": ("num_classes", "in_channels", "seed"),
    "torchvision": ("num_classes", None, None),
    "timm": ("num_classes", "in_chans", None),
}


def open_for(name: str, arguments: Mapping[str, Any], weights: Path | None, data: Data, seed: int) -> nn.Module:
    """Open a network for a data set.

    Classes and channels are those of the data wherever the constructor takes them and `arguments` do not say otherwise.

    Args:
        name: such as ``netmorph:resnet20``, or the folder of a checkpoint.
        arguments: of its constructor; none for a checkpoint.
        weights: a safetensors file with its weights.
        data: the data set to train on.
        seed: random seed of its weights, where it begins with random ones.

    Returns:
        The network, which has been tried on the data's images.

    Raises:
        NetmorphError: if the network is unknown, or does not fit the data.
    """
    if Path(name).is_dir():
        model = open_model(name, arguments)
    else:
        called = _CALLED.get(name.partition(":")[0], (None, None, None))
        fitting = zip(called, (data.classes, data.channels, seed), strict=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build(name, **{key: value for key, value in fitting if key is not None} | dict(arguments))
    if weights is not None:
        load_weights(model, weights)
    _try(name, model, data)
    return model


def _try(name: str, model: nn.Module, data: Data) -> None:
    """Call the network on two images, as in training and as in evaluation.

    Raises:
        NetmorphError: if the network does not accept them, or its output is not one number for each class.
    """
    images = data.example(2)
    wanted, got = (len(images), data.classes), f"images {tuple(images.shape)} of {data.name}"
    for training in (True, False):
        try:
            with undisturbed(model, training=training):
                output = in_mode(model, training)(images)
        except Exception as error:  # a model raises whatever it likes
            raise NetmorphError(
                f"{name} cannot be trained on this data: it raised {reason(error)}",
                shapes=got,
                remedies=["choose a network for such images", "check --model-args (channels, size of the images)"],
            ) from error
        if not isinstance(output, Tensor) or tuple(output.shape) != wanted:
            shown = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise NetmorphError(
                f"{name} does not return one number for each of {data.classes} classes"
                + (" in train mode" if training else ""),
                shapes=f"{got}, output {shown}, expected {wanted}",
                remedies=[f"set its number of outputs to {data.classes} (--model-args.num_classes={data.classes})"],
            )
