"""Open every forged folder in one process and write down what audit hooks hear: `audited.py GOOD WHERE OUT`."""

import importlib
import io
import json
import os
import pickle
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from tests.models.forged import EVIL, folders

import netmorph as nm
from netmorph.cli.main import main

FORBIDDEN = (
    "socket.",
    "urllib.",
    "pickle.",
    "subprocess.",
    "os.exec",
    "os.system",
    "os.posix_spawn",
    "os.fork",
    "ctypes.dl",
)
heard: list[str] = []


def hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(FORBIDDEN):
        heard.append(event)
    elif event in ("import", "open") and EVIL in str(arguments[0]):  # importlib only opens
        heard.append(f"import of {EVIL}")


def load(folder: Path) -> tuple[int, str]:
    try:
        nm.load(folder)
    except nm.NetmorphError as error:
        return 2, str(error)
    except Exception as error:
        return 1, repr(error)
    return 0, ""


def command(*arguments: str) -> tuple[int, str]:
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = main(arguments)
    return code, said.getvalue()


WAYS: dict[str, Callable[[Path], tuple[int, str]]] = {
    "load": load,
    "verify": lambda folder: command("verify", str(folder), str(folder), "--input-shape=1,3,16,16"),
    "report": lambda folder: command("report", str(folder)),
}


def tried(way: Callable[[Path], tuple[int, str]], folder: Path) -> dict[str, Any]:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    heard.clear()
    code, said = way(folder)
    events = list(heard)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    took = time.process_time() - began
    return {"code": code, "said": said, "events": events, "grown_mib": grown, "seconds": took}


def control(where: Path) -> list[str]:
    """Do what is forbidden, and return what was heard."""
    (where / f"{EVIL}.py").write_text("")
    sys.path.insert(0, str(where))
    heard.clear()
    importlib.import_module(EVIL)
    pickle.loads(pickle.dumps(Path("x")))
    os.system("true")
    subprocess.run("true", check=True)
    with socket.socket() as one:
        one.connect_ex(("127.0.0.1", 9))
    return list(heard)


def run(good: Path, where: Path, out: Path) -> None:
    for name in ("torchvision:resnet18", "timm:resnet10t"):  # what libraries import and run by themselves
        nm.build(name)
    found: dict[str, Any] = {"good": {name: tried(way, good) for name, way in WAYS.items()}}
    sys.addaudithook(hear)
    for kind, name, folder in folders(good, where):
        sys.path.insert(0, str(folder))
        found[f"{kind}: {name}"] = {each: tried(way, folder) for each, way in WAYS.items()}
        sys.path.remove(str(folder))
    found["control"] = control(where)
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    run(*map(Path, sys.argv[1:]))
