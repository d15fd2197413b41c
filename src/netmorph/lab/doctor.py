"""Checks of the environment: what is installed, whether it works here, and what to do where it does not."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

from netmorph._version import __version__
from netmorph.lab.probes import Probe, finish, start

__all__ = [
    "Check",
    "bfloat16",
    "compiler",
    "diagnose",
    "disk",
    "extras",
    "lightning_release",
    "packages",
    "summary",
]

Verdict = Literal["ok", "note", "bad"]
BAD_LIGHTNING = ("2.6.2", "2.6.3")
_REMEDY_ISA = "AVX512_CORE_BF16"
_SHOWN_EXTRAS = ("train", "parquet", "tensorboard", "cli", "report", "search", "onnx", "zoo")
_LITTLE_DISK = 2 * 1024**3


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        what: what was looked at.
        verdict: "ok"; "note": something is missing or slow that not everybody needs; "bad": netmorph does not work.
        said: what was found.
        remedy: what to do; empty where nothing is to be done.
    """

    what: str
    verdict: Verdict
    said: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return JSON-ready values."""
        return asdict(self)


def diagnose() -> list[Check]:
    """Check everything; torch is tried in processes of its own, which takes some seconds."""
    running = {name: start(name) for name in ("torch", "bfloat16")}
    checks = [_python(), *packages(), *extras(), lightning_release(), disk(Path.cwd()), *_scratch()]
    torch = finish(running["torch"])
    checks += [*_torch(torch), bfloat16(finish(running["bfloat16"]))]
    if torch.found is not None:
        checks += [_morph(finish(start("morph"))), compiler(bool(torch.found["gpus"]))]
    return checks


def _python() -> Check:
    said = f"{platform.python_version()} in {sys.prefix}, {platform.platform()}, {os.cpu_count()} cores"
    return Check("python", "ok", said)


def packages() -> list[Check]:
    """Check what netmorph cannot do without."""
    checks = [Check("netmorph", "ok", f"{__version__} in {Path(__file__).parents[1]}")]
    for name, least in _wanted().get("", {}).items():
        checks.append(_package(name, name, least, "bad"))
    return checks


def extras() -> list[Check]:
    """Check what the extras of netmorph bring: a note where one is not there whole."""
    checks = []
    wanted = _wanted()
    for extra in filter(wanted.__contains__, _SHOWN_EXTRAS):
        found = {name: _package(name, name, least, "note") for name, least in wanted[extra].items()}
        lacking = [check.said for check in found.values() if check.verdict != "ok"]
        said = "; ".join(lacking) or ", ".join(f"{name} {_version(name)}" for name in found)
        remedy = f"pip install -e '.[{extra}]' in the clone of netmorph" if lacking else ""
        checks.append(Check(f"extra {extra}", "note" if lacking else "ok", said, remedy))
    return checks


def _wanted() -> dict[str, dict[str, str]]:
    """Return the least version of each package that netmorph asks for, by extra; "" is what it always needs."""
    wanted: dict[str, dict[str, str]] = {}
    try:
        lines = requires("netmorph") or []
    except PackageNotFoundError:  # run from a source tree that is not installed
        lines = []
    for line in lines:
        match = re.match(r"([A-Za-z0-9_.-]+)\s*(?:>=\s*([0-9.]+))?", line)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        if match and match[1] != "netmorph":
            wanted.setdefault(extra[1] if extra else "", {})[match[1]] = match[2] or ""
    return wanted


def _package(what: str, name: str, least: str, otherwise: Verdict) -> Check:
    found = _version(name)
    if found is None:
        return Check(what, otherwise, f"{name} is not installed", f"pip install '{name}>={least}'" if least else "")
    if least and _numbers(found) < _numbers(least):
        said = f"{name} {found} is older than {least}"
        return Check(what, otherwise, said, f"pip install --upgrade '{name}>={least}'")
    return Check(what, "ok", f"{found}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    """Return a version's leading numbers: 2.14.1+cpu is (2, 14, 1)."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def lightning_release() -> Check:
    """Check that Lightning is not one of the releases that must not be used."""
    found = {name: _version(name) for name in ("lightning", "pytorch-lightning")}
    for name, number in found.items():
        if number in BAD_LIGHTNING:
            return Check(
                "lightning release",
                "bad",
                f"{name} {number} is one of the releases that must not be used ({', '.join(BAD_LIGHTNING)})",
                f"pip uninstall -y {name}; pip install 'lightning>=2.6.4'",
            )
    known = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    return Check("lightning release", "ok", known or "not installed")


def disk(folder: Path) -> Check:
    """Check the free space of a folder's disk."""
    free = shutil.disk_usage(folder).free
    said = f"{free / 1024**3:.1f} GiB free for {folder}"
    if free < _LITTLE_DISK:
        return Check("disk", "note", said, "checkpoints may not fit: choose another folder with --out")
    return Check("disk", "ok", said)


def _scratch() -> Iterator[Check]:
    """Check that temporary files can be written."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "x").write_text("x", encoding="utf-8")
    except OSError as error:
        yield Check("temporary files", "bad", str(error), "set TMPDIR to a folder that can be written")


def _torch(probe: Probe) -> Iterator[Check]:
    if probe.found is None:
        yield Check("torch works", "bad", f"import torch: {probe.why}", "reinstall torch, see https://pytorch.org")
        return
    said = f"{probe.found['version']}, {probe.found['threads']} threads, CPU code for {probe.found['cpu']}"
    yield Check("torch works", "ok", said)
    gpus, accelerator = probe.found["gpus"], probe.found["accelerator"]
    if gpus or accelerator:
        yield Check("accelerator", "ok", ", ".join(gpus) or accelerator)
    elif _nvidia() and not probe.found["cuda"]:
        yield Check(
            "accelerator",
            "note",
            "there is an NVIDIA GPU, but this torch is built for the CPU",
            "install the CUDA build, see https://pytorch.org",
        )
    else:
        yield Check("accelerator", "ok", "none: training runs on the CPU")


def _nvidia() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def bfloat16(probe: Probe, again: Callable[[Mapping[str, str]], Probe] | None = None) -> Check:
    """Judge the step in bfloat16; if it crashed, try the remedy before it is suggested.

    On some virtual machines that announce AMX, oneDNN's bfloat16 convolutions raise SIGILL or compute nonsense.

    Args:
        probe: how the step ended.
        again: repeats it with environment variables set.
    """
    what = "bfloat16 on the CPU"
    if probe.found is not None and probe.found["finite"]:
        return Check(what, "ok", "a step of training works")
    trouble = probe.why or "a step of training gives values that are not finite"
    variables = {"ONEDNN_MAX_CPU_ISA": _REMEDY_ISA}
    retry = again or (lambda given: finish(start("bfloat16", **given)))
    mended = retry(variables)
    setting = f"export ONEDNN_MAX_CPU_ISA={_REMEDY_ISA}"
    if mended.found is not None and mended.found["finite"]:
        return Check(what, "note", f"a step of training fails: {trouble}", f"{setting} (tried: it helps)")
    return Check(what, "note", f"a step of training fails: {trouble}", f"use float32 ({setting} does not help)")


def _morph(probe: Probe) -> Check:
    if probe.found is None:
        return Check("morph works", "bad", probe.why, "NETMORPH_TRACEBACK=1 netmorph quickstart --quick shows where")
    said = f"parity {probe.found['max_rel']:.1e}, tolerance {probe.found['tolerance']:.0e}"
    if not probe.found["exact"]:
        return Check("morph works", "bad", said, "report it with the output of netmorph doctor --json")
    return Check("morph works", "ok", said)


def compiler(gpu: bool) -> Check:
    """Check what torch.compile needs: a C++ compiler and Python's headers, and triton on a GPU."""
    what = "torch.compile"
    named = os.environ.get("CXX")
    found = next(filter(None, map(shutil.which, [*([named] if named else []), "g++", "clang++", "c++"])), None)
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    lacking = [] if found else ["there is no C++ compiler"]
    lacking += [] if headers.exists() else [f"Python's headers are not in {headers.parent}"]
    lacking += ["triton is not installed"] if gpu and _version("triton") is None else []
    if lacking:
        remedy = "apt-get install g++ python3-dev, or do not use --compile"
        return Check(what, "note", "; ".join(lacking), remedy)
    return Check(what, "ok", f"compiler {found}" + (f", triton {_version('triton')}" if gpu else ""))


def summary(checks: list[Check]) -> dict[str, Any]:
    """Return all findings as JSON says them."""
    return {"works": all(check.verdict != "bad" for check in checks), "checks": [c.to_dict() for c in checks]}
