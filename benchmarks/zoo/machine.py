"""What a run was made with: versions, processor, memory."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import netmorph

LIBRARIES = ("torch", "torchvision", "timm", "transformers", "numpy")
GIB = 1 << 30


def versions() -> dict[str, str]:
    """Return the version of all that takes part, the commit of netmorph where git knows it, and the processor."""
    found = {"netmorph": netmorph.__version__ + _commit(), "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "absent"
    return found | {"processor": processor(), "system": platform.system()}


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return "+" + subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor() -> str:
    """Return the name of the processor and the number of its cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def memory() -> float:
    """Return how many GiB this machine, or the control group that it is, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group = Path("/sys/fs/cgroup/memory.max")
    limit = group.read_text().strip() if group.exists() else "max"
    return min(total, int(limit) if limit.isdigit() else total) / GIB
