"""Of the sites above the size limit one of each geometry is measured, the cheapest first; a run resumes."""

import itertools
import time
from functools import partial
from multiprocessing import Pipe

import pytest
import torch
from benchmarks.zoo import job, representatives, rows
from benchmarks.zoo.check import Limits
from benchmarks.zoo.entries import Entry, Way, noise
from benchmarks.zoo.graphs import KINDS, work
from benchmarks.zoo.job import Budget, Job
from benchmarks.zoo.representatives import list_large, measure, section
from benchmarks.zoo.runner import run
from torch import nn

from netmorph.filters.geometry import ConvSpec

BUDGET = Budget(60, 4)
LIMITS = Limits(work("simple", ConvSpec(6, 8)) - 1)  # the 4 -> 6 layer is below it, for both kinds
COUNTED = {"small": {"simple": 2, "complex": 2}, "large": {"simple": 4, "complex": 6}}


def small():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8))


def large():
    sizes = (4, 6, 8, 6, 8, 6, 8, 12)
    return nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(sizes)))


def entries():
    for build in (large, small):
        yield Entry(build.__name__, "tiny", build, [Way({}, partial(noise, 3, 4))])


class Ended:
    def kill(self):
        pass

    def join(self):
        pass


@pytest.fixture
def suite(tmp_path, monkeypatch):
    def here(entry, budget, task, first=None):
        ours, theirs = Pipe(duplex=False)
        theirs.send(job.do(entry, budget, task))
        return Job(entry, budget, ours, Ended(), time.monotonic(), first)

    monkeypatch.setattr(job, "start", here)
    path = tmp_path / "tiny.jsonl"
    run(entries(), path, limits=LIMITS, budget=BUDGET, report=lambda line: None)
    return path


def chosen(suite):
    found = list_large(entries(), suite, LIMITS, KINDS, BUDGET)
    return representatives.representatives(found.values())


def test_one_of_each_geometry_the_cheapest_first_of_the_smallest_model(suite):
    got = chosen(suite)
    simple = [(str(each.spec), each.model, each.site, each.sites, each.models) for each in got if each.kind == "simple"]
    assert simple == [
        ("6->8", "small", "2", 4, 2),
        ("8->8", "small", "4", 1, 1),
        ("8->12", "large", "6", 1, 1),
    ]
    assert [each.work for each in got] == sorted(each.work for each in got)
    over = sum(each["over_limit"] for row in rows.read(suite) for each in row["kinds"].values())
    assert sum(each.sites for each in got) == over


def test_the_structure_says_the_same_as_a_run(suite):
    for entry in entries():
        found = representatives.large_by_structure(entry, COUNTED[entry.name], LIMITS.work)
        ran = job.do(entry, BUDGET, partial(representatives.large_sites, kinds=KINDS, limit=LIMITS.work))
        assert found is not None
        assert found["large"] == ran["large"]
    assert representatives.large_by_structure(entry, {"simple": 1, "complex": 2}, LIMITS.work) is None
    broken = Entry("broken", "tiny", lambda: nn.Linear(torch.ones(3).tolist()[0], 3), [Way({}, noise)])
    assert representatives.large_by_structure(broken, {"simple": 0}, LIMITS.work) is None


def test_it_is_measured_resumed_and_told(suite):
    got, lines = chosen(suite), []
    measure(got[:2], entries(), suite, BUDGET, report=lines.append)
    measure(got, entries(), suite, BUDGET, report=lines.append)
    assert len(lines) == len(got)
    found = representatives.measured(suite)
    assert list(found) == [each.key for each in got]
    for each in got:
        kind = found[each.key]["kinds"][each.kind]
        assert (kind["exact"], kind["failed"]) == (1, [])
        assert kind["model"] < 1e-4
    assert "| simple | 6 | 3 | 3 | 6 | 0 | 0 |" in section(suite)
    assert len((suite.parent / "tiny-large.jsonl").read_text().splitlines()) == 2


def test_what_is_not_reached_or_ran_out_is_not_counted_as_exact(suite):
    got = [each for each in chosen(suite) if each.kind == "simple"]
    measure(got[:1], entries(), suite, BUDGET, report=lambda line: None)
    path = representatives.beside(suite, "representatives")
    rows.append(path, {"key": got[1].key, "status": "over memory", "why": "more than 4 GiB"})
    rows.append(path, {"key": got[2].key, "status": "FAILED", "why": "died"})
    text = section(suite)
    assert "| simple | 6 | 3 | 1 | 4 | 1 | 1 |" in text
    assert "over memory: more than 4 GiB" in text
    assert "FAILED: died" in text


def test_nothing_above_the_limit_nothing_said(tmp_path):
    assert section(tmp_path / "tiny.jsonl") == ""
