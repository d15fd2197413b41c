from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from netmorph.data.fashion import load_fashion
from netmorph.errors import NetmorphError
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe
from reproduction.budget import Budget
from reproduction.explore import make_exploration
from reproduction.runner import reproduce

ROOT = Path(__file__).parents[2]
RECIPE = {"batch_size": 32, "lr": 0.05, "pad": 1}
BUDGET = Budget("test", Recipe(epochs=2, **RECIPE), Recipe(epochs=1, **RECIPE), warm_batches=1)
LOUD = Budget("test", BUDGET.first, BUDGET.next, noise=1.0, warm_batches=1)
CPU = Machine(accelerator="cpu")


def tiny_data():
    return load_fashion().first(64, 64)


def run(out, **options):
    experiment = make_exploration("morph14_1c1", {"base": BUDGET}, seeds=1)
    return experiment, reproduce(experiment, tiny_data, out, machine=CPU, **options)


def curves(experiment, out):
    """Return all that a job came to and that does not measure time."""
    found = {}
    for key in experiment.jobs:
        done = json.loads((out / "jobs" / key / "done.json").read_text())
        found[key] = [done[name] for name in ("curve", "error", "steps", "epochs", "macs", "params", "parity")]
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    experiment, summary = run(out)
    assert summary.complete
    return experiment, out


class Ear:
    """Remembers what it hears."""

    def __init__(self):
        self.events = []

    def __getattr__(self, name):
        return lambda *given: self.events.append((name, *given))


def test_every_job_is_written_down_and_growth_is_exact(uninterrupted):
    experiment, out = uninterrupted
    kinds = set()
    for key, job in experiment.jobs.items():
        done = json.loads((out / "jobs" / key / "done.json").read_text())
        kinds.add(job.kind)
        assert len(done["curve"]) == job.epochs
        assert done["epochs"] == done["curve"][-1][0]
        assert done["data"] == "Fashion-MNIST (subset)"
        assert (done["parity"] is not None) == (job.kind == "morph")
        if job.kind == "morph":
            assert 0 < done["parity"]["max_abs"] < 1e-4
            assert done["curve"][0][0] == 3  # epochs count on from the parent's
    assert kinds == {"parent", "morph", "on", "scratch"}


def test_a_second_call_finds_nothing_to_do(uninterrupted):
    _, out = uninterrupted
    before = {path: path.stat().st_mtime_ns for path in out.rglob("done.json")}
    ear = Ear()
    _, summary = run(out, listener=ear)
    assert summary.complete
    assert ear.events == []
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("done.json")}


def test_killed_at_three_moments_and_resumed_it_comes_to_the_same(uninterrupted, tmp_path):
    experiment, wanted = uninterrupted
    out = tmp_path / "run"
    command = [sys.executable, "-c", "from tests.reproduction.test_runner import main; main()", str(out)]
    for moment in (3, 1, 6):  # so many epochs after the start, anywhere within what follows them
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        heard = 0
        for line in process.stdout:
            heard += line.startswith("epoch")
            if heard == moment:
                break
        assert heard == moment
        time.sleep(0.05 * moment)
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
    run(out)
    assert curves(experiment, out) == curves(experiment, wanted)


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    code = "from tests.reproduction.test_runner import endless; endless()"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, cwd=ROOT)
    try:
        assert process.stdout.readline().startswith(b"epoch")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)  # ends when nobody holds the output any more
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def endless():
    long = Budget("long", Recipe(epochs=100_000, **RECIPE), Recipe(epochs=1, **RECIPE), warm_batches=1)
    experiment = make_exploration("morph14_1c1", {"base": long}, seeds=1)
    reproduce(experiment, tiny_data, Path(sys.argv[1]), machine=CPU, workers=2, listener=Voice())


class Voice(Ear):
    def epoch(self, *given):
        print("epoch", *given, flush=True)


def main():
    run(Path(sys.argv[1]), listener=Voice())


def test_the_time_limit_pauses_and_several_workers_finish(uninterrupted, tmp_path):
    experiment, wanted = uninterrupted
    out, ear = tmp_path / "run", Ear()
    _, summary = run(out, time_limit=0.01)
    assert summary.done == 0
    _, summary = run(out, workers=2, listener=ear)
    assert summary.complete
    assert {event[1] for event in ear.events if event[0] == "finished"} == set(experiment.jobs)
    assert curves(experiment, out) == curves(experiment, wanted)


def test_another_budget_or_data_set_in_the_same_folder_is_refused(uninterrupted):
    _, out = uninterrupted
    other = Budget("other", Recipe(epochs=3), Recipe(epochs=1))
    with pytest.raises(NetmorphError, match="another budget"):
        reproduce(make_exploration("morph14_1c1", {"base": other}, seeds=1), tiny_data, out, machine=CPU)
    renamed = partial(_renamed, "something else")
    more = make_exploration("morph14_1c1", {"base": BUDGET}, seeds=2)
    for workers in (1, 2):  # in processes of their own, too, it is one message
        with pytest.raises(NetmorphError, match="not on something else"):
            reproduce(more, renamed, out, machine=CPU, workers=workers)
    with pytest.raises(NetmorphError, match="other variants"):
        reproduce(make_exploration("morph14_1c1", {"base": BUDGET, "more": LOUD}, seeds=1), tiny_data, out, machine=CPU)


def _renamed(name):
    from dataclasses import replace

    return replace(tiny_data(), name=name)


def test_a_job_that_fails_does_not_keep_others_from_being_done(tmp_path):
    bad = Budget("bad", BUDGET.first, Recipe(epochs=1, batch_size=32, lr=1e30, pad=1), warm_batches=1)
    experiment = make_exploration("morph14_1c1", {"base": bad}, seeds=1)
    with pytest.raises(NetmorphError, match=r"2 of 5 jobs failed.*diverged"):
        reproduce(experiment, tiny_data, tmp_path / "run", machine=CPU)
    done = {path.parent.name for path in (tmp_path / "run").rglob("done.json")}
    assert {experiment.jobs[key].kind for key in done} == {"parent", "scratch"}


def test_no_job_is_begun_whose_first_epoch_would_end_too_late(monkeypatch):
    from reproduction import worker

    now = [0.0]
    monkeypatch.setattr(worker.time, "time", lambda: now[0])
    clock = worker._Clock(deadline=100.0)

    def after(seconds):
        now[0] += seconds
        return clock.tick()

    clock.begin()
    assert not after(30)  # to be born, and the first epoch
    assert not after(10)
    assert now[0] == 40
    assert not after(10)
    assert not clock.is_over(birth=True)  # another job would reach its first epoch's end at 86
    assert not after(15)
    assert clock.is_over(birth=True)  # at 101 now
    assert not clock.is_over()  # an epoch takes 15
    assert after(20)
