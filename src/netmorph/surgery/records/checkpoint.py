"""A child on disk: weights and history, replayed without solving; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from netmorph.bounded import LARGEST, read_json
from netmorph.errors import NetmorphError
from netmorph.filters.default_device import on_no_device
from netmorph.json_fields import as_json, check_length
from netmorph.nn.norm import group_counts, set_group_counts
from netmorph.surgery.records.history import history_of, remember
from netmorph.surgery.records.parent_name import keep_parent_name, leaves_of, parent_of
from netmorph.surgery.records.record import Record
from netmorph.surgery.records.replay import check_history, replayed
from netmorph.surgery.records.tensors import Packed, check_fits, check_real, check_ties, fill, pack
from netmorph.surgery.records.weights_file import digest_of, read_shapes, read_weights, with_tied
from netmorph.surgery.running.call import reason
from netmorph.surgery.running.wrappers import check_network, check_unwrapped
from netmorph.whole_files import as_path

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT, VERSION = "netmorph", 2
_KEYS_1 = {"format", "version", "parent", "history", "tied", "channels_last", "weights", "digest"}
_SPARE = 1 << 24  # numbers that a parent may have beyond four times what its child has
_KEYS = {1: _KEYS_1, VERSION: _KEYS_1 | {"group_norms"}}  # since 2 the groups of group norms are said


def save(
    child: nn.Module,
    folder: str | os.PathLike[str],
    *,
    parent_name: str | None = None,
    parent_args: Mapping[str, Any] | None = None,
) -> Path:
    """Write a network to a folder: `model.safetensors` and `config.json`.

    Args:
        child: the network, morphed any number of times.
        folder: the output folder. It is created if necessary; an existing checkpoint in it is replaced.
        parent_name: name from which the parent can be built again, such as "torchvision:resnet18". None: the name that
            `build` has stored in the network, unless its layers were changed by hand since.
        parent_args: arguments for building the parent, serialisable as JSON.

    Returns:
        The folder.

    Raises:
        NetmorphError: if the folder cannot be written, the network is wrapped, holds what is not a tensor, has morphed
            modules that are not in its history, or a history too long to be loaded.
    """
    check_unwrapped(child, "save")
    folder = as_path(folder)
    packed = pack(child)
    parent = parent_of(child)
    if parent_name is not None:
        parent = {"name": parent_name, "args": _arguments(parent_args or {})}
    history = [record.to_dict() for record in check_history(child)]
    check_length(history)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "parent": parent,
        "history": history,
        "tied": packed.tied,
        "channels_last": packed.channels_last,
        "group_norms": group_counts(child),
    }
    try:
        _write(folder, content, packed)
    except OSError as error:
        raise NetmorphError(
            f"the checkpoint cannot be written to {folder}: {reason(error)}",
            remedies=["choose a folder that you may write"],
        ) from error
    return folder


def load(
    folder: str | os.PathLike[str],
    into: nn.Module | None = None,
    *,
    build: Callable[..., nn.Module] | None = None,
) -> nn.Module:
    """Read a network that `save` wrote: the parent is morphed again without solving and takes the weights, bit by bit.

    Args:
        folder: the checkpoint.
        into: the parent, not yet morphed or as far as the child or less; changed in place. None: built by its name.
        build: builds the parent from its name and arguments, as `build(name, **arguments)`; called on the meta device
            first. It refuses what a file may not ask for.

    Returns:
        The child: `into`, unless its root was morphed. If anything fails, `into` is as it was.

    Raises:
        NetmorphError: if a file is missing, truncated or edited, or does not fit the parent, or if the parent is on the
            meta device.
    """
    folder = as_path(folder)
    if into is not None:
        check_network(into)
    config = _read_config(folder)
    now = time.time_ns()  # later than anything that the parent went through
    history = tuple(Record.from_dict(record, now + index) for index, record in enumerate(config["history"]))
    shapes = with_tied(read_shapes(folder / WEIGHTS), config["tied"], folder / CONFIG)
    parent = _parent(config["parent"], build, folder, history, shapes) if into is None else into
    check_real(parent)
    rest, built = _beyond(parent, history), leaves_of(parent)
    with replayed(parent, rest, bare=True) as replay:
        check_fits(replay.model, shapes)  # before anything takes memory: a forged history may name any size
        tensors = with_tied(read_weights(folder / WEIGHTS, config["weights"]), config["tied"], folder / CONFIG)
        check_fits(replay.model, tensors)  # it may be another file by now
        check_ties(replay.model, tensors)
        replay.settle()
        fill(replay.model, tensors, config["channels_last"])
        set_group_counts(replay.model, config.get("group_norms"))
    child = replay.model
    if rest:
        remember(child, *rest)
    keep_parent_name(child, config["parent"], built)
    return child


def describe(folder: str | os.PathLike[str]) -> tuple[dict[str, Any] | None, tuple[Record, ...]]:
    """Read what a checkpoint says of its network, without building it or reading weights.

    Args:
        folder: the checkpoint.

    Returns:
        Name and arguments of the parent, under "name" and "args", where they are known; and what was done to it.

    Raises:
        NetmorphError: if the description is missing, edited or malformed.
    """
    config = _read_config(as_path(folder))
    return config["parent"], tuple(Record.from_dict(record, index) for index, record in enumerate(config["history"]))


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for building a parent as they will be read: JSON's keys are text."""
    if "name" in given:
        raise NetmorphError(
            "the parent's arguments hold 'name', which says what to build",
            remedies=["give the name as parent_name= alone"],
        )
    read: dict[str, Any] = as_json(dict(given), "the parent's arguments")
    return read


def _beyond(parent: nn.Module, history: Sequence[Record]) -> tuple[Record, ...]:
    """Return what of a history the parent has not gone through."""
    own = history_of(parent)
    known = [record.sites for record in own] == [record.sites for record in history[: len(own)]]
    return tuple(history[len(own) :] if known else history)


def _write(folder: Path, content: dict[str, Any], packed: Packed) -> None:
    """Write both files aside, then rename: a new folder appears whole, in an old one each file does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".{folder.name}-{secrets.token_hex(4)}"
    aside.mkdir()
    try:
        save_file(packed.tensors, aside / WEIGHTS, metadata={"format": "pt"})
        content = {**content, "weights": digest_of(aside / WEIGHTS)}
        text = json.dumps({**content, "digest": _digest(content)}, indent=1)
        if len(text) > LARGEST:
            raise NetmorphError(
                "the description of the network is too large for a checkpoint",
                shapes=f"{len(text):,} bytes, {LARGEST:,} at most",
                remedies=["save only the weights with safetensors.torch.save_file(model.state_dict(), file)"],
            )
        (aside / CONFIG).write_text(text, encoding="utf-8")
        (aside / WEIGHTS).chmod((aside / CONFIG).stat().st_mode)  # safetensors writes for the owner alone
        if folder.is_dir():
            for name in (WEIGHTS, CONFIG):
                os.replace(aside / name, folder / name)
        else:
            os.rename(aside, folder)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = read_json(path)
    except OSError as error:
        raise NetmorphError(
            f"there is no checkpoint in {folder}: {reason(error)}",
            remedies=[f"name a folder that holds {CONFIG} and {WEIGHTS}"],
        ) from error
    except ValueError as error:
        raise NetmorphError(f"{path} is not JSON: {reason(error)}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise NetmorphError(f"{path} is not the config of a netmorph checkpoint")
    version = config.get("version")
    if type(version) is not int or version not in _KEYS:
        raise NetmorphError(
            f"{path} has version {version!r}, this version of netmorph reads 1 to {VERSION}",
            remedies=["use a newer netmorph"],
        )
    content = {key: value for key, value in config.items() if key != "digest"}
    if set(config) != _KEYS[version] or config["digest"] != _digest(content):
        raise NetmorphError(f"{path} was edited or is damaged", remedies=["save the network again"])
    if not _well_formed(config):
        raise NetmorphError(f"{path} is malformed", remedies=["save the network again"])
    check_length(config["history"])
    return config


def _well_formed(config: Mapping[str, Any]) -> bool:
    parent, tied = config["parent"], config["tied"]
    return (
        isinstance(config["history"], list)
        and isinstance(config.get("group_norms", {}), dict)
        and isinstance(config["weights"], str)
        and isinstance(config["channels_last"], list)
        and all(isinstance(name, str) for name in config["channels_last"])
        and isinstance(tied, dict)
        and all(isinstance(name, str) for name in tied.values())
        and (parent is None or (isinstance(parent, dict) and set(parent) == {"name", "args"}))
        and (parent is None or (isinstance(parent["name"], str) and isinstance(parent["args"], dict)))
    )


def _parent(
    parent: Any,
    build: Callable[..., nn.Module] | None,
    folder: Path,
    history: Sequence[Record],
    shapes: Mapping[str, Tensor],
) -> nn.Module:
    """Build the parent, once a sketch of it without memory has been found to lead to these tensors."""
    if parent is None or build is None:
        raise NetmorphError(
            f"the checkpoint in {folder} does not name a model from which to build its parent"
            if parent is None
            else f"the parent {parent['name']!r} cannot be built here",
            remedies=["pass the parent, before it was morphed, as into="],
        )
    if "name" in parent["args"]:
        raise NetmorphError(
            f"the parent {parent['name']!r} cannot be built with a second 'name' among its arguments",
            remedies=["pass the parent, before it was morphed, as into="],
        )
    made = partial(build, parent["name"], **parent["args"])
    sketch = on_no_device(made)
    wanted = sum(tensor.numel() for tensor in chain(sketch.parameters(), sketch.buffers()))
    held = sum(tensor.numel() for tensor in shapes.values())
    if wanted > 4 * held + _SPARE:
        raise NetmorphError(
            f"the parent {parent['name']!r} that the checkpoint in {folder} names is too large to be its parent",
            shapes=f"{wanted:,} numbers, the checkpoint's weights {held:,}",
            remedies=["pass the parent, before it was morphed, as into="],
        )
    with replayed(sketch, _beyond(sketch, history), bare=True) as replay:
        check_fits(replay.model, shapes)
    return made()


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
