"""Checks that the doctor runs in separate processes, so that a crash is reported.

Each function is run as ``python -m netmorph.lab.probes NAME`` and prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Probe", "finish", "start"]

_SECONDS = 180


def _torch() -> dict[str, Any]:
    """Import torch and say what it found."""
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    names = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return {
        "version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda,
        "accelerator": None if accelerator is None else str(accelerator),
        "gpus": names,
    }


def _morph() -> dict[str, Any]:
    """Morph a small network."""
    import torch
    from torch import nn

    from netmorph.surgery.morphing.morph import morph

    generator = torch.Generator().manual_seed(0)
    parent = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
    x = torch.randn(2, 3, 12, 12, generator=generator)
    parity = morph(parent, {"2": "3x3 > 1x1 | id"}, example_inputs=x).parity
    return {"exact": parity.exact, "max_rel": parity.max_rel, "tolerance": parity.tolerance}


def _bfloat16() -> dict[str, Any]:
    """Train a step in bfloat16 on the CPU, with the layers that oneDNN serves."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 32, 1), nn.Flatten(), nn.Linear(2048, 32))
    x = torch.randn(8, 16, 8, 8, generator=generator).bfloat16()
    out = layers.bfloat16()(x)
    out.float().square().mean().backward()
    grads = [parameter.grad for parameter in layers.parameters()]
    return {"finite": bool(out.isfinite().all()) and all(g is not None and bool(g.isfinite().all()) for g in grads)}


_PROBES: dict[str, Callable[[], dict[str, Any]]] = {"torch": _torch, "morph": _morph, "bfloat16": _bfloat16}


@dataclass(frozen=True)
class Probe:
    """How a probe ended.

    Attributes:
        found: what it printed; None where it died.
        why: how it died.
    """

    found: Mapping[str, Any] | None
    why: str = ""


def start(name: str, **environment: str) -> subprocess.Popen[str]:
    """Start a probe in a process of its own.

    Args:
        name: which one.
        environment: variables to set for it.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "netmorph.lab.probes", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def finish(process: subprocess.Popen[str], seconds: float = _SECONDS) -> Probe:
    """Wait for a probe.

    Args:
        process: what `start` returned.
        seconds: when to give up.
    """
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Probe(None, f"no answer within {seconds:g} s")
    if process.returncode < 0:
        return Probe(None, f"killed by {_signal(-process.returncode)}")
    try:
        found = json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        found = None
    if process.returncode or not isinstance(found, dict):
        lines = err.strip().splitlines()
        return Probe(None, lines[-1] if lines else f"exit code {process.returncode}")
    return Probe(found)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


if __name__ == "__main__":
    print(json.dumps(_PROBES[sys.argv[1]]()))
