"""A run's folder: written aside and renamed, so that it is there whole or not at all."""

from __future__ import annotations

import csv
import errno
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netmorph.errors import NetmorphError

if TYPE_CHECKING:
    from netmorph.train.machine import Machine

__all__ = ["Draft", "environment", "json_text", "require_free", "run_folder", "write_csv", "write_json"]

_MOST_ALIKE = 100
_PACKAGES = ("netmorph", "torch", "torchvision", "lightning", "networkx", "safetensors")


@dataclass
class Draft:
    """A run that is being written.

    Attributes:
        path: the folder to write into.
        target: where it will lie, and lies once it is through.
    """

    path: Path
    target: Path


@contextmanager
def run_folder(target: Path) -> Iterator[Draft]:
    """Give a folder to write into that becomes ``target`` when the block ends well, and vanishes when it does not.

    Args:
        target: the folder of the run; must not exist, or be empty.

    Yields:
        A new folder beside ``target``. Where another run has taken that meanwhile, this one becomes ``target-2`` or the
        next that is free.

    Raises:
        NetmorphError: if ``target`` exists or its place cannot be written, before any work is done.
    """
    require_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise NetmorphError(
            f"cannot write into {target.parent}: {error.strerror}", remedies=["choose another folder with --out"]
        ) from error
    try:
        draft = Draft(aside, target)
        yield draft
        aside.chmod(0o755)  # mkdtemp makes private folders
        draft.target = _moved(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def require_free(target: Path) -> None:
    """Refuse a folder that holds something already.

    Raises:
        NetmorphError: if the path is not a folder, or the folder is not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        why = "exists and is not empty" if target.is_dir() else "is a file, not a folder"
        raise NetmorphError(f"{target} {why}", remedies=["choose another folder with --out"])


def _moved(aside: Path, target: Path) -> Path:
    """Rename a folder; return what it is called, which is a free name like the target's where that is taken."""
    for place in (target, *(target.with_name(f"{target.name}-{number}") for number in range(2, _MOST_ALIKE))):
        try:
            return aside.replace(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
    raise NetmorphError(f"{target} and all names like it are taken", remedies=["choose another folder with --out"])


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that a person can read; numbers that JSON cannot say are refused."""
    path.write_text(json_text(content), encoding="utf-8")


def json_text(content: Mapping[str, Any]) -> str:
    """Return JSON that a person can read; numbers that JSON cannot say are refused."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that share their keys, in the order of the first row's."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def environment(machine: Machine | None = None) -> dict[str, Any]:
    """Describe the versions, the machine and the command, for whoever wants to repeat the run.

    Args:
        machine: what a training ran on, and how; None where nothing was trained that says so.
    """
    import torch

    used = torch.accelerator.is_available() and (machine is None or machine.accelerator != "cpu")
    accelerator = torch.accelerator.current_accelerator() if used else None
    name = torch.cuda.get_device_name() if accelerator is not None and accelerator.type == "cuda" else accelerator
    how = {} if machine is None else {"training": {"precision": machine.precision, "compile": machine.compile}}
    return how | {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in _PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "accelerator": None if name is None else str(name),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Name the processor; Linux says it only in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
