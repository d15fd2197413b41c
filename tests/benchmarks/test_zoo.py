"""The zoo's harness on two tiny networks: what it counts, what it refuses, how it resumes."""

import json
import math
import time
from functools import partial
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch
from benchmarks.zoo import check as checking
from benchmarks.zoo import job, rows, table, timm_suite, torchvision_suite
from benchmarks.zoo.check import Limits, check
from benchmarks.zoo.entries import Entry, Way, noise
from benchmarks.zoo.graphs import KINDS, geometry, notation, work
from benchmarks.zoo.job import Budget, Job
from benchmarks.zoo.machine import versions
from benchmarks.zoo.runner import run
from benchmarks.zoo.suites import Suite
from benchmarks.zoo.weights import randomise
from torch import nn

from netmorph.errors import ParityError
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.notation import parse
from netmorph.graph.reduce import reduce
from netmorph.surgery.running.call import Call


def tiny():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 5),
    )


def attention():
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)


def entry(name, build, *shape):
    return Entry(name, "tiny", build, [Way({}, partial(noise, 1, 2)), Way({}, partial(noise, *shape))])


def models():
    yield entry("tiny", tiny, 1, 3, 8, 8)
    yield entry("attention", attention, 1, 4, 8)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return randomise(tiny())


class TestCheck:
    def test_every_site_is_morphed_by_every_kind(self, model):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        row = check(model, Call.of(noise(1, 3, 8, 8)), KINDS)
        assert row["status"] == "ok"
        assert (row["layers"], row["sites"], row["refused"]) == (3, 3, {})
        for each in row["kinds"].values():
            assert (each["exact"], each["failed"]) == (3, [])
            assert each["geometry"] == {"strided conv": 1, "depthwise": 1, "linear": 1}
            assert 0 < each["border"] < 1e-5
            assert each["model"] < 1e-5
        after = model.state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(after[name], value) for name, value in before.items())

    def test_a_wrong_module_is_a_failure(self, model, monkeypatch):
        make = checking.make_graft

        def wrong(assignment, *rest):
            if assignment.site.name == "2":
                raise ParityError("they differ", site="2")
            return make(assignment, *rest)

        monkeypatch.setattr(checking, "make_graft", wrong)
        row = check(model, Call.of(noise(1, 3, 8, 8)), ["simple"])
        assert row["status"] == "FAILED"
        assert row["kinds"]["simple"]["exact"] == 2
        assert row["kinds"]["simple"]["failed"][0].startswith("2: they differ")

    def test_a_wrong_sum_shows_in_the_model(self, model, monkeypatch):
        make = checking.make_graft

        def shifted(*args):
            graft = make(*args)
            with torch.no_grad():
                next(graft.module.parameters()).mul_(2)
            return graft

        monkeypatch.setattr(checking, "make_graft", shifted)
        row = check(model, Call.of(noise(1, 3, 8, 8)), ["simple"])
        assert row["kinds"]["simple"]["model"] > 1e-2
        assert row["status"] == "FAILED"

    def test_large_sites_are_left_out_and_counted(self, model):
        row = check(model, Call.of(noise(1, 3, 8, 8)), ["simple"], Limits(work("simple", ConvSpec(128, 5)) - 1))
        assert row["kinds"]["simple"]["over_limit"] == 1
        assert row["kinds"]["simple"]["exact"] == 2

    def test_where_all_are_large_the_cheapest_is_done(self, model):
        row = check(model, Call.of(noise(1, 3, 8, 8)), ["simple"], Limits(work=1))
        simple = row["kinds"]["simple"]
        assert (simple["exact"], simple["over_limit"], simple["geometry"]) == (1, 2, {"depthwise": 1})

    def test_late_sites_are_counted_and_the_first_is_done(self, model):
        row = check(model, Call.of(noise(1, 3, 8, 8)), ["simple"], Limits(seconds=0))
        assert (row["kinds"]["simple"]["exact"], row["kinds"]["simple"]["late"]) == (1, 2)


class TestGraphs:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "spec",
        [
            ConvSpec(4, 6),
            ConvSpec.same(4, 6, (1, 7)),
            ConvSpec.same(4, 4, 5, groups=4),
            ConvSpec.same(4, 8, 3, groups=2),
        ],
        ids=["linear", "1x7", "depthwise", "grouped"],
    )
    def test_the_graph_has_the_sites_kernel_and_groups(self, kind, spec):
        graph = parse(notation(kind, spec))
        assert reduce(graph).is_simple == (kind == "simple")
        assert {edge.groups for edge in graph.edges} == {"dw" if spec.groups == spec.c_out else spec.groups}
        if spec.dims:
            assert spec.kernel in {edge.kernel for edge in graph.edges}

    def test_geometry_names(self):
        assert geometry(ConvSpec.same(4, 4, 3, stride=2, dilation=2, groups=4)) == "strided dilated depthwise"
        assert geometry(ConvSpec.same(4, 4, 1)) == "1x1"


BUDGET = Budget(60, 4)


class Done:
    """A process that has ended."""

    exitcode = 1

    def kill(self):
        self.killed = True

    def join(self):
        pass


class TestRunner:
    @pytest.fixture(autouse=True)
    def _in_process(self, monkeypatch):
        self.checked = []

        def here(entry, budget, task, first=None):
            self.checked.append(entry.name)
            ours, theirs = Pipe(duplex=False)
            theirs.send(job.do(entry, budget, task))
            return Job(entry, budget, ours, Done(), time.monotonic(), first)

        monkeypatch.setattr(job, "start", here)

    def run(self, path, limits=None, **options):
        run(models(), path, limits=limits or Limits(), budget=BUDGET, report=lambda line: None, **options)

    def test_a_run_resumes_where_it_stopped(self, tmp_path):
        path = tmp_path / "tiny.jsonl"
        self.run(path)
        assert self.checked == ["tiny", "attention"]
        assert [row["status"] for row in rows.read(path)] == ["ok", "ok"]
        self.run(path)
        assert self.checked == ["tiny", "attention"]
        path.write_text(path.read_text().splitlines()[0] + '\n{"model": "atten')
        self.run(path)
        assert self.checked == ["tiny", "attention", "attention"]

    def test_larger_limits_take_up_what_was_left_out(self, tmp_path):
        path = tmp_path / "tiny.jsonl"
        self.run(path, Limits(work=3000, seconds=0))
        self.run(path, Limits(work=3000, seconds=0))
        assert self.checked == ["tiny", "attention"]
        self.run(path)
        assert self.checked == ["tiny", "attention", "tiny"]  # the other has no site
        self.run(path)
        assert len(self.checked) == 3

    def test_refusals_carry_their_reason(self, tmp_path):
        path = tmp_path / "tiny.jsonl"
        self.run(path)
        row = next(row for row in rows.read(path) if row["model"] == "attention")
        assert row["sites"] == 0
        assert row["layers"] == 3
        assert sum(row["refused"].values()) == 3
        assert all("weight is read by its parent" in why for why in row["refused"])

    def test_what_cannot_be_built_or_crashes_is_a_row(self):
        broken = Entry("broken", "tiny", tiny, [Way({}, partial(noise, 1, 5))])
        assert job.do(broken, BUDGET, partial(check, kinds=KINDS))["status"] == "not built"

        def hungry():
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

        assert job.do(entry("hungry", hungry, 1), BUDGET, partial(check, kinds=KINDS))["status"] == "over memory"
        assert not rows.is_done({"status": "over memory"}, Limits(), retry=True)

    def test_the_table_counts_rows(self, tmp_path, monkeypatch):
        monkeypatch.setitem(table.SUITES, "tiny", Suite(models, Limits(), 60, 4))
        path = tmp_path / "tiny.jsonl"
        self.run(path)
        text = table.write_table("tiny", path, tmp_path).read_text()
        assert "**Run: 2 of 2 models.**" in text
        assert "nothing failing: **1**" in text
        assert "| simple | 1 | 3 | 0 | 0 | 0 | 0 |" in text
        assert "weight is read by its parent" in text


class TestSeveralAtOnce:
    """The pool, with processes that only seem to run."""

    @pytest.fixture(autouse=True)
    def _pool(self, monkeypatch):
        self.pipes, self.killed, self.most = {}, [], 0

        def start(entry, budget, task, first=None):
            ours, theirs = Pipe(duplex=False)
            process = Done()
            process.kill = partial(self.kill, entry.name)
            self.pipes[entry.name] = theirs
            self.most = max(self.most, len(self.pipes))
            if entry.name == "dies":
                theirs.close()
            elif entry.name != "hangs":
                theirs.send({"status": "ok", "kinds": {}})
            return Job(entry, Budget(0.2, 4), ours, process, time.monotonic())

        monkeypatch.setattr(job, "start", start)

    def kill(self, name):
        self.killed.append(name)
        del self.pipes[name]

    @pytest.mark.parametrize("workers", [1, 3])
    def test_so_many_and_no_more_and_one_that_hangs_holds_up_no_other(self, tmp_path, workers):
        names = ["hangs", "dies", *"abcdef"]
        path = tmp_path / "rows.jsonl"
        entries = (Entry(name, "tiny", tiny, []) for name in names)
        run(entries, path, limits=Limits(), budget=BUDGET, workers=workers, report=lambda line: None)
        found = {row["model"]: row for row in rows.read(path)}
        assert sorted(found) == sorted(names)
        assert self.most == workers
        assert sorted(self.killed) == sorted(names)
        assert found["hangs"]["status"] == "over time"
        assert found["dies"]["status"] == "FAILED"
        assert "exit code 1" in found["dies"]["why"]
        assert all(found[name]["status"] == "ok" for name in "abcdef")
        assert all(row["versions"] == versions() for row in found.values())
        if workers == 3:
            assert list(found)[-1] == "hangs"

    def test_an_interrupted_run_leaves_no_process(self, tmp_path):
        def stop(line):
            raise KeyboardInterrupt

        entries = [Entry(name, "tiny", tiny, []) for name in ("hangs", "a", "b")]
        with pytest.raises(KeyboardInterrupt):
            run(entries, tmp_path / "rows.jsonl", limits=Limits(), budget=BUDGET, workers=2, report=stop)
        assert not self.pipes
        assert [row["model"] for row in rows.read(tmp_path / "rows.jsonl")] == ["a"]


class TestRows:
    def test_a_row_after_one_cut_short_is_on_a_line_of_its_own(self, tmp_path):
        path = tmp_path / "new" / "rows.jsonl"
        rows.append(path, {"model": "a", "status": "ok"})
        with path.open("a") as file:
            file.write('{"model": "b", "sta')
        rows.append(path, {"model": "c", "status": "ok"})
        assert [row["model"] for row in rows.read(path)] == ["a", "c"]
        assert path.read_text().endswith("\n")

    def test_a_larger_run_that_ran_out_replaces_nothing(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        for status in ("over time", "ok", "over memory"):
            rows.append(path, {"model": "a", "status": status})
        assert [row["status"] for row in rows.read(path)] == ["ok"]
        assert rows.latest(path)["a"]["status"] == "over memory"
        rows.append(path, {"model": "a", "status": "FAILED"})
        assert [row["status"] for row in rows.read(path)] == ["FAILED"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_of_its_own(tmp_path, workers):
    path = tmp_path / "tiny.jsonl"
    run(
        models(),
        path,
        limits=Limits(),
        budget=Budget(300, 4, 200),
        workers=workers,
        report=lambda line: None,
    )
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((row["model"], row["status"]) for row in found) == [("attention", "ok"), ("tiny", "ok")]
    assert all(math.isfinite(row["wall_seconds"]) for row in found)


class TestLists:
    def test_torch_prunings_85(self):
        names = [*torchvision_suite.TORCH_PRUNING_PASSES, *torchvision_suite.TORCH_PRUNING_FAILS]
        assert (len(torchvision_suite.TORCH_PRUNING_PASSES), len(torchvision_suite.TORCH_PRUNING_FAILS)) == (77, 8)
        assert len(set(names)) == 85

    def test_the_list_of_timm_models(self):
        lines = [line.split() for line in Path(timm_suite.LIST).read_text().splitlines()]
        assert len({name for name, _ in lines}) == timm_suite.COUNT
        assert len({family for _, family in lines[:90]}) >= 85  # every prefix covers the families
