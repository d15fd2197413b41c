"""Networks from wherever they are: built by name, read from a checkpoint's folder, filled with weights from a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from netmorph.bounded import open_regular
from netmorph.errors import NetmorphError
from netmorph.models.rebuild import rebuild
from netmorph.models.registry import build
from netmorph.surgery.records import checkpoint

__all__ = ["load", "load_weights", "open_model"]


def load(folder: str | os.PathLike[str], into: nn.Module | None = None) -> nn.Module:
    """Load a network that ``save`` has written: its history is replayed without solving, and the weights are loaded.

    Args:
        folder: the checkpoint.
        into: the parent, before it was morphed; changed in place. None: the parent is built by the name in the
            checkpoint, with arguments that a file may give (decision 14); nothing is downloaded.

    Returns:
        The child.

    Raises:
        NetmorphError: if a file is missing, truncated or edited, does not fit the parent, or does not name one.
    """
    return checkpoint.load(folder, into, build=rebuild)


def open_model(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Open a network by name, such as ``torchvision:resnet18``, or from the folder of a checkpoint.

    A network by name has the same random weights at every call, so that two commands speak of the same one.

    Args:
        name: the name or the folder.
        arguments: arguments for building it by name.

    Raises:
        NetmorphError: if it is neither a known name nor a checkpoint, or arguments are given for a checkpoint.
    """
    if not Path(name).is_dir():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return build(name, **arguments)
    if arguments:
        raise NetmorphError(f"{name} is a checkpoint and takes no arguments", remedies=["leave --model-args out"])
    return load(name)


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a network with the weights of a safetensors file; other formats are refused, since they would be unpickled.

    Args:
        model: the network, changed in place.
        path: the file.

    Raises:
        NetmorphError: if the file cannot be read, or its names or shapes are not the network's.
    """
    try:
        open_regular(path).close()
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise NetmorphError(
            f"{path} cannot be read as safetensors: {error}",
            remedies=["save the weights by safetensors.torch.save_file(model.state_dict(), path)"],
        ) from error
    own = model.state_dict()
    odd = sorted(own.keys() ^ tensors.keys()) or sorted(key for key in own if own[key].shape != tensors[key].shape)
    if odd:
        raise NetmorphError(
            f"the weights in {path} are not those of this network", shapes=f"{len(odd)} differ, such as {odd[0]!r}"
        )
    model.load_state_dict(tensors)
