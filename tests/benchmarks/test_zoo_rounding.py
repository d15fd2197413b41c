"""A whole model that differs in float32 is compared again in float64: rounding vanishes there, an error stays."""

import time
from functools import partial
from multiprocessing import Pipe

import pytest
import torch
from benchmarks.zoo import check as checking
from benchmarks.zoo import job, rows, table
from benchmarks.zoo.check import Limits, check
from benchmarks.zoo.entries import Entry, Way, noise
from benchmarks.zoo.job import Budget, Job
from benchmarks.zoo.rounding import in_doubt, is_rounding, settle
from benchmarks.zoo.runner import run
from benchmarks.zoo.suites import Suite
from torch import nn

from netmorph.surgery.running.call import Call


class Chaotic(nn.Module):
    """A layer and the logistic map, which doubles a difference at every step."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        x = torch.tanh(self.layer(x))
        for _ in range(24):
            x = 1 - 1.9 * x * x
        return x


def chaotic():
    torch.manual_seed(0)
    return Chaotic()


def checked(dtype, **options):
    model = chaotic().to(dtype).eval()
    return check(model, Call.of(noise(4, 8).to(dtype)), ["simple"], **options)


class TestSettle:
    def test_rounding_vanishes_in_float64(self):
        row = checked(torch.float32)
        assert row["status"] == "FAILED"
        assert row["kinds"]["simple"]["model"] > 1e-3
        assert row["sensitivity"] > 1e-3
        assert in_doubt(row) == {"simple": ["layer"]}
        settled = settle(row, checked(torch.float64, only=in_doubt(row)))
        assert settled["status"] == "ok"
        assert row["status"] == "FAILED"
        simple = settled["kinds"]["simple"]
        assert simple["failed"] == []
        assert simple["model"] == row["kinds"]["simple"]["model"]
        assert simple["float64"]["model"] < 1e-6
        assert "in float64" in simple["rounding"]

    def test_an_error_stays(self, monkeypatch):
        make = checking.make_graft

        def shifted(*args):
            graft = make(*args)
            with torch.no_grad():
                next(graft.module.parameters()).mul_(1 + 1e-4)
            return graft

        monkeypatch.setattr(checking, "make_graft", shifted)
        row = checked(torch.float32)
        settled = settle(row, checked(torch.float64, only=in_doubt(row)))
        assert settled["status"] == "FAILED"
        assert settled["kinds"]["simple"]["float64"]["model"] > 1e-3
        assert settled["kinds"]["simple"]["failed"] == row["kinds"]["simple"]["failed"]

    @pytest.mark.parametrize("again", [{"status": "over time", "why": "more than 20 s"}, {"status": "FAILED"}])
    def test_no_answer_settles_nothing(self, again):
        settled = settle(checked(torch.float32), again)
        assert settled["status"] == "FAILED"
        assert settled["kinds"]["simple"]["float64"]["status"] == again["status"]

    def test_fewer_sites_settle_nothing(self):
        row = checked(torch.float32)
        double = checked(torch.float64, only=in_doubt(row))
        double["kinds"]["simple"]["exact"] -= 1
        assert settle(row, double)["status"] == "FAILED"

    def test_a_site_that_failed_is_in_no_doubt(self):
        row = checked(torch.float32)
        row["kinds"]["simple"]["failed"].append("layer: they differ")
        assert in_doubt(row) == {}

    @pytest.mark.parametrize(
        ("model", "sensitivity", "so"),
        [
            (1e-9, 0.0, True),
            (1e-7, 0.0, False),
            (1e-6, 1e-7, True),
            (1e-6, 1e-9, False),
            (1e-2, 1e-2, False),
            ("nan", 1.0, False),
        ],
    )
    def test_rounding_is_held_against_that_of_the_input(self, model, sensitivity, so):
        assert is_rounding({"model": model, "sensitivity": sensitivity}) == so


def test_the_runner_settles_by_itself(tmp_path, monkeypatch):
    seen = []

    def here(entry, budget, task, first=None):
        seen.append((entry.double, budget.memory))
        ours, theirs = Pipe(duplex=False)
        theirs.send(job.do(entry, budget, task))
        return Job(entry, budget, ours, Ended(), time.monotonic(), first)

    class Ended:
        def kill(self):
            pass

        def join(self):
            pass

    def entries():
        yield Entry("chaotic", "tiny", chaotic, [Way({}, partial(noise, 4, 8))])

    monkeypatch.setattr(job, "start", here)
    path = tmp_path / "tiny.jsonl"
    run(entries(), path, limits=Limits(), budget=Budget(60, 4), kinds=("simple",), report=lambda line: None)
    assert seen == [(False, 4), (True, 8)]
    [row] = rows.read(path)
    assert (row["status"], row["dtype"]) == ("ok", "float32")
    monkeypatch.setitem(table.SUITES, "tiny", Suite(entries, Limits(), 60, 4, kinds=("simple",)))
    text = table.write_table("tiny", path, tmp_path).read_text()
    assert "nothing failing: **1**" in text
    assert "rounding, amplified" in text
    assert "chaotic: simple: the outputs differ by" in text
