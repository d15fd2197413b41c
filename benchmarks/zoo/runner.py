"""One process and one JSON line a model, with limits on memory and time; a run resumes where it stopped."""

from __future__ import annotations

import json
import math
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.zoo.check import Limits, check, is_memory
from benchmarks.zoo.entries import Entry, NotBuilt, open_entry
from benchmarks.zoo.graphs import KINDS

from netmorph.surgery.call import reason

GIB = 1 << 30


def run(
    entries: Iterable[Entry],
    path: Path,
    *,
    limits: Limits,
    seconds: float,
    memory: float,
    cpu: float | None = None,
    retry: bool = False,
    kinds: tuple[str, ...] = KINDS,
    report: Callable[[str], None] = print,
) -> None:
    """Check the entries that `path` does not hold yet, one process each, and append a row for each.

    Args:
        entries: what to check.
        path: JSON lines.
        limits: of the sites.
        seconds: wall-clock time for one model.
        memory: GiB for one model, beside what the libraries take.
        cpu: seconds of processor time for one model.
        retry: check again what did not end well before.
        kinds: of graphs.
        report: takes one line a model.
    """
    done = {row["model"] for row in read(path) if is_done(row, limits, retry=retry)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        if entry.name in done:
            continue
        start = time.monotonic()
        row = {"model": entry.name, "group": entry.group} | _apart(entry, limits, kinds, seconds, memory, cpu)
        row |= {"wall_seconds": round(time.monotonic() - start, 1), "work_limit": limits.work}
        row["seconds_limit"] = limits.seconds if math.isfinite(limits.seconds) else None
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        report(summary(row))


def is_done(row: Mapping[str, Any], limits: Limits, *, retry: bool) -> bool:
    """Return whether nothing is left to do for a model: larger limits take up what smaller ones left out."""
    if row["status"] != "ok":
        return not retry
    left_out = any(each["over_limit"] + each["late"] for each in row["kinds"].values())
    before = Limits(row["work_limit"], math.inf if row["seconds_limit"] is None else row["seconds_limit"])
    return not left_out or (before.work >= limits.work and before.seconds >= limits.seconds)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a results file, the last one of each model; a line cut short by a crash is passed over."""
    rows: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows[row["model"]] = row
    return list(rows.values())


def summary(row: Mapping[str, Any]) -> str:
    """Return one line on a model."""
    parts = [
        f"{kind}: {each['exact']} exact, {sum(each['refused'].values())} refused, {len(each['failed'])} FAILED"
        f" (border {_show(each['border'])}, model {_show(each.get('model'))})"
        for kind, each in row.get("kinds", {}).items()
    ]
    text = "; ".join(parts) or row.get("why", "")
    return f"{row['model']}: {row['status']}, {row['wall_seconds']} s; {text}"


def _show(value: Any) -> str:
    return f"{value:.1e}" if isinstance(value, float) else str(value)


def _apart(
    entry: Entry, limits: Limits, kinds: tuple[str, ...], seconds: float, memory: float, cpu: float | None
) -> dict[str, Any]:
    """Return the row of a model, checked in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.zoo.preload"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(entry, limits, kinds, memory, cpu, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            return {"status": "over time", "why": f"more than {seconds:g} s"}
        row: dict[str, Any] = ours.recv()
        return row
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGXCPU:
            return {"status": "over time", "why": f"more than {cpu:g} s of processor time"}
        return {"status": "FAILED", "why": f"the process died with exit code {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _child(
    entry: Entry, limits: Limits, kinds: tuple[str, ...], memory: float, cpu: float | None, pipe: Connection
) -> None:
    _limit_memory(memory)
    if cpu is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 5))
    pipe.send(check_entry(entry, limits, kinds, memory))


def check_entry(entry: Entry, limits: Limits, kinds: tuple[str, ...], memory: float) -> dict[str, Any]:
    """Return the row of a model; whatever goes wrong is a row too."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        model, call, described = open_entry(entry)
        dtype = "float64" if entry.double else "float32"
        return {"input": described, "dtype": dtype} | check(model, call, kinds, limits)
    except NotBuilt as error:
        return {"status": "not built", "why": str(error)}
    except Exception as error:
        if is_memory(error):
            return {"status": "over memory", "why": f"more than {memory:g} GiB"}
        return {"status": "FAILED", "why": reason(error)}


def _limit_memory(gib: float) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    total = pages * resource.getpagesize() + int(gib * GIB)
    resource.setrlimit(resource.RLIMIT_AS, (total, total))
