"""The checkpoint of a phase: written aside and renamed after each epoch, never unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netmorph.bounded import open_regular, parse_json
from netmorph.errors import NetmorphError
from netmorph.train.recipe import Recipe
from netmorph.train.rows import Before
from netmorph.whole_files import written_aside

__all__ = ["CHECKPOINT", "fingerprint", "read_checkpoint", "write_aside", "write_checkpoint"]

CHECKPOINT = "last.ckpt"
_FORMAT = "netmorph-phase-1"
_NAMES = {
    "recipe": "the recipe",
    "seed": "the seed",
    "data": "the data set",
    "batches": "the number of batches in an epoch",
    "network": "the names and shapes of the network's tensors",
    "before": "the epochs and steps that went before",
}


def fingerprint(model: nn.Module, recipe: Recipe, seed: int, data: str, batches: int, before: Before) -> dict[str, Any]:
    """Return what tells one phase from another, JSON-ready.

    A network is known by the names, shapes and dtypes of its tensors, not by their values: whoever resumes may hand in
    the network as it was at the start, or as the interrupted training left it.

    Args:
        model: the network.
        recipe: what is done.
        seed: random seed of order and augmentation.
        data: name of the data set.
        batches: batches in an epoch.
        before: what went before.
    """
    tensors = {name: [list(value.shape), str(value.dtype)] for name, value in model.state_dict().items()}
    content = {
        "recipe": asdict(recipe),
        "seed": seed,
        "data": data,
        "batches": batches,
        "network": hashlib.sha256(json.dumps(tensors).encode()).hexdigest(),
        "before": asdict(before),
    }
    plain: dict[str, Any] = json.loads(json.dumps(content))  # tuples become lists, as they will be when read
    return plain


def write_aside(path: Path, content: Any) -> None:
    """Write a file with ``torch.save`` such that it is there whole or not at all, whenever the process is killed."""
    with written_aside(path) as aside, aside.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # "unexpected pos 576 vs 534", which is what torch makes of a full disk
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def write_checkpoint(folder: Path, mark: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write the checkpoint of a phase.

    Args:
        folder: of the phase.
        mark: its `fingerprint`.
        state: tensors and plain values.

    Raises:
        NetmorphError: if the folder cannot be written.
    """
    path = folder / CHECKPOINT
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_aside(path, {"format": _FORMAT, "fingerprint": json.dumps(mark), **state})
    except (OSError, RuntimeError) as error:
        raise NetmorphError(
            f"the checkpoint cannot be written to {path}: {getattr(error, 'strerror', None) or error}",
            remedies=["choose a folder that you may write and that has room"],
        ) from error


def read_checkpoint(folder: Path, mark: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the checkpoint of a phase, onto the CPU.

    Args:
        folder: of the phase.
        mark: the phase's `fingerprint`, which must be the checkpoint's.

    Returns:
        What `write_checkpoint` was given as ``state``; None where there is no checkpoint.

    Raises:
        NetmorphError: if the checkpoint is damaged, or of another phase.
    """
    path = folder / CHECKPOINT
    try:
        with open_regular(path) as file:
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
        theirs = parse_json(content["fingerprint"])
        known = content["format"] == _FORMAT
    except (FileNotFoundError, NotADirectoryError):
        return None
    except NetmorphError:
        raise
    except Exception as error:  # whatever a damaged file leads to
        raise NetmorphError(
            f"{path} is not a checkpoint that can be read: {type(error).__name__}",
            remedies=["delete it to restart the training"],
        ) from error
    if not known:
        raise NetmorphError(f"{path} is a checkpoint of another version of netmorph", remedies=["use that version"])
    differing = [name for key, name in _NAMES.items() if theirs.get(key) != mark[key]]
    if differing:
        raise NetmorphError(
            f"{folder} holds the checkpoint of another training: {', '.join(differing)} differ",
            remedies=["choose another folder", "continue that training with its own settings", f"delete {path}"],
        )
    return {key: value for key, value in content.items() if key not in ("format", "fingerprint")}
