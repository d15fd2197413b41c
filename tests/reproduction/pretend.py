"""Pretended experiments: what jobs write, without a training."""

import json
import random

from reproduction.experiment import Experiment, Job, make_experiment

# Test errors that the jobs end with, by kind; `spread` comes on top, drawn for each seed and job.
LEVELS = {"parent": 10.0, "morph": 8.0, "on": 9.0, "scratch": 9.5, "net2net": 8.6}
ENVIRONMENT = {
    "python": "3.11.9",
    "versions": {"netmorph": "0.1", "torch": "2.14.1", "torchvision": None},
    "processor": "A processor",
    "cores": 2,
    "accelerator": "NVIDIA H100",
    "training": {"precision": "bf16-mixed", "compile": None},
}


def done_of(job: Job, start: dict | None, *, levels=None, spread=0.1, data="CIFAR-10 (JPEG)") -> dict:
    """Return what a job would have written."""
    draw = random.Random(job.key)
    before = start["epochs"] if start else 0
    end = (levels or LEVELS)[job.kind] + draw.gauss(0, spread) - 0.3 * len(job.phases)
    first = start["error"] if start else 70.0
    curve = []
    for epoch in range(1, job.epochs + 1):
        left = 1 - epoch / job.epochs
        error = end + (first - end) * left**3 + (6 * left * draw.random() if start else 0)
        curve.append([before + epoch, error / 30, error, error / 25, error])
    grown = job.kind in ("morph", "net2net")
    return {
        "key": job.key,
        "kind": job.kind,
        "net": job.net,
        "phases": list(job.phases),
        "seed": job.seed,
        "start": job.start,
        "own_epochs": job.epochs,
        "epochs": before + job.epochs,
        "error": curve[-1][4],
        "train_loss": curve[-1][1],
        "params": 283_000 if "morph" in job.net else 272_000,
        "params_mib": 1.138 if "morph" in job.net else 1.048,
        "macs": 44_000_000 if "morph" in job.net else 40_800_000,
        "parity": {"max_abs": 3e-6, "max_rel": 1e-6, "steps": []} if grown else None,
        "curve": curve,
        "data": data,
        "environment": ENVIRONMENT,
    }


def pretend(folder, table, budget, *, seeds=3, rows=None, unless=lambda job: False, **how) -> Experiment:
    """Lay out an experiment and write what its jobs would have, but for those of which `unless` is true."""
    experiment = make_experiment(table, budget, seeds, rows)
    done = {}
    for job in experiment.jobs.values():
        if unless(job) or (job.start is not None and job.start not in done):
            continue
        done[job.key] = done_of(job, done.get(job.start), **how)
        path = folder / "jobs" / job.key / "done.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(done[job.key]))
    return experiment
