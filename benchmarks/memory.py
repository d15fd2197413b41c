"""Memory while morphing in place: what is needed above parent and child."""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from benchmarks.measure import MIB
from benchmarks.report import Report, Target, run
from torch import nn

from netmorph.nn.dag import MorphedModule
from netmorph.surgery.morphing.morph import morph

QUESTION = "How much memory does a morph in place need above parent and child?"
GRAPH = "3x3 > 1x1 | 1x1"
MULTIPLE = 8.0
# What glibc would keep after it was freed goes back to the system, so that resident is what is in use.
THRESHOLD = {"MALLOC_MMAP_THRESHOLD_": "262144"}
LIBC = ctypes.util.find_library("c")


def measure(report: Report) -> None:
    """Morph networks of growing depth, each in a process of its own."""
    cases = [(f"{depth} layers", depth, 512) for depth in (1, 8, 32)] + [("1 wide layer", 1, 1024)]
    if report.quick:
        cases = [("1 layer", 1, 64)]
    for name, depth, channels in cases:
        command = [sys.executable, "-m", "benchmarks.memory", "--one", str(depth), str(channels)]
        found, usual = (_run(command, each) for each in (THRESHOLD, {}))
        multiple = found["above"] / found["edge"]
        cells = {key: found[key] / MIB for key in ("parent", "child", "edge", "above")}
        kept = usual["above"] / usual["edge"]
        sizes = {f"{key} (MiB)": value for key, value in cells.items()}
        report.row(network=name, channels=channels, **sizes, multiple=multiple, **{"usual allocator": kept})
        what = f"{name} of {channels} channels: peak above parent and child, in largest child edges"
        report.targets.append(Target(what, multiple, MULTIPLE))
    report.notes = [
        f"`{GRAPH}` at every 3x3 convolution, in place, examples of one 16x16 map. Resident memory of a fresh process: "
        "the highest during the morph, less what was resident before it (the parent, PyTorch, one forward pass and "
        "one morph of a small layer), less the bytes of the child.",
        "glibc's usual allocator keeps what was freed and lets it be broken up: the last column, which is no more than "
        "the process's size. What is recorded of a site's input, about 32 windows, is freed "
        "with its solution, before the next site is solved.",
    ]


def _run(command: list[str], settings: dict[str, str]) -> dict[str, int]:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | settings)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(depth: int, channels: int) -> dict[str, Any]:
    """Return bytes: of parent and child, of the largest edge, and the peak above what must be there."""
    torch.set_num_threads(1)
    small = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1))
    morph(small, {"0": GRAPH}, example_inputs=torch.randn(1, 16, 8, 8), inplace=True)  # loads all code
    x = torch.randn(1, channels, 16, 16)
    layers = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(depth)]
    parent = nn.Sequential(*layers)
    for layer in layers:
        nn.init.orthogonal_(layer.weight, gain=0.5)
    parent_bytes = _bytes(parent)
    del layers
    with torch.no_grad():
        parent(x)
    _trim()
    before = _resident()
    _reset_peak()
    morph(parent, {"*": GRAPH}, example_inputs=x, inplace=True)
    peak = _peak()
    edges = [p for m in parent.modules() if isinstance(m, MorphedModule) for p in m.edges.parameters()]
    child = _bytes(parent)
    return {
        "parent": parent_bytes,
        "child": child,
        "edge": max(p.numel() * p.element_size() for p in edges),
        "above": peak - before - child,
    }


def _bytes(network: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())


def _trim() -> None:
    """Give free memory back to the system, so that what is resident is what is used."""
    gc.collect()
    if LIBC is not None and sys.platform == "linux":
        ctypes.CDLL(LIBC).malloc_trim(0)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}: this benchmark needs Linux")


def _resident() -> int:
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    if "--one" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--one", nargs=2, type=int, required=True, metavar=("DEPTH", "CHANNELS"))
        print(json.dumps(one(*parser.parse_args().one)))
    else:
        run("memory", QUESTION, measure)
