"""One model in a process of its own, with limits on memory and time."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.zoo.check import is_memory
from benchmarks.zoo.entries import Entry, NotBuilt, open_entry
from benchmarks.zoo.machine import GIB
from torch import nn

from netmorph.surgery.running.call import Call, reason

Row = dict[str, Any]
Task = Callable[[nn.Module, Call], Row]


@dataclass(frozen=True)
class Budget:
    """What the process of one model may take.

    Attributes:
        seconds: of wall-clock time.
        memory: GiB, beside what the libraries take.
        cpu: seconds of processor time, of all its threads together.
        threads: of its computation.
    """

    seconds: float
    memory: float
    cpu: float | None = None
    threads: int = 1


@dataclass(frozen=True)
class Job:
    """A model's process while it runs.

    Attributes:
        entry: the model.
        budget: its limits.
        pipe: where its row arrives.
        process: the process.
        begun: when, by the monotonic clock.
        first: the row that this job is to settle (`rounding.settle`), if any.
    """

    entry: Entry
    budget: Budget
    pipe: Connection
    process: BaseProcess
    begun: float
    first: Row | None = None

    @property
    def left(self) -> float:
        """Seconds of wall-clock time that are left to it."""
        return max(0.0, self.begun + self.budget.seconds - time.monotonic())

    def row(self) -> Row:
        """Return what came of it: to be called once its pipe is ready or its time is up."""
        try:
            if self.pipe.poll():
                found: Row = self.pipe.recv()
                return found
            return {"status": "over time", "why": f"more than {self.budget.seconds:g} s"}
        except EOFError:
            self.process.join()
            code = self.process.exitcode
            if code == -signal.SIGXCPU:
                return {"status": "over time", "why": f"more than {self.budget.cpu:g} s of processor time"}
            return {"status": "FAILED", "why": f"the process died with exit code {code}"}

    def end(self) -> None:
        """End the process, done or not."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def start(entry: Entry, budget: Budget, task: Task, first: Row | None = None) -> Job:
    """Start the process of a model, in which `task` is done with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.zoo.preload"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(entry, budget, task, theirs), daemon=True)
    begun = time.monotonic()
    process.start()
    theirs.close()
    return Job(entry, budget, ours, process, begun, first)


def _child(entry: Entry, budget: Budget, task: Task, pipe: Connection) -> None:
    _limit_memory(budget.memory)
    if budget.cpu is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (int(budget.cpu), int(budget.cpu) + 5))
    pipe.send(do(entry, budget, task))


def do(entry: Entry, budget: Budget, task: Task) -> Row:
    """Return the row of a model: what `task` returns; whatever goes wrong is a row too."""
    import torch

    torch.set_num_threads(budget.threads)
    torch.manual_seed(0)
    try:
        model, call, described = open_entry(entry)
        dtype = "float64" if entry.double else "float32"
        return {"input": described, "dtype": dtype} | task(model, call)
    except NotBuilt as error:
        return {"status": "not built", "why": str(error)}
    except Exception as error:
        if is_memory(error):
            return {"status": "over memory", "why": f"more than {budget.memory:g} GiB"}
        return {"status": "FAILED", "why": reason(error)}


def _limit_memory(gib: float) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    total = pages * resource.getpagesize() + int(gib * GIB)
    resource.setrlimit(resource.RLIMIT_AS, (total, total))
